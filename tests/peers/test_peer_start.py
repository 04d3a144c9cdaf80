"""`sipua serve` that cannot start: one clear line, an exit code, nothing left behind."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.peers.agent import HAVE, KEY, TRUNKS, write_conf
from tests.peers.processes import arguments_of, clean_environment, run

pytestmark = pytest.mark.peer


def serve(folder: Path, env: Mapping[str, str], **trunks: str) -> subprocess.CompletedProcess[str]:
    conf = write_conf(folder / "conf", trunks or TRUNKS)
    settings = {
        "SIPUA_CONF": str(conf), "SIPUA_STATE_DIR": str(folder / "state"), "SIPUA_SIP__PORT": "0",
        "SIPUA_HTTP__PORT": "0", "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    }  # fmt: skip
    return subprocess.run(
        arguments_of(["serve"]), env=clean_environment(settings | dict(env)), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_the_database_is_down(tmp_path: Path) -> None:
    result = serve(tmp_path, {"DATABASE_URL": "postgresql://sipua:secret@127.0.0.1:9/calls"})
    assert result.returncode == 1
    assert result.stdout == ""
    assert "127.0.0.1:9" in result.stderr
    assert "secret" not in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "state" / "control.sock").exists()


def test_the_sip_port_is_in_use(tmp_path: Path, database: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        result = serve(tmp_path, {"DATABASE_URL": database, "SIPUA_SIP__PORT": str(port)})
    assert result.returncode == 1
    assert f"udp 127.0.0.1:{port}" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_http_port_is_in_use(tmp_path: Path, database: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = serve(tmp_path, {"DATABASE_URL": database, "SIPUA_HTTP__PORT": str(port)})
    assert result.returncode == 1
    assert f"tcp 127.0.0.1:{port}" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_codec_that_does_not_exist(tmp_path: Path, database: str) -> None:
    result = serve(tmp_path, {"DATABASE_URL": database}, odd='["127.0.0.1/32"]\ncodecs = ["SPEEX"]')
    assert result.returncode == 78
    assert "odd.toml" in result.stderr
    assert "SPEEX" in result.stderr
    assert "PCMU" in result.stderr


def test_a_password_of_callers_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    lines = '["127.0.0.1/32"]\ninbound_auth_user = "phone"\ninbound_password_env = "NOT_SET_ANYWHERE"'
    result = serve(tmp_path, {"DATABASE_URL": ""}, guarded=lines)
    assert result.returncode == 78
    assert "trunk guarded: inbound_password: the environment name that it gives is not set" in result.stderr
    assert not (tmp_path / "state").exists()


def test_more_than_the_build_has_leaves_nothing_behind(tmp_path: Path) -> None:
    """PyPI's pjsua2 has 8 accounts, one of them our own; ours has 512, and 8 listeners as any."""
    is_wheel = json.loads(run(["version", "--json"]).stdout)["pjsua2"]["build"] == "wheel"
    trunks = {f"t{number}": f'["127.0.0.1/32"]\nbind_port = {6000 + number}' for number in range(8)}
    result = serve(tmp_path, {"DATABASE_URL": ""}, **trunks)
    assert result.returncode == 78
    said = (
        "need 9 SIP accounts" if is_wheel else "the trunks need 9 SIP listeners; allowed: 8 (pjsua's limit)"
    )
    assert said in result.stderr
    assert not (tmp_path / "state").exists()


def test_a_codec_that_this_build_lacks(tmp_path: Path) -> None:
    if "OPUS" in HAVE:
        pytest.skip("this build of pjsua2 has every codec of ours")
    wide = '["127.0.0.1/32"]\ncodecs = ["opus", "PCMU"]'
    result = serve(tmp_path, {"DATABASE_URL": "postgresql://sipua@127.0.0.1:9/calls"}, wide=wide)
    assert result.returncode == 78
    assert "wide.toml: codecs: this build of pjsua2 has no OPUS; leave it out" in result.stderr
    assert "Traceback" not in result.stderr
