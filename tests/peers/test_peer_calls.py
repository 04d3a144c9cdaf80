"""Calls as sipp makes them, against one agent: how they begin, change and end, and the rows they leave."""

from __future__ import annotations

import itertools
import os

import pytest

from tests.peers.agent import Agent
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import until

pytestmark = pytest.mark.peer


def test_the_caller_hangs_up(agent: Agent, sipp: StartSipp, phone: Phone) -> None:
    caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=1500).wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"], call["trunk"]) == ("completed", "caller_hangup", "plain")
    assert call["metadata"]["codec"] == "PCMU"
    assert agent.sessions(call)[0]["input_audio_format"] == "audio/pcmu"
    assert agent.events(call)[-1] == "call_ended"
    assert phone.is_hearing_sound()  # the greeting
    assert phone.payload_types() == [0]
    sequences = [packet.sequence for packet in phone.heard]
    assert all((b - a) % 65536 == 1 for a, b in itertools.pairwise(sequences))


def test_the_codec_is_the_first_that_the_caller_offers(agent: Agent, sipp: StartSipp) -> None:
    with Phone(codec="PCMA") as phone:
        caller = sipp(agent.sip, "call", rtp_port=phone.port, formats="18 8 0 101").wait()
    answer = caller.received("200")[0].body
    assert "RTP/AVP 8 101\n" in answer
    call = agent.closed_call(caller.call_id)
    assert call["metadata"]["codec"] == "PCMA"
    assert agent.sessions(call)[0]["output_audio_format"] == "audio/pcma"
    assert phone.payload_types() == [8]


def test_rtp_and_key_presses_from_recordings(agent: Agent, sipp: StartSipp) -> None:
    """sipp's own pcaps: 30 ms A-law packets, then RFC 4733 events under an SSRC of their own."""
    if os.geteuid() != 0:
        pytest.skip("sipp plays recordings through a raw socket: run as root")
    caller = sipp(agent.sip, "pcap", formats="8 101", duration_ms=3000).wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert call["metadata"]["codec"] == "PCMA"
    assert call["metadata"]["rtp"]["received"] > 90
    assert "error" not in agent.events(call)


def test_a_longest_call_ends(agent: Agent, sipp: StartSipp, phone: Phone) -> None:
    caller = sipp(
        agent.sip, "call_until_bye", source="127.0.0.2", rtp_port=phone.port, rtp_ip=phone.host
    ).wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"], call["trunk"]) == ("completed", "max_duration", "brief")
    assert 2 <= call["duration_seconds"] <= 5  # the words that waited at the limit are heard, 3 s at most


def test_a_caller_that_vanishes(agent: Agent, sipp: StartSipp) -> None:
    with Phone(mute=True) as phone:
        caller = sipp(
            agent.sip, "call_until_bye", source="127.0.0.3", rtp_port=phone.port, rtp_ip=phone.host
        ).wait(10)
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"], call["trunk"]) == ("failed", "rtp_timeout", "impatient")
    assert "error" in agent.events(call)


@pytest.mark.parametrize(
    "hold",
    [{"direction2": "sendonly"}, {"direction2": "inactive"}, {"rtp_ip2": "0.0.0.0"}],
    ids=["sendonly", "inactive", "zero-address"],
)
def test_hold_and_resume(agent: Agent, sipp: StartSipp, phone: Phone, hold: dict[str, str]) -> None:
    """On a trunk with a media time-out shorter than the hold."""
    caller = sipp(
        agent.sip,
        "reinvite",
        source="127.0.0.3",
        rtp_port=phone.port,
        rtp_ip=phone.host,
        duration_ms=2300,
        **hold,
    )
    until(caller.got("200"), "answered")
    until(lambda: phone.longest_silence_s() > 0 and len(phone.heard) > 20, "audio")
    until(lambda: len(caller.received("200")) == 2, "held")
    phone.mute = True
    until(lambda: len(caller.received("200")) == 3, "resumed")
    phone.mute = False
    resumed = len(phone.heard)
    caller.wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert phone.longest_silence_s() > 2.0  # nothing is sent to a peer that does not listen
    assert len(phone.heard) - resumed > 80  # and audio goes on


def test_a_reinvite_changes_the_codec(agent: Agent, sipp: StartSipp, phone: Phone) -> None:
    """The session's format stays, the payload type on the wire changes, the conversation goes on."""
    caller = sipp(
        agent.sip, "reinvite", rtp_port=phone.port, formats="0 101", formats2="8 101", formats3="0 101"
    ).wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert [m.body.count("RTP/AVP 8 101") for m in caller.received("200")] == [0, 1, 0, 0]
    assert phone.payload_types() == [0, 8, 0]
    assert [s["input_audio_format"] for s in agent.sessions(call)] == ["audio/pcmu"]
    assert phone.longest_silence_s() < 0.5


def test_a_reinvite_that_cannot_be_accepted(agent: Agent, sipp: StartSipp, phone: Phone) -> None:
    caller = sipp(agent.sip, "reinvite_refused", rtp_port=phone.port, formats2="18").wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert phone.longest_silence_s() < 0.5


def test_a_reinvite_with_a_codec_that_only_other_trunks_allow(agent: Agent, sipp: StartSipp) -> None:
    with Phone(codec="PCMA") as phone:
        caller = sipp(
            agent.sip, "reinvite_refused", source="127.0.0.4", rtp_ip=phone.host, rtp_port=phone.port,
            formats="8", formats2="0",
        ).wait()  # fmt: skip
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert phone.longest_silence_s() < 0.5


def test_a_late_offer(agent: Agent, sipp: StartSipp, phone: Phone) -> None:
    caller = sipp(agent.sip, "late_offer", rtp_port=phone.port, formats="0 101").wait()
    offer = caller.received("200")[0].body
    assert "RTP/AVP 0 101\n" in offer  # one codec, and key presses
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert phone.is_hearing_sound()


def test_a_private_address_is_replaced_by_the_true_source(
    agent: Agent, sipp: StartSipp, phone: Phone
) -> None:
    """Symmetric RTP: the SDP says one address, the packets come from another."""
    caller = sipp(agent.sip, "call", rtp_ip="10.255.255.254", rtp_port=phone.port, duration_ms=2000)
    answer = until(caller.got("200"), "answered")[0].body
    phone.target = ("127.0.0.1", int(answer.split("m=audio ")[1].split()[0]))
    caller.wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert phone.is_hearing_sound()


def test_a_call_that_begins_on_hold(agent: Agent, sipp: StartSipp, phone: Phone) -> None:
    """c=0.0.0.0 (RFC 2543): nothing is sent, nothing times out, and the re-INVITE brings it to life."""
    caller = sipp(
        agent.sip, "reinvite", source="127.0.0.3", rtp_ip="0.0.0.0", rtp_ip2=phone.host, rtp_ip3=phone.host,
        rtp_port=phone.port, duration_ms=2000,
    )  # fmt: skip
    until(lambda: len(caller.received("200")) == 1, "answered")
    assert phone.heard == []
    until(lambda: len(caller.received("200")) == 2, "taken from hold")
    until(lambda: len(phone.heard) > 20, "audio")
    caller.wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")


def test_a_reinvite_without_an_offer(agent: Agent, sipp: StartSipp, phone: Phone) -> None:
    """What we offer is the codec in use alone."""
    caller = sipp(agent.sip, "reinvite_late", rtp_port=phone.port).wait()
    assert "RTP/AVP 0 101\n" in caller.received("200")[1].body
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert phone.longest_silence_s() < 0.5
    assert phone.payload_types() == [0]
