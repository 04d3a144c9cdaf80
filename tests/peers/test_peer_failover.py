"""`sipua call NUMBER` and its fail-over against carriers of sipp, a port that nobody has and a black hole."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.conftest import StartSipp
from tests.peers.processes import arguments_of, clean_environment, run, until
from tests.peers.sipp import Sipp
from tests.ports import free_port

pytestmark = pytest.mark.peer
NUMBER = "0788123456"
PATIENT = "first_response_timeout_ms = 8000"  # with who is to answer, however busy the machine is
QUICK = "first_response_timeout_ms = 300\nprogress_timeout_s = 1"


class Carriers:
    """A primary and a secondary trunk, each with a port of its own."""

    def __init__(self, folder: Path, start: StartSipp) -> None:
        self.conf = folder / "conf"
        (self.conf / "trunks").mkdir(parents=True)
        self._start = start
        self.ports = {"primary": free_port(), "secondary": free_port()}
        for name in self.ports:
            self.write(name)

    def write(self, name: str, lines: str = PATIENT) -> None:
        priority = list(self.ports).index(name)
        (self.conf / "trunks" / f"{name}.toml").write_text(
            f'schema = 1\nname = "{name}"\nprovider = "loopback"\ndirection = "outbound"\npriority = {priority}\n'
            f'domain = "127.0.0.1:{self.ports[name]}"\ncaller_id = "+250788000001"\n{lines}\n'
        )

    def is_(self, name: str, scenario: str, *flags: str, **options: Any) -> Sipp:
        return self._start("", scenario, flags=("-p", str(self.ports[name]), *flags), **options)

    def call(self, *flags: str, code: int = 0) -> dict[str, Any]:
        result = run(["call", NUMBER, "--conf", str(self.conf), "--json", "--duration", "0.5", *flags])
        assert "Traceback" not in result.stderr, result.stderr
        assert result.returncode == code, (result.stdout, result.stderr)
        document: dict[str, Any] = json.loads(result.stdout)
        return document


def decisions(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each["trunk"], each["reason"], each["decision"]) for each in document["attempts"]]


@pytest.fixture
def carriers(tmp_path: Path, sipp: StartSipp) -> Carriers:
    return Carriers(tmp_path, sipp)


@pytest.fixture
def black_hole(carriers: Carriers) -> Iterator[socket.socket]:
    """The primary's port takes everything and says nothing."""
    carriers.write("primary", QUICK)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", carriers.ports["primary"]))
        yield silent


ANSWERED = ("secondary", "answered", "answered")


def test_the_primary_answers(carriers: Carriers) -> None:
    peer = carriers.is_("primary", "uas_slow", duration_ms=100)
    document = carriers.call()
    invite = peer.wait().received("INVITE")[0]
    assert (document["status"], document["codec"]) == ("completed", "PCMU")
    (attempt,) = document["attempts"]
    assert attempt["target"] == f"127.0.0.1:{carriers.ports['primary']};udp"
    assert (attempt["code"], attempt["reason"]) == (200, "answered")
    assert 100 <= attempt["ms"] <= document["setup_ms"] + 100
    host = f"127.0.0.1:{carriers.ports['primary']}"
    assert invite.start_line == f"INVITE sip:+250788123456@{host} SIP/2.0"
    assert (invite.header("From") or "").startswith("<sip:+250788000001@127.0.0.1>;tag=")
    assert invite.header("Route") is None


def test_over_tcp(carriers: Carriers) -> None:
    carriers.write("primary", f"{PATIENT}\ntransport = 'tcp'")
    peer = carriers.is_("primary", "uas_slow", "-t", "t1", duration_ms=100)
    (attempt,) = carriers.call()["attempts"]
    assert (attempt["target"], attempt["code"]) == (f"127.0.0.1:{carriers.ports['primary']};tcp", 200)
    invite = peer.wait().received("INVITE")[0]
    assert (invite.header("Via") or "").startswith("SIP/2.0/TCP ")
    assert (invite.header("Contact") or "").endswith(";transport=tcp>")


def test_nobody_has_the_port(carriers: Carriers) -> None:
    carriers.write("primary", QUICK)
    peer = carriers.is_("secondary", "uas_slow", duration_ms=1)
    assert decisions(carriers.call()) == [("primary", "no_response", "next"), ANSWERED]
    peer.wait()


