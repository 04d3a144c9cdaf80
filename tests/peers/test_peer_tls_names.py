"""TLS targets are chosen by address and held to their name: SNI, certificate, fail-over, in-dialog requests."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.peers.processes import run, until
from tests.peers.tls_carrier import TlsCarrier
from tests.ports import free_port

pytestmark = pytest.mark.peer

NAME = "sip.carrier.test"
FIRST, SECOND = "127.0.0.2", "127.0.0.3"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def call(
    folder: Path, port: int, authority: Authority, lines: str = "", *, at: Sequence[str] = (FIRST, SECOND)
) -> dict[str, Any]:
    """`sipua call` to NAME, which is at these addresses, over TLS."""
    (folder / "conf" / "trunks").mkdir(parents=True)
    (folder / "conf" / "trunks" / "carrier.toml").write_text(
        'schema = 1\nname = "carrier"\nprovider = "loopback"\ndirection = "outbound"\ntransport = "tls"\n'
        f'domain = "{NAME}:{port}"\ncaller_id = "+250788000001"\nfirst_response_timeout_ms = 2000\n'
        f"tls_ca = {str(authority.file)!r}\n{lines}\n"
        f"[static_hosts]\n{NAME!r} = {list(at)}\n'inner.carrier.test' = ['{SECOND}']\n"
    )
    command = ["call", "0788123456", "--conf", str(folder / "conf"), "--json", "--duration", "0.5"]
    result = run(command)
    assert "Traceback" not in result.stderr, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def has_current_tls() -> bool:
    """PyPI's wheel brings an OpenSSL that ends at TLS 1.2."""
    facts = json.loads(run(["version", "--json"]).stdout)["pjsua2"]
    return not facts["tls"].startswith("OpenSSL 1.")


def decisions(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["target"].partition(":")[0], each["decision"]) for each in document["attempts"]]


def test_the_name_is_shown_and_every_request_goes_over_one_connection(
    authority: Authority, tmp_path: Path
) -> None:
    with TlsCarrier(FIRST, authority.issue(NAME)) as carrier:
        document = call(tmp_path, carrier.port, authority, at=[FIRST])
        until(lambda: carrier.got("BYE"), "BYE")
    assert (document["status"], document["codec"]) == ("completed", "PCMU")
    assert carrier.server_names == [NAME]
    assert carrier.versions == ["TLSv1.3" if has_current_tls() else "TLSv1.2"]
    assert carrier.methods() == ["INVITE", "ACK", "BYE"]
    (invite,) = carrier.got("INVITE")
    assert invite.startswith(f"INVITE sip:+250788123456@{NAME}:{carrier.port} SIP/2.0")
    assert "\r\nRoute:" not in invite
    assert ";transport=tls>" in invite.partition("\r\nContact: ")[2].partition("\r\n")[0]


def test_the_call_goes_on_where_an_address_has_the_certificate_of_another_host(
    authority: Authority, tmp_path: Path
) -> None:
    with (
        TlsCarrier(FIRST, authority.issue("other.carrier.test")) as false,
        TlsCarrier(SECOND, authority.issue(NAME), port=false.port) as true,
    ):
        document = call(tmp_path, false.port, authority)
        until(lambda: true.got("BYE"), "BYE")
    assert decisions(document) == [(FIRST, "next"), (SECOND, "answered")]
    assert len(true.got("INVITE")) == 1
    assert false.requests == []
    assert set(false.server_names + true.server_names) == {NAME}


@pytest.mark.parametrize("fault", ["expired", "not_yet_valid", "of nobody that we trust", "of the address"])
def test_a_certificate_that_does_not_hold_is_refused(
    authority: Authority, tmp_path: Path, fault: str
) -> None:
    stranger = Authority(tmp_path, "stranger")
    identity = {
        "expired": authority.expired,
        "not_yet_valid": authority.not_yet_valid,
        "of nobody that we trust": stranger.issue,
        "of the address": lambda name: authority.issue(FIRST),
    }[fault](NAME)
    with TlsCarrier(FIRST, identity) as carrier:
        document = call(tmp_path, carrier.port, authority, at=[FIRST])
        assert carrier.server_names == [NAME]
    assert document["status"] == "failed"
    assert [each["reason"] for each in document["attempts"]] == ["tls_error"]
    assert carrier.requests == []


