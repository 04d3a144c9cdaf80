"""The responder of the drills as a core: requests in, responses out, with a clock of the test's own."""

from __future__ import annotations

import hashlib
import random
import re

import pytest

from sipua.drills.responder import Reply, Responder
from sipua.drills.script import (
    BLACK_HOLE,
    WELL,
    Challenge,
    Script,
    Step,
    refuses,
    rings_for,
    trying_only,
    wakes_up,
)
from sipua.sip_message import SipMessage, parse_message

PEER = ("127.0.0.1", 5060)
OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\n"
OFFER += "a=rtpmap:101 telephone-event/8000\r\n"


def responder(script: Script = WELL) -> Responder:
    return Responder(script, "127.0.0.11:5070;transport=udp", ("127.0.0.11", 4002), random.Random(1))


def request(
    method: str, *, branch: str = "1", call: str = "a", cseq: int = 1, tag: str = "", **headers: str
) -> str:
    lines = [
        f"{method} sip:x@127.0.0.11 SIP/2.0", f"Via: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{branch}",
        "From: <sip:us@127.0.0.1>;tag=us", f"To: <sip:x@127.0.0.11>{tag}", f"Call-ID: {call}",
        f"CSeq: {cseq} {method}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]  # fmt: skip
    return "\r\n".join(lines) + "\r\n\r\n" + (OFFER if method == "INVITE" else "")


def codes(replies: list[Reply]) -> list[int]:
    return [int(each.data.split()[1]) for each in replies]


def message(reply: Reply) -> SipMessage:
    return parse_message(reply.data.decode())


def wind(core: Responder, until: float) -> list[tuple[float, int]]:
    """What leaves by itself until then, with its time."""
    found = []
    while core.next_at is not None and core.next_at <= until:
        now = core.next_at
        found += [(round(now, 3), code) for code in codes(core.tick(now))]
    return found


def test_an_invite_is_answered_step_by_step() -> None:
    core = responder()
    assert codes(core.receive(request("INVITE"), PEER, 10.0)) == [100]
    assert wind(core, 10.2) == [(10.02, 180), (10.07, 200)]
    assert (core.count("INVITE"), core.count("INVITE", 200)) == (1, 1)


def test_the_answer_takes_the_first_codec_that_is_offered() -> None:
    core = responder(Script(invite=(Step(200, has_sdp=True),)))
    (reply,) = core.receive(request("INVITE"), PEER, 0.0)
    answer = message(reply)
    assert "m=audio 4002 RTP/AVP 8 101" in answer.body
    assert "c=IN IP4 127.0.0.11" in answer.body
    assert answer.header("content-length") == str(len(answer.body.replace("\n", "\r\n")))
    assert answer.header("contact") == "<sip:carrier@127.0.0.11:5070;transport=udp>"
    assert ";tag=" in (answer.header("to") or "")


@pytest.mark.parametrize("final", [200, 503])
def test_a_final_response_is_repeated_until_the_ack(final: int) -> None:
    core = responder(Script(invite=(Step(final),)))
    core.receive(request("INVITE"), PEER, 0.0)
    assert wind(core, 8.0) == [(0.5, final), (1.5, final), (3.5, final), (7.5, final)]
    core.receive(request("ACK", branch="1" if final > 300 else "2"), PEER, 8.0)
    assert wind(core, 60.0) == []
    assert (core.count("ACK"), core.count("INVITE", final)) == (1, 1)


def test_without_an_ack_it_gives_up() -> None:
    core = responder(Script(invite=(Step(486),)))
    core.receive(request("INVITE"), PEER, 0.0)
    assert max(at for at, _ in wind(core, 100.0)) < 33
    assert core.next_at is None


def test_a_repeated_request_gets_the_last_response_again() -> None:
    core = responder(Script(invite=(Step(100), Step(503, 1.0, (("Retry-After", "2"),)))))
    assert codes(core.receive(request("INVITE"), PEER, 0.0)) == [100]
    assert codes(core.receive(request("INVITE"), PEER, 0.5)) == [100]
    (reply,) = core.tick(1.0)
    assert message(reply).header("retry-after") == "2"
    assert codes(core.receive(request("INVITE"), PEER, 1.1)) == [503]
    assert core.count("INVITE") == 1


def test_a_black_hole_hears_and_says_nothing_and_forgets_what_was_due() -> None:
    core = responder()
    core.receive(request("INVITE"), PEER, 0.0)
    core.script = BLACK_HOLE
    assert wind(core, 40.0) == []
    assert core.receive(request("OPTIONS", branch="2"), PEER, 1.0) == []
    assert core.count("OPTIONS") == 0


def test_cancel_ends_an_invite() -> None:
    core = responder(trying_only())
    core.receive(request("INVITE"), PEER, 0.0)
    assert sorted(codes(core.receive(request("CANCEL"), PEER, 1.0))) == [200, 487]


def test_cancel_of_an_invite_that_never_was() -> None:
    assert codes(responder().receive(request("CANCEL"), PEER, 0.0)) == [481]


def test_a_late_answer_follows_the_cancel() -> None:
    core = responder(trying_only(late_answer_s=0.2))
    core.receive(request("INVITE"), PEER, 0.0)
    assert codes(core.receive(request("CANCEL"), PEER, 1.0)) == [200]
    assert wind(core, 1.3) == [(1.2, 200)]
    assert codes(core.receive(request("BYE", branch="3", cseq=2), PEER, 1.4)) == [200]


def test_cancel_after_the_answer_changes_nothing() -> None:
    core = responder(Script(invite=(Step(200),)))
    core.receive(request("INVITE"), PEER, 0.0)
    assert codes(core.receive(request("CANCEL"), PEER, 0.1)) == [200]
    assert core.count("INVITE", 487) == 0


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (wakes_up(0.8), [(0.8, 200)]),
        (rings_for(1.8), [(1.8, 200)]),
        (Script(invite=()), []),
    ],
)
def test_slow_ones(script: Script, expected: list[tuple[float, int]]) -> None:
    core = responder(script)
    core.receive(request("INVITE"), PEER, 0.0)
    assert wind(core, 2.0)[: len(expected)] == expected