def test_a_black_hole_costs_the_first_response_timeout(carriers: Carriers, black_hole: socket.socket) -> None:
    peer = carriers.is_("secondary", "uas_slow", duration_ms=1)
    document = carriers.call()
    peer.wait()
    assert decisions(document) == [("primary", "no_response", "next"), ANSWERED]
    assert 300 <= document["setup_ms"] < 3000  # where it is not set
    assert black_hole.recv(4096).startswith(b"INVITE")


@pytest.mark.parametrize("header", ["Retry-After: 17", "X-Peer: none"])
def test_unavailable(carriers: Carriers, header: str) -> None:
    first = carriers.is_("primary", "uas_says", code=503, header=header)
    second = carriers.is_("secondary", "uas_slow", duration_ms=1)
    assert decisions(carriers.call()) == [("primary", "service_unavailable", "next"), ANSWERED]
    first.wait()
    second.wait()


def test_trying_and_then_silence_is_cancelled(carriers: Carriers) -> None:
    carriers.write("primary", "first_response_timeout_ms = 1000\nprogress_timeout_s = 1")
    first = carriers.is_("primary", "uas_trying")
    second = carriers.is_("secondary", "uas_slow", duration_ms=1)
    document = carriers.call()
    first.wait()
    second.wait()
    assert decisions(document) == [("primary", "no_progress", "next"), ANSWERED]
    assert 1000 <= document["attempts"][0]["ms"] < 15_000  # where it is not set


def test_slow_ringing_is_no_fault(carriers: Carriers) -> None:
    """The callee rings for longer than first response and progress may take."""
    carriers.write("primary", "first_response_timeout_ms = 2000\nprogress_timeout_s = 2")
    first = carriers.is_("primary", "uas_slow", duration_ms=2500)
    second = carriers.is_("secondary", "uas_slow", duration_ms=1)
    assert decisions(carriers.call()) == [("primary", "answered", "answered")]
    first.wait()
    assert second.received("INVITE") == []


def test_ringing_that_comes_late_is_in_time(carriers: Carriers) -> None:
    """A 100 at once, the 180 later than a first response may be, but sooner than progress must be."""
    carriers.write("primary", "first_response_timeout_ms = 1000")
    first = carriers.is_("primary", "uas_delayed", duration_ms=1200)
    document = carriers.call()
    first.wait()
    assert decisions(document) == [("primary", "answered", "answered")]
    assert document["attempts"][0]["ms"] >= 1200


def test_after_early_media_nothing_is_asked_elsewhere(carriers: Carriers) -> None:
    first = carriers.is_("primary", "uas_early", code=503)
    second = carriers.is_("secondary", "uas_slow", duration_ms=1)
    assert decisions(carriers.call(code=1)) == [("primary", "service_unavailable", "final")]
    first.wait()
    assert second.received("INVITE") == []


def test_a_redirect_is_followed(carriers: Carriers) -> None:
    """To another port, with the user part that the redirect names; it is the primary's call still."""
    target = f"127.0.0.1:{carriers.ports['secondary']}"
    first = carriers.is_("primary", "uas_says", code=302, header=f"Contact: <sip:moved@{target}>;q=1.0")
    second = carriers.is_("secondary", "uas_slow", duration_ms=1)
    document = carriers.call()
    first.wait()
    assert decisions(document) == [("primary", "redirected", "redirect"), ("primary", "answered", "answered")]
    assert second.wait().received("INVITE")[0].start_line == f"INVITE sip:moved@{target} SIP/2.0"


def test_the_trunk_says_how_long_it_may_ring(carriers: Carriers) -> None:
    carriers.write("primary", f"{PATIENT}\nring_timeout_s = 0.5")
    first = carriers.is_("primary", "uas_rings")
    document = carriers.call(code=1)
    first.wait()
    assert (document["reason"], document["attempts"][0]["ms"] < 60_000) == ("no_answer", True)


