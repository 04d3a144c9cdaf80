"""Our own re-INVITE under SRTP, answered with another key: the SIP side alone, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.peers.secure_phone import SecurePhone, crypto
from tests.ports import free_port

pytestmark = pytest.mark.peer
SUITE = "AES_CM_128_HMAC_SHA1_80"
KEY, OTHER = bytes(range(30)), bytes(range(30, 60))
PROGRAM = """
import asyncio, json, socket, sys
from uuid import uuid4
from sipua.admission import Grant
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.sip_account import Account, Listener, TlsFiles
from sipua.sip_events import IncomingCall, LegChanged, LegState, MediaChanged, SdpPlan, SrtpPolicy
from sipua.trunk import Trunk
port, ca, certificate, key = sys.argv[1:]
suites = ("AES_CM_128_HMAC_SHA1_80",)
plan = SdpPlan("127.0.0.1", 4000, ("PCMU",), "PCMU", SrtpPolicy("mandatory", suites))
trunk = Trunk.model_validate({"schema": 1, "name": "secure", "provider": "p", "inbound_acl": ["127.0.0.1/32"]})
grant = Grant(trunk, "PCMU", plan, None, (socket.socket(), socket.socket()), uuid4())
async def main():
    events = asyncio.Queue()
    endpoint = SipEndpoint(
        EndpointConfig("127.0.0.1", 0, ("PCMU",)), lambda arrival, message: grant,
        events.put_nowait, lambda *arrival: "secure",
    )
    await endpoint.start()
    listener = Listener("tls", "127.0.0.1", int(port), tls=TlsFiles(ca, certificate, key))
    await endpoint.set_accounts([
        Account("secure", "secure", listener, "sip:x@127.0.0.1", "x", srtp="mandatory", srtp_suites=suites)
    ])
    print(json.dumps("ready"), flush=True)
    while True:
        match await events.get():
            case IncomingCall(key=call):
                await endpoint.answer(call)
            case MediaChanged(media=media) if media is not None:
                keys = media.srtp
                print(json.dumps([keys.suite, keys.local.hex(), keys.remote.hex()] if keys else None), flush=True)
            case LegChanged(state=LegState.CONFIRMED, key=call):
                await endpoint.reinvite(call)
            case LegChanged(state=LegState.DISCONNECTED):
                break
    await endpoint.stop()
asyncio.run(main())
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def said(authority: Authority, port: int) -> Iterator[Iterator[Any]]:
    """What the program prints, from its readiness on."""
    identity = authority.issue("127.0.0.1")
    files = [str(authority.file), str(identity.certificate), str(identity.key)]
    command = [sys.executable, "-c", PROGRAM, str(port), *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = map(json.loads, process.stdout)
            assert next(lines) == "ready"
            yield lines
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_the_answer_to_our_re_invite_brings_another_key(
    said: Iterator[Any], authority: Authority, port: int
) -> None:
    with SecurePhone(port, authority.file) as phone:
        [ours] = phone.invite(phone.offer(crypto(4, SUITE, KEY))).lines
        assert next(said) == [SUITE, ours.key.hex(), KEY.hex()]
        offer = phone.answer_invite(phone.offer(crypto(1, SUITE, OTHER)))
        assert [(each.tag, each.suite, each.key) for each in offer.lines] == [(1, SUITE, ours.key)]
        assert next(said) == [SUITE, ours.key.hex(), OTHER.hex()]
        assert phone.request("BYE").status == 200
    assert [*said] == []  # told once
