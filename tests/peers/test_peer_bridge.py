"""Callers whose line takes no REFER: a second leg of ours by another carrier, and both sides joined."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rtp.wav import read_wav
from sipua.languages import load_languages
from sipua.resources import shipped_speech
from tests.peers.conftest import StartSipp
from tests.peers.desk import CALLER, CALLER_HEADER, DIALLED, SOUND, TWICE, Desk, is_heard, keys_of
from tests.peers.phone import Phone
from tests.peers.processes import until
from tests.peers.wire import Wire

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def desk(start_desk: Callable[..., Desk]) -> Desk:
    return start_desk(SIPUA_TRANSFER__RING_S="2")


@pytest.mark.parametrize(
    ("refusal", "caller_formats", "caller_codec", "persons_formats", "persons_codec", "ended_by"),
    [
        (405, "0 101", "PCMU", "8 101", "PCMA", "person"),
        (603, "8 101", "PCMA", "0 101\r\na=ptime:60", "PCMU", "caller"),
    ],
)
def test_the_two_hear_each_other_and_their_keys(
    refusal: int, caller_formats: str, caller_codec: str, persons_formats: str, persons_codec: str, ended_by: str,
    desk: Desk, sipp: StartSipp,
) -> None:  # fmt: skip
    question, answer = (read_wav(shipped_speech(each))[:SOUND] for each in TWICE)
    with Phone(codec=caller_codec) as phone, Phone(codec=persons_codec) as persons:
        keys: dict[str, Any] = {"rtp_port": persons.port, "formats": persons_formats, "duration_ms": 4500}
        person = desk.person(sipp, "uas_hangs_up" if ended_by == "person" else "uas", **keys)
        caller = sipp(
            desk.agent.sip, "call_refers_not" if ended_by == "caller" else "call_bridged", rtp_port=phone.port,
                formats=caller_formats, code=refusal,
            caller=CALLER, flags=("-s", DIALLED), duration_ms=4500,
        )  # fmt: skip
        until(lambda: persons.target, "the person's leg sends")
        phone.press_between(7)
        persons.press_between(9)
        until(lambda: keys_of(phone) and keys_of(persons), "both keys")
        phone.say(question)
        persons.say(answer)
        caller.wait()
        person.wait()
    assert is_heard(question, persons)
    assert is_heard(answer, phone)
    assert not is_heard(question, phone)
    assert (keys_of(persons), keys_of(phone)) == ({7}, {9})
    call = desk.agent.closed_call(caller.call_id)
    assert (call["handoff"], call["handoff_target"], call["outcome"]) == (True, "support", "transferred")
    assert call["metadata"]["transfer"] == {
        "department": "support", "by": "bridge", "state": "over", "code": 0, "ended_by": ended_by,
    }  # fmt: skip
    assert desk.tool(call)["result"] == {"status": "connected"}
    assert desk.attempts(call) == [("carrier", 200, "answered")]
    invite = person.received("INVITE")[0]
    assert f"sip:{CALLER}@" in (invite.header("from") or "")
    assert (
        invite.header("diversion") == f"<sip:{DIALLED}@127.0.0.1:{desk.ports['carrier']}>;reason=deflection"
    )
    assert desk.agent.metric("sipua_trunk_calls", trunk="carrier") == 0
    desk.agent.idle()
    assert desk.agent.open_sockets() == 1, "RTP sockets left over"


FAILURES = {
    "uas_refuses": (486, {"code": 486, "cause": "not_reached"}, (486, "final"), "the line is busy"),
    "uas_rings": (0, {"code": 0, "cause": "rang_out"}, (None, "final"), "nobody answered"),
}


@pytest.mark.parametrize("scenario", FAILURES)
def test_a_person_who_is_not_reached_brings_the_caller_back(
    scenario: str, desk: Desk, sipp: StartSipp, phone: Phone
) -> None:
    """By a trunk whose callers are not referred at all."""
    code, noted, (last, verdict), told = FAILURES[scenario]
    person = desk.person(sipp, scenario, code=code)
    with Wire(desk.agent, CALLER_HEADER, source="127.0.0.2") as wire:
        wire.send(wire.request("INVITE", rtp_port=phone.port))
        answer = wire.receive("200")
        tag = wire.acknowledge(answer)
        call = desk.open_call()
        until(lambda: desk.failed(call), "the tool has failed")
        person.wait()
        wire.end(tag)
    assert desk.failed(call).startswith(f"{told}; the caller has been told so")
    assert bool(person.received("CANCEL")) == (scenario == "uas_rings")
    call = desk.agent.closed_call(wire.call_id)
    assert (call["handoff"], call["handoff_target"], call["outcome"]) == (False, None, "caller_hangup")
    assert call["metadata"]["transfer"] == {
        "department": "support",
        "by": "bridge",
        "state": "failed",
        **noted,
    }
    assert desk.attempts(call) == [("carrier", last, verdict)]
    phrases = load_languages(Path("conf")).of("en").phrases
    assert desk.spoken(call, "system") == [phrases.transferring, phrases.transfer_failed]
    desk.agent.idle()


def test_a_caller_who_hangs_up_while_it_rings(desk: Desk, sipp: StartSipp, phone: Phone) -> None:
    person = desk.person(sipp, "uas_rings")
    with Wire(desk.agent, CALLER_HEADER, source="127.0.0.2") as wire:
        wire.send(wire.request("INVITE", rtp_port=phone.port))
        tag = wire.acknowledge(wire.receive("200"))
        until(person.got("INVITE"), "the person's telephone rings")
        wire.end(tag)
    person.wait()
    assert person.received("CANCEL")
    call = desk.agent.closed_call(wire.call_id)
    assert (call["handoff"], call["outcome"]) == (False, "caller_hangup")
    assert call["metadata"]["transfer"]["cause"] == "caller_left"
    assert desk.failed(call) == "the call ended first"
    desk.agent.idle()
    assert desk.agent.open_sockets() == 1, "RTP sockets left over"


def test_the_bridge_outlives_the_voice_service(start_desk: Callable[..., Desk], sipp: StartSipp) -> None:
    """Which writes down what the caller says to the person, where that is so set, and says nothing."""
    desk = start_desk(SIPUA_TRANSFER__TRANSCRIBE_BRIDGED="true", SIPUA_REALTIME__RECONNECT_S="1")
    question, answer = (read_wav(shipped_speech(each))[:SOUND] for each in TWICE)
    with Phone() as phone, Phone() as persons, Wire(desk.agent, CALLER_HEADER, source="127.0.0.2") as wire:
        person = desk.person(sipp, "uas", rtp_port=persons.port)
        wire.send(wire.request("INVITE", rtp_port=phone.port))
        tag = wire.acknowledge(wire.receive("200"))
        until(lambda: persons.target, "the person's leg sends")
        call = desk.open_call()
        phone.say(question)
        until(lambda: desk.spoken(call, "caller"), "the caller's words")
        desk.emulator.end()
        wire.reinvite(tag, more_sdp="a=inactive\n", rtp_port=phone.port)
        since, silent_since = len(persons.heard), len(phone.heard)
        persons.say(answer)  # nobody hears it
        until(lambda: len(persons.heard) > since + 100, "two seconds of hold")
        assert len(phone.heard) < silent_since + 10
        wire.reinvite(tag, rtp_port=phone.port)
        persons.say(answer)
        until(lambda: len(persons.heard) > since + 100 + answer.size // 160 + 20, "the answer")
        desk.agent.end()
        person.wait()  # BYE
    assert is_heard(answer, phone)
    call = desk.agent.closed_call(wire.call_id)
    assert (call["status"], call["outcome"], call["handoff"]) == ("completed", "agent_shutdown", True)
    assert call["metadata"]["transfer"]["ended_by"] == "agent"
    assert desk.spoken(call, "user") == []
    assert len(desk.spoken(call, "caller")) == 1
    assert desk.agent.events(call).count("openai_response_created") == 1


def test_whose_telephone_rings_may_still_answer_when_the_voice_service_is_gone(
    start_desk: Callable[..., Desk], sipp: StartSipp, phone: Phone
) -> None:
    desk = start_desk(SIPUA_REALTIME__RECONNECT_S="0")
    person = desk.person(sipp, "uas_delayed", duration_ms=2000)
    with Wire(desk.agent, CALLER_HEADER, source="127.0.0.2") as wire:
        wire.send(wire.request("INVITE", rtp_port=phone.port))
        tag = wire.acknowledge(wire.receive("200"))
        until(person.got("INVITE"), "the person is called")
        desk.emulator.end()
        until(lambda: desk.open_call()["handoff"], "the person has answered")
        wire.end(tag)
    person.wait()
    call = desk.agent.closed_call(wire.call_id)
    assert (call["status"], call["outcome"], call["handoff"]) == ("completed", "transferred", True)
    assert desk.tool(call)["result"] == {"status": "connected"}
    assert desk.spoken(call, "system") == [load_languages(Path("conf")).of("en").phrases.transferring]
    desk.agent.idle()