def test_ringing_unanswered_ends_the_call(carriers: Carriers) -> None:
    first = carriers.is_("primary", "uas_rings")
    second = carriers.is_("secondary", "uas_slow", duration_ms=1)
    document = carriers.call("--ring-timeout", "1", code=1)
    first.wait()
    assert (document["status"], document["reason"]) == ("no_answer", "no_answer")
    assert decisions(document) == [("primary", "no_answer", "final")]
    assert second.received("INVITE") == []


@pytest.mark.parametrize(("code", "status", "reason"), [(486, "busy", "busy"), (603, "failed", "declined")])
def test_the_callee_decides(carriers: Carriers, code: int, status: str, reason: str) -> None:
    """A busy callee's telephone rings exactly once."""
    first = carriers.is_("primary", "uas_refuses", code=code)
    second = carriers.is_("secondary", "uas_slow", duration_ms=1)
    document = carriers.call(code=1)
    first.wait()
    assert (document["status"], document["reason"], document["sip_code"]) == (status, reason, code)
    assert decisions(document) == [("primary", reason, "final")]
    assert len(first.received("INVITE")) == 1
    assert second.received("INVITE") == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("X-Twilio-Error: 32009 suspended", [("primary", "trunk_suspended", "next_trunk"), ANSWERED]),
        ("X-Peer: none", [("primary", "declined", "final")]),
    ],
)
def test_a_suspended_account_is_not_the_callee(
    carriers: Carriers, header: str, expected: list[tuple[str, str, str]]
) -> None:
    carriers.write("primary", f'{PATIENT}\nfatal_match = [{{ code = 603, header = "X-Twilio-Error" }}]')
    first = carriers.is_("primary", "uas_says", code=603, header=header)
    carriers.is_("secondary", "uas_slow", duration_ms=1)
    assert decisions(carriers.call(code=0 if len(expected) > 1 else 1)) == expected
    first.wait()


@pytest.mark.parametrize(("scenario", "reason"), [("uas_late", "no_progress"), ("uas_wakes", "no_response")])
def test_a_late_answer_gets_ack_and_bye(carriers: Carriers, scenario: str, reason: str) -> None:
    """Whether it crossed the CANCEL, or there could be none because nothing had been heard."""
    carriers.write("primary", QUICK)
    first = carriers.is_("primary", scenario, duration_ms=700)
    second = carriers.is_("secondary", "uas_slow", duration_ms=1)
    document = carriers.call("--duration", "2")
    first.wait()  # its scenario ends with ACK and BYE
    second.wait()
    assert decisions(document) == [("primary", reason, "next"), ANSWERED]
    assert len(second.received("INVITE")) == 1


def test_all_trunks_down(carriers: Carriers, black_hole: socket.socket) -> None:
    second = carriers.is_("secondary", "uas_says", code=503, header="X-Peer: none")
    document = carriers.call(code=1)
    second.wait()
    assert (document["status"], document["reason"], document["sip_code"]) == (
        "failed",
        "all_targets_failed",
        503,
    )
    assert decisions(document) == [
        ("primary", "no_response", "next"),
        ("secondary", "service_unavailable", "next"),
    ]


def test_only_one_trunk_is_asked_for(carriers: Carriers) -> None:
    peer = carriers.is_("secondary", "uas_slow", duration_ms=1)
    assert decisions(carriers.call("--trunk", "secondary")) == [ANSWERED]
    peer.wait()


def test_a_number_that_no_trunk_may_dial(carriers: Carriers) -> None:
    for name in carriers.ports:
        carriers.write(name, 'may_dial = ["+256*"]')
    document = carriers.call(code=1)
    message = document["error"]["message"]
    assert "primary: number +250*****3456 may not be dialled" in message
    assert "secondary: " in message