@pytest.mark.parametrize(
    ("pattern", "ends"), [("*.carrier.test", "completed"), ("*.test", "failed"), ("*.other.test", "failed")]
)
def test_a_star_stands_for_one_label(authority: Authority, tmp_path: Path, pattern: str, ends: str) -> None:
    with TlsCarrier(FIRST, authority.issue(pattern)) as carrier:
        assert call(tmp_path, carrier.port, authority, at=[FIRST])["status"] == ends
    assert bool(carrier.requests) == (ends == "completed")


def test_tls_name_stands_in_for_the_domain(authority: Authority, tmp_path: Path) -> None:
    with TlsCarrier(FIRST, authority.issue("edge.carrier.test")) as carrier:
        document = call(tmp_path, carrier.port, authority, 'tls_name = "edge.carrier.test"', at=[FIRST])
        until(lambda: carrier.got("BYE"), "BYE")
    assert document["status"] == "completed"
    assert carrier.server_names == ["edge.carrier.test"]


@pytest.mark.parametrize(("version", "ends"), [("1.2", "completed"), ("1.3", "failed")])
def test_the_oldest_tls_that_is_taken(authority: Authority, tmp_path: Path, version: str, ends: str) -> None:
    if version == "1.3" and not has_current_tls():
        pytest.skip("this build of pjsua2 has TLS 1.2 at most and refuses the setting")
    with TlsCarrier(FIRST, authority.issue(NAME), newest=ssl.TLSVersion.TLSv1_2) as carrier:
        document = call(tmp_path, carrier.port, authority, f'tls_min_version = "{version}"', at=[FIRST])
    assert document["status"] == ends
    assert carrier.versions == (["TLSv1.2"] if ends == "completed" else [])


@pytest.mark.parametrize("is_named", [False, True], ids=["address", "name"])
def test_a_connection_that_the_peer_closed_is_made_again_for_the_bye(
    authority: Authority, tmp_path: Path, is_named: bool
) -> None:
    """Whatever the Contact says, SNI shows the name that the call was aimed at, and the certificate is held to it."""
    port = free_port()
    contact = f"{NAME}:{port}" if is_named else ""
    with TlsCarrier(
        FIRST, authority.issue(NAME), port=port, contact=contact, closes_after_answer=True
    ) as carrier:
        document = call(tmp_path, carrier.port, authority, at=[FIRST])
        until(lambda: carrier.got("BYE"), "BYE")
    assert document["status"] == "completed"
    assert carrier.server_names == [NAME, NAME]


@pytest.mark.parametrize("name", [NAME, "other.carrier.test"])
@pytest.mark.parametrize("host", [SECOND, "inner.carrier.test"])
def test_requests_in_the_dialog_are_held_to_the_name_wherever_they_go(
    authority: Authority, tmp_path: Path, name: str, host: str
) -> None:
    """A Contact elsewhere: one with our carrier's certificate gets ACK and BYE, another nothing."""
    with (
        TlsCarrier(SECOND, authority.issue(name)) as inner,
        TlsCarrier(FIRST, authority.issue(NAME), contact=f"{host}:{inner.port}") as edge,
    ):
        document = call(tmp_path, edge.port, authority, at=[FIRST])
        assert document["status"] == "completed"
        until(lambda: inner.got("BYE") or name != NAME, "BYE")
        until(lambda: inner.server_names, "a connection")
    assert edge.methods() == ["INVITE"]
    assert set(inner.server_names) == {NAME}
    assert inner.methods() == (["ACK", "BYE"] if name == NAME else [])
