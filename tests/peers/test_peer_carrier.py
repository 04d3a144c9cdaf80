"""Calls out through kamailio as a carrier that asks for credentials (407) and hands them on to sipp."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.peers.conftest import StartSipp
from tests.peers.kamailio import REALM, Kamailio
from tests.peers.processes import run
from tests.ports import free_port

pytestmark = pytest.mark.peer


def call(folder: Path, carrier: Kamailio, password: str, *, realm: str = REALM, code: int = 0) -> Any:
    """`sipua call` to a number through the carrier; its JSON."""
    (folder / "conf/trunks").mkdir(parents=True)
    (folder / "password").write_text(password)
    (folder / "conf/trunks/carrier.toml").write_text(
        'schema = 1\nname = "carrier"\nprovider = "loopback"\ndirection = "outbound"\n'
        f'domain = "{carrier.host}:{carrier.port}"\ncaller_id = "+250788000001"\nrealm = "{realm}"\n'
        f'auth_user = "line-7"\npassword_file = "{folder}/password"\n'
    )
    flags = ["--conf", str(folder / "conf"), "--json", "--duration", "0.5"]
    result = run(["call", "0788123456", *flags])
    assert "Traceback" not in result.stderr, result.stderr
    assert result.returncode == code, (result.stdout, result.stderr)
    return json.loads(result.stdout)


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_the_challenge_is_answered_and_the_call_ends_in_order(
    start_kamailio: Callable[..., Kamailio], sipp: StartSipp, tmp_path: Path, algorithm: str
) -> None:
    """ACK and BYE find their way by its Record-Route."""
    kamailio = start_kamailio(algorithm=algorithm)
    port = free_port()
    callee = sipp("", "uas", flags=("-p", str(port)), formats="0 101")
    kamailio.add_user("line-7", "secret")
    kamailio.set("carrier", f"sip:127.0.0.1:{port}")
    document = call(tmp_path, kamailio, "secret")
    assert [(each["code"], each["reason"]) for each in document["attempts"]] == [(200, "answered")]
    assert [each.user for each in kamailio.requests("INVITE")] == ["", "line-7"]
    (invite,) = callee.wait().received("INVITE")
    assert invite.header("Record-Route")
    assert invite.header("Proxy-Authorization") is None  # kamailio's, and none of the callee's business
    (ended,) = callee.received("BYE")
    assert len(re.findall("^Via:", ended.text, re.M)) == 2


@pytest.mark.parametrize(("password", "realm"), [("wrong", REALM), ("secret", "somebody-else")])
def test_credentials_that_do_not_fit(kamailio: Kamailio, tmp_path: Path, password: str, realm: str) -> None:
    """No loop, and a password is only for its realm."""
    kamailio.add_user("line-7", "secret")
    kamailio.set("carrier", "sip:127.0.0.1:9")
    document = call(tmp_path, kamailio, password, realm=realm, code=1)
    assert [each["reason"] for each in document["attempts"]] == ["credentials_refused"]
    users = ["", "line-7"] if realm == REALM else [""]
    assert [each.user for each in kamailio.requests("INVITE")] == users