def calls_in_a_row(carriers: Carriers, count: int) -> list[dict[str, Any]]:
    """So many calls of one process, one after the other."""
    command = [sys.executable, "-m", "tests.outbound.calls", str(carriers.conf), NUMBER]
    done = subprocess.run(
        command, input="\n" * count, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_second_call_goes_straight_to_the_secondary(
    carriers: Carriers, black_hole: socket.socket
) -> None:
    peer = carriers.is_("secondary", "uas_slow", duration_ms=1, calls=2)
    first, second = calls_in_a_row(carriers, 2)
    peer.wait()
    assert decisions(first) == [("primary", "no_response", "next"), ANSWERED]
    assert decisions(second) == [ANSWERED]
    assert second["rejected"] == ["breaker open for 30 s more: no_response"]


def test_a_cancelled_ring_gives_its_slot_back_with_its_487(carriers: Carriers) -> None:
    """More in a row than PyPI's pjsua2 has slots; the next goes out at once."""
    carriers.write("primary", f"{PATIENT}\nring_timeout_s = 0.3")
    peer = carriers.is_("primary", "uas_rings", calls=5)
    made = calls_in_a_row(carriers, 5)
    peer.wait()
    assert [decisions(each) for each in made] == [[("primary", "no_answer", "final")]] * 5


def test_silence_keeps_its_slots(carriers: Carriers, black_hole: socket.socket) -> None:
    """Four INVITEs into a black hole are all that PyPI's pjsua2 has; the fifth call ends at once and says why."""
    limit = json.loads(run(["version", "--json"]).stdout)["pjsua2"]["max_calls"]
    carriers.write("primary", "first_response_timeout_ms = 300\nhold_down_s = 0.000001")
    (carriers.conf / "trunks" / "secondary.toml").unlink()
    made = calls_in_a_row(carriers, 5)
    assert [each["reason"] for each in made[:4]] == ["all_targets_failed"] * 4
    assert made[4]["reason"] == ("no_call_slot" if limit == 4 else "all_targets_failed")


def test_the_user_gives_up_while_it_rings(carriers: Carriers) -> None:
    """Ctrl-C before the answer: CANCEL, one attempt, no other trunk."""
    first = carriers.is_("primary", "uas_rings")
    process = subprocess.Popen(
        arguments_of(["call", NUMBER, "--conf", str(carriers.conf), "--json"]),
        env=clean_environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until(lambda: [m for m in first.messages() if m.start_line.startswith("SIP/2.0 180")], "it rings")
    process.send_signal(signal.SIGINT)
    output, said = process.communicate(timeout=15)
    first.wait()
    document = json.loads(output)
    assert (document["status"], document["reason"]) == ("no_answer", "caller_cancelled")
    assert b"Traceback" not in said


def test_a_challenge_is_answered_and_the_address_stays(carriers: Carriers, tmp_path: Path) -> None:
    """The domain resolves to nothing but through static_hosts: the second INVITE must go where the first went."""
    (tmp_path / "password").write_text("geheim")
    port = carriers.ports["primary"]
    carriers.write("primary", f'auth_user = "us"\npassword_file = "{tmp_path}/password"\n{PATIENT}')
    file = carriers.conf / "trunks" / "primary.toml"
    text = file.read_text().replace(f"127.0.0.1:{port}", f"carrier.invalid:{port}")
    file.write_text(text + '[static_hosts]\n"carrier.invalid" = ["127.0.0.1"]\n')
    peer = carriers.is_("primary", "uas_challenges", duration_ms=1)
    assert decisions(carriers.call()) == [("primary", "answered", "answered")]
    first, second = peer.wait().received("INVITE")
    assert (first.header("Authorization"), second.header("Route")) == (None, None)
    answer = second.header("Authorization") or ""
    uri = f"sip:+250788123456@carrier.invalid:{port}"
    ha1 = md5("us:carrier:geheim")
    fields = dict(re.findall(r'(\w+)="?([^",]*)"?', answer))
    assert (fields["username"], fields["uri"]) == ("us", uri)
    expected = md5(f"{ha1}:4711:{fields['nc']}:{fields['cnonce']}:auth:{md5(f'INVITE:{uri}')}")
    assert fields["response"] == expected


def test_a_wrong_password_is_the_trunk_s_fault(carriers: Carriers, tmp_path: Path) -> None:
    """Two INVITEs, no loop; the other trunk carries the call."""
    (tmp_path / "password").write_text("wrong")
    carriers.write("primary", f'auth_user = "us"\npassword_file = "{tmp_path}/password"\n{PATIENT}')
    first = carriers.is_("primary", "uas_refuses_us")
    second = carriers.is_("secondary", "uas_slow", duration_ms=1)
    expected = [("primary", "credentials_refused", "next_trunk"), ANSWERED]
    assert decisions(carriers.call()) == expected
    assert len(first.wait().received("INVITE")) == 2
    second.wait()


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