def test_a_reinvite_is_answered_as_the_call_is() -> None:
    core = responder(refuses(486))
    assert codes(core.receive(request("INVITE", tag=";tag=them"), PEER, 0.0)) == [200]


def test_answers_to_options_are_taken_in_turn() -> None:
    core = responder(Script(options=((Step(200),), (), (Step(503),))))
    found = [codes(core.receive(request("OPTIONS", branch=str(n)), PEER, n)) for n in range(4)]
    assert found == [[200], [], [503], [200]]


# ---- digest and registrar ------------------------------------------------------------------------------------


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def authorization(challenged: SipMessage, method: str, password: str) -> str:
    value = challenged.header("www-authenticate") or challenged.header("proxy-authenticate") or ""
    nonce = re.search(r'nonce="([^"]+)"', value)
    assert nonce is not None
    uri = "sip:x@127.0.0.11"
    ha1, ha2 = md5(f"us:carrier:{password}"), md5(f"{method}:{uri}")
    response = md5(f"{ha1}:{nonce[1]}:00000001:c:auth:{ha2}")
    return (
        f'Digest username="us", realm="carrier", nonce="{nonce[1]}", uri="{uri}", response="{response}", '
        'qop=auth, nc=00000001, cnonce="c", algorithm=MD5'
    )


def challenged(core: Responder, answer: str = "", branch: str = "1", call: str = "a") -> SipMessage:
    contact = "<sip:us@127.0.0.1>;expires=60"
    text = request("REGISTER", branch=branch, call=call, Contact=contact, Authorization=answer or "none")
    (reply,) = core.receive(text, PEER, 0.0)
    return message(reply)


def test_the_right_password_is_let_in_and_a_wrong_one_never() -> None:
    core = responder(Script(register_challenge=Challenge("us", "right")))
    first = challenged(core)
    assert first.start_line.startswith("SIP/2.0 401")
    wrong = challenged(core, authorization(first, "REGISTER", "wrong"), "2")
    assert wrong.start_line.startswith("SIP/2.0 401")
    assert "stale" not in (wrong.header("www-authenticate") or "")
    assert challenged(core, authorization(wrong, "REGISTER", "right"), "3").start_line == "SIP/2.0 200 OK"


def test_every_other_right_answer_may_be_called_stale() -> None:
    core = responder(Script(register_challenge=Challenge("us", "right", stale_first=True)))
    for call in "aba":
        first = challenged(core, branch=f"1{random.random()}", call=call)
        stale = challenged(core, authorization(first, "REGISTER", "right"), f"2{random.random()}", call)
        assert "stale=true" in (stale.header("www-authenticate") or "")
        last = challenged(core, authorization(stale, "REGISTER", "right"), f"3{random.random()}", call)
        assert last.start_line == "SIP/2.0 200 OK"


def test_a_challenge_to_an_invite() -> None:
    core = responder(Script(invite_challenge=Challenge("us", "right", code=407)))
    (reply,) = core.receive(request("INVITE"), PEER, 0.0)
    answer = authorization(message(reply), "INVITE", "right")
    text = request("INVITE", branch="2", cseq=2, Proxy_Authorization=answer)
    assert codes(core.receive(text, PEER, 0.1)) == [100]


def test_a_registrar_grants_what_it_likes() -> None:
    core = responder(Script(grants_s=30))
    (reply,) = core.receive(request("REGISTER", Contact="<sip:us@127.0.0.1>;expires=60"), PEER, 0.0)
    assert message(reply).header("contact") == "<sip:us@127.0.0.1>;expires=30"
    (gone,) = core.receive(request("REGISTER", branch="2", Contact="<sip:us@127.0.0.1>;expires=0"), PEER, 1.0)
    assert message(gone).header("contact") is None


def test_an_interval_too_brief() -> None:
    core = responder(Script(min_expires_s=120))
    (reply,) = core.receive(request("REGISTER", Contact="<sip:us@127.0.0.1>", Expires="60"), PEER, 0.0)
    assert message(reply).header("min-expires") == "120"
    assert codes(
        core.receive(request("REGISTER", branch="2", Contact="<sip:us@x>", Expires="120"), PEER, 1.0)
    ) == [200]


@pytest.mark.parametrize("text", ["", "\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "INVITE\r\n\r\n", "nonsense"])
def test_what_is_no_request_is_only_heard(text: str) -> None:
    assert responder().receive(text, PEER, 0.0) == []


def test_a_nonce_of_somebody_else_is_stale() -> None:
    core = responder(Script(register_challenge=Challenge("us", "right")))
    foreign = parse_message(
        'SIP/2.0 401 No\r\nWWW-Authenticate: Digest realm="carrier", nonce="4711"\r\n\r\n'
    )
    refused = challenged(core, authorization(foreign, "REGISTER", "right"))
    assert "stale=true" in (refused.header("www-authenticate") or "")
