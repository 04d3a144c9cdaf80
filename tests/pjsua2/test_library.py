"""The pjsua2 in force is the one that was asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.pjsua2.conftest import MARKER, ROOT, run_python


def asked_limits() -> dict[str, int]:
    text = (ROOT / "conf/deploy/pjsua2/config_site.h").read_text()
    return {name: int(value) for name, value in re.findall(r"^#define (\w+) +(\d+)", text, re.M)}


def locked_version() -> str:
    found = re.search(r"^pjsua2-python==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert found is not None
    return found[1]


def installed() -> list[str]:
    names = [str(d.metadata["Name"]) for d in metadata.distributions()]
    return [name for name in names if name in ("pjsua2", "pjsua2-python")]


def test_version_and_limits_are_those_asked_for(facts: dict[str, Any], is_own: bool) -> None:
    if not is_own:
        assert facts["distribution"] == f"pjsua2-python {locked_version()}"
        assert locked_version().startswith(facts["version"])
        assert (facts["build"], facts["max_calls"], facts["max_accounts"]) == ("wheel", 4, 8)
        return
    version = MARKER.read_text().split("-")[1]  # of the wheel that make pjsua2 installed
    assert facts["distribution"] == f"pjsua2 {version}"
    assert facts["version"] == version.partition("+")[0]
    asked = asked_limits()
    assert facts["build"] == "own"
    assert facts["max_calls"] == asked["PJSUA_MAX_CALLS"] == 1024
    assert facts["max_accounts"] == asked["PJSUA_MAX_ACC"] >= 256


def test_the_other_build_is_not_beside_it(facts: dict[str, Any], is_own: bool) -> None:
    assert installed() == ["pjsua2" if is_own else "pjsua2-python"]
    assert facts["shadowed"] == ""


def test_tls_library_and_event_queue(facts: dict[str, Any], is_own: bool) -> None:
    if is_own:
        assert facts["tls"].startswith("OpenSSL 3.")
        assert facts["has_current_tls"] is True
        assert facts["ioqueue"].startswith("epoll")
    else:
        assert facts["tls"] == "OpenSSL 1.0.2k"
        assert facts["has_current_tls"] is False
        assert facts["ioqueue"] == "select"


def test_an_abandoned_invite_keeps_its_slot() -> None:
    """What ``slots_taken`` is for: DISCONNECTED is reported at once, the slot is free only after Timer B."""
    code = """
import asyncio, socket
from uuid import uuid4
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.pj.build import slots_taken
from sipua.sip_events import LegChanged, LegState, SdpPlan
async def main():
    ended = asyncio.Event()
    def deliver(event):
        if isinstance(event, LegChanged) and event.state is LegState.DISCONNECTED:
            ended.set()
    endpoint = SipEndpoint(EndpointConfig("127.0.0.1", 0, ("PCMU",)), lambda *_: None, deliver)
    await endpoint.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        key, before = uuid4(), slots_taken()
        plan = SdpPlan(address="127.0.0.1", port=4000, codecs=("PCMU",), chosen=None)
        await endpoint.invite(f"sip:x@127.0.0.1:{silent.getsockname()[1]}", plan, key)
        during = slots_taken()
        await endpoint.hang_up(key)
        await asyncio.wait_for(ended.wait(), 5)
        print(before, during, slots_taken())
        await endpoint.stop()
asyncio.run(main())
"""
    assert run_python(code).split() == ["0", "1", "1"]


def test_nobody_else_may_read_its_log(tmp_path: Path) -> None:
    """Whole SIP messages hold the keys of SRTP; a log of an earlier version is closed to others too."""
    code = """
import asyncio, sys
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
async def main():
    config = EndpointConfig("127.0.0.1", 0, ("PCMU",), log_file=sys.argv[1], log_level=5)
    endpoint = SipEndpoint(config, lambda *_: None, lambda event: None)
    await endpoint.start()
    await endpoint.stop()
asyncio.run(main())
"""
    older, new = tmp_path / "older.log", tmp_path / "new.log"
    older.touch(mode=0o644)
    for file in (older, new):
        run_python(code, str(file))
        assert file.stat().st_mode & 0o777 == 0o600
        assert "pjsua" in file.read_text()


def test_codecs_of_our_build(own_build: None) -> None:
    code = """
import pjsua2 as pj
endpoint = pj.Endpoint()
endpoint.libCreate()
config = pj.EpConfig()
config.logConfig.level = config.logConfig.consoleLevel = 0
endpoint.libInit(config)
print(*sorted({codec.codecId.split("/")[0] for codec in endpoint.codecEnum2()}))
endpoint.libDestroy()
"""
    names = run_python(code).strip().splitlines()[-1].split()  # before libInit pjlib prints to stdout
    assert {"PCMU", "PCMA", "G722", "opus"} <= set(names)
    assert not {"GSM", "iLBC", "speex"} & set(names)


def test_tls_1_3_with_our_build(own_build: None, tmp_path: Path) -> None:
    """Its TLS listener, with a certificate made for the test, and Python's ssl as the other side."""
    code = """
import datetime, socket, ssl, sys, threading
from pathlib import Path
import pjsua2 as pj
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "agent.test")])
now = datetime.datetime.now(datetime.UTC)
certificate = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName("agent.test")]), False).sign(key, hashes.SHA256())
)
folder = Path(sys.argv[1])
(folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
(folder / "key.pem").write_bytes(key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()))
endpoint = pj.Endpoint()
endpoint.libCreate()
config = pj.EpConfig()
config.uaConfig.threadCnt = 0
config.logConfig.level = config.logConfig.consoleLevel = 0
endpoint.libInit(config)
transport = pj.TransportConfig()
transport.boundAddress = "127.0.0.1"
transport.tlsConfig.certFile = str(folder / "cert.pem")
transport.tlsConfig.privKeyFile = str(folder / "key.pem")
number = endpoint.transportCreate(pj.PJSIP_TRANSPORT_TLS, transport)
port = int(endpoint.transportGetInfo(number).localName.rpartition(":")[2])
endpoint.libStart()
spoken = []
def connect():
    context = ssl.create_default_context(cafile=folder / "cert.pem")
    with socket.create_connection(("127.0.0.1", port), 5) as raw:
        with context.wrap_socket(raw, server_hostname="agent.test") as secure:
            spoken.append(secure.version())
client = threading.Thread(target=connect)
client.start()
while client.is_alive():
    endpoint.libHandleEvents(5)
client.join()
endpoint.libDestroy()
print("spoken", *spoken)
"""
    assert run_python(code, str(tmp_path)).strip().endswith("spoken TLSv1.3")


@pytest.mark.timeout(300)
def test_a_changed_lock_file_does_not_bring_the_wheel_back(own_build: None) -> None:
    """What make does in this environment after requirements.lock has changed."""
    command = [
        "make", "--no-print-directory", "-W", "requirements.lock", f"VENV={sys.prefix}", f"{sys.prefix}/.runtime"
    ]  # fmt: skip
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "pip" in result.stdout
    assert installed() == ["pjsua2"]
