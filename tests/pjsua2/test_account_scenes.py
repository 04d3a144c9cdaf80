"""Accounts, listeners, REGISTER and OPTIONS of the SIP layer against a registrar of the tests' own, on either build."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.peers.conftest import StartSipp
from tests.pjsua2.conftest import ROOT
from tests.ports import free_port


def play(scene: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.pjsua2.account_scenes", scene, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.parametrize("algorithms", ["MD5", "SHA-256", "SHA-256,MD5"])
def test_a_registration_by_digest(algorithms: str) -> None:
    """Digest user, address of record and Contact are three; the lifetime is what is asked each time."""
    told = play("digest", algorithms)
    assert told["codes"] == [200, 200, 200]
    assert told["contact"].startswith("<sip:desk@127.0.0.1:")
    assert told["contact"].endswith(";expires=600")
    assert told["from"].startswith("<sip:line1@ims.test>;tag=")
    assert told["expires"] == ["600", "300", "0"]
    assert told["headers"] == ["As they say", "7"]
    assert told["methods"] == ["REGISTER"]


@pytest.mark.parametrize(("code", "retry_after"), [(403, None), (404, None), (500, None), (503, ["7"])])
def test_a_refused_registration_is_told_and_not_repeated(code: int, retry_after: list[str] | None) -> None:
    told = play("refused", str(code))
    assert told == {"code": code, "retry_after": retry_after, "requests": 1, "again": 200}


def test_an_interval_that_is_too_brief_is_obeyed_by_pjsip() -> None:
    """423 is not told; at the end the binding is taken back."""
    assert play("too_brief") == {"code": 200, "expires": ["600", "1800", "0"]}


def test_of_two_proxies_the_other_is_tried_next() -> None:
    told = play("nobody")
    assert (told["code"], told["headers"]) == (503, None)
    assert told["second"] == "REGISTER sip:ims.test SIP/2.0"


def test_proxies_of_the_registration_do_not_steer_calls() -> None:
    told = play("proxies")
    assert (told["code"], told["at_proxy"], told["request_uri"]) == (200, ["REGISTER"], "sip:ims.test")
    assert told["elsewhere"] == ["INVITE", "OPTIONS"]
    assert told["routes"] == [["<sip:127.0.0.1:9;lr>", "<sip:orig@s.test;lr>"]]
    assert told["agents"] == ["As they say"]


def test_a_notify_about_messages_is_answered_and_never_asked_for() -> None:
    assert play("mwi") == {"answer": 200, "methods": ["REGISTER"]}


def test_options_and_an_end_with_one_unanswered() -> None:
    """The account is gone by then, and the library: PyPI's wheel aborted there."""
    told = play("options")
    assert (told["own"], told["code"], told["allow"]) == (True, 405, ["INVITE"])
    assert (told["agent"], told["start"]) == (
        "As they say",
        "OPTIONS sip:127.0.0.1:PORT;transport=udp SIP/2.0",
    )
    assert (told["lost"], told["end"]) == (True, [503, None])


def test_where_a_call_comes_in_chooses_its_account() -> None:
    """The one by TCP has no offer: refused within its callback, it ended a process on PyPI's wheel."""
    told = play("listeners")
    assert told["selected"] == [
        {"local": "default", "transport": "udp"}, {"local": "second", "transport": "udp"},
        {"local": "second", "transport": "tcp"},
    ]  # fmt: skip
    assert told["accounts"] == ["a", "second", "tcp"]


def test_what_cannot_be_is_refused_by_name(facts: dict[str, Any]) -> None:
    told = play("limits")
    limit = facts["max_accounts"]
    assert told["many"].startswith(f"ConfigError: the enabled trunks need {limit + 1} SIP accounts")
    assert told["many"].endswith(f"this build of pjsua2 has {limit}")
    assert "asked for twice with different dscp" in told["twice"]
    assert told["taken"].startswith("LocalError: SIP cannot listen on udp 127.0.0.1:")
    assert told["ca"].startswith("ConfigError: tls_ca = '/no/such/ca.pem': there is no such file; ")
    if limit > 9:
        assert told["listeners"] == "ConfigError: the trunks need 9 SIP listeners; allowed: 8 (pjsua's limit)"


@pytest.mark.parametrize(
    ("scenario", "code", "codes", "phrase"),
    [("uas_refer", 0, [202, 180, 200], "OK"), ("uas_refers_not", 603, [603], "Refused")],
)
def test_a_blind_transfer(sipp: StartSipp, scenario: str, code: int, codes: list[int], phrase: str) -> None:
    port = free_port()
    peer = sipp("", scenario, flags=("-p", str(port)), code=code, formats="0 101")
    assert play("refer", str(port)) == {"codes": codes, "phrase": phrase}
    peer.wait()


def test_a_call_whose_media_come_to_another_address(sipp: StartSipp) -> None:
    port = free_port()
    peer = sipp("", "uas_reinvited", flags=("-p", str(port)), formats="0 101")
    play("reinvite", str(port))
    first, second = peer.wait().received("INVITE")
    assert ("c=IN IP4 127.0.0.1" in first.body, "c=IN IP4 127.0.0.7" in second.body) == (True, True)
    assert "m=audio 4000 " in second.body


def test_the_code_point_of_a_trunk_on_every_socket_of_it() -> None:
    """The UDP socket; listener and connection of TCP and of TLS."""
    assert play("dscp") == {"udp": [46], "tcp": [46, 46], "tls": [46, 46]}


def test_an_account_that_is_changed() -> None:
    told = play("changed")
    assert told["sources"] == ["default", "own"]
    assert told["agents"] == ["As they say", None]
    assert told["from"] == ["<sip:desk@ims.test>", "<sip:hall@ims.test>"]


def test_an_account_stays_as_long_as_its_calls() -> None:
    assert play("leaving") == {"counts": [2, 2, 2, 1]}


def test_a_pjsip_of_another_layout_has_one_listener() -> None:
    told = play("another_pjsip")
    assert (told["is_own"], told["code"]) == (True, 480)
    assert told["said"].startswith("this build of pjsua2 does not tell at which listener a call comes in")
