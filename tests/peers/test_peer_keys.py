"""Keys that a caller presses, each way that they may travel: the voice service is told once, and answers once."""

from __future__ import annotations

import ipaddress
import json
import os
import struct
from collections import Counter
from collections.abc import Mapping
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtp.dtmf import TelephoneEvent
from rtp.packet import build_rtp
from rtp.tones import RATE, ToneDetector, tones_of
from sipua.line.capture import Capture
from sipua.resources import shipped_speech
from tests.peers import tshark
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp, need
from tests.peers.phone import Phone
from tests.peers.processes import run, until
from tests.peers.wire import Wire
from tests.ports import free_port

pytestmark = pytest.mark.peer
FRAME, LOUD = 160, 500
HEARD_MS = 3500  # greeting and answer: about a second each


def told_once(agent: Agent, call: Mapping[str, Any], keys: str) -> None:
    """One text item and one answer to it, besides the greeting; no turn of speech, no error; the ledger's row."""
    rows = agent.select("SELECT type, payload FROM voice_events WHERE call_id = %s", call["id"])
    items = Counter(
        row["payload"]["role"] for row in rows if row["type"] == "openai_conversation_item_created"
    )
    assert items == {"assistant": 2, "system": 1}
    types = Counter(row["type"] for row in rows)
    assert (types["openai_response_created"], types["error"]) == (2, 0)
    said = agent.select("SELECT role, content FROM transcripts WHERE call_id = %s ORDER BY t", call["id"])
    assert [row["role"] for row in said if row["role"] != "assistant"] == ["system"]
    assert f"[keys pressed: {keys}]" in {row["content"] for row in said}


def test_telephone_events(agent: Agent, sipp: StartSipp) -> None:
    """RFC 4733, as sipp's recordings have it: an SSRC of their own."""
    if os.geteuid() != 0:
        pytest.skip("sipp plays recordings through a raw socket: run as root")
    caller = sipp(agent.sip, "keys_pcap", duration_ms=HEARD_MS).wait()
    told_once(agent, agent.closed_call(caller.call_id), "12#")


def test_tones(agent: Agent, emulator: Emulator, sipp: StartSipp, phone: Phone) -> None:
    """In the sound, on a trunk without telephone events; of the sound the voice service gets a packet each at most."""
    phone.say(tones_of("12#", RATE, duration_ms=100, pause_ms=100))
    caller = sipp(
        agent.sip, "call", source="127.0.0.6", rtp_port=phone.port, rtp_ip=phone.host, duration_ms=HEARD_MS
    ).wait()
    assert "RTP/AVP 0\n" in caller.received("200")[0].body
    told_once(agent, agent.closed_call(caller.call_id), "12#")
    heard = emulator.last_heard()
    assert np.count_nonzero(np.abs(heard) > LOUD) <= 3 * FRAME
    assert ToneDetector().receive(heard) == []


def test_tones_are_sound_where_keys_travel_otherwise(
    agent: Agent, emulator: Emulator, sipp: StartSipp, phone: Phone
) -> None:
    """The same sound on a trunk with telephone events: the judge of the last test can say no."""
    phone.say(tones_of("12#", RATE, duration_ms=100, pause_ms=100))
    caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=1000).wait()
    agent.closed_call(caller.call_id)
    assert [each.digit for each in ToneDetector().receive(emulator.last_heard())] == ["1", "2", "#"]


def test_info(agent: Agent, sipp: StartSipp, phone: Phone) -> None:
    """Both bodies that are in use; no telephone events are in our SDP, and those that come anyway are not heard."""
    caller = sipp(
        agent.sip, "keys_info", source="127.0.0.5", rtp_port=phone.port, rtp_ip=phone.host, duration_ms=HEARD_MS
    )  # fmt: skip
    until(lambda: phone.heard, "the agent speaks")
    phone.send(build_rtp(101, True, 1, 160, 7, TelephoneEvent(9, True, 10, 800).serialize()))
    caller.wait()
    assert "RTP/AVP 0\n" in caller.received("200")[0].body
    told_once(agent, agent.closed_call(caller.call_id), "12#")


def test_info_is_answered_and_not_heard_where_keys_travel_otherwise(
    agent: Agent, sipp: StartSipp, phone: Phone
) -> None:
    """Some send each key both ways: it is one."""
    caller = sipp(agent.sip, "keys_info", rtp_port=phone.port, duration_ms=200).wait()  # 200 to each
    call = agent.closed_call(caller.call_id)
    rows = agent.select("SELECT 1 FROM transcripts WHERE call_id = %s AND role = 'system'", call["id"])
    assert (call["outcome"], rows) == ("caller_hangup", [])


RELAY, PLAIN = "application/dtmf-relay", "application/dtmf"


def test_what_an_info_is_answered(agent: Agent) -> None:
    """Within the dialog each has the answer it deserves, outside of it there is none to be had; the call goes on."""
    with Wire(agent, source="127.0.0.5") as wire:
        wire.send(wire.request("INVITE"))
        tag = wire.acknowledge(wire.receive("200"))
        answers = [
            wire.info(body, kind, tag=tag, more=more)
            for body, kind, more in (
                ("Signal=5\r\nDuration=160\r\n", RELAY, ""),
                ("", "", ""),
                ("Signal=\r\n", RELAY, ""),
                ("5" * 1000, PLAIN, ""),
                ("<media_control/>", "application/media_control+xml", ""),
                ("5", PLAIN, "Info-Package: keys\r\n"),
            )
        ]
        assert [code_of(each) for each in answers] == [200, 200, 400, 400, 415, 469]
        assert b"\r\nAccept: application/dtmf-relay, application/dtmf\r\n" in answers[4]
        assert b"\r\nRecv-Info:" in answers[5]
        assert code_of(wire.info("5", PLAIN, tag="")) == 481
        flood = [code_of(wire.info("5", PLAIN, tag=tag)) for _ in range(60)]
        assert flood[0] == 200
        assert set(flood) <= {200, 500}
        wire.end(tag)
    row = agent.closed_call(wire.call_id)
    assert row["outcome"] == "caller_hangup"


KEYS_OF = """SELECT content FROM transcripts t JOIN voice_calls c ON c.id = t.call_id
    WHERE c.sip_session_id = %s AND t.role = 'system'"""


def test_keys_before_the_hang_up_are_in_the_ledger(agent: Agent) -> None:
    """Nobody is told of them any more."""
    with Wire(agent, source="127.0.0.5") as wire:
        wire.send(wire.request("INVITE"))
        tag = wire.acknowledge(wire.receive("200"))
        assert code_of(wire.info("7", PLAIN, tag=tag)) == 200
        wire.end(tag)
    assert agent.closed_call(wire.call_id)["outcome"] == "caller_hangup"
    assert [row["content"] for row in agent.select(KEYS_OF, wire.call_id)] == ["[keys pressed: 7]"]


def test_an_info_that_is_sent_again_is_one_key(agent: Agent) -> None:
    """As UDP has it when an answer is lost."""
    with Wire(agent, source="127.0.0.5") as wire:
        wire.send(wire.request("INVITE"))
        tag = wire.acknowledge(wire.receive("200"))
        for digit in "4#":
            answer = wire.info(digit, PLAIN, tag=tag)
            wire.send_again()
            assert wire.receive("200", "INFO") == answer
        until(lambda: agent.select(KEYS_OF, wire.call_id), "the ledger has the keys")
        wire.end(tag)
    agent.closed_call(wire.call_id)
    assert [row["content"] for row in agent.select(KEYS_OF, wire.call_id)] == ["[keys pressed: 4#]"]


def code_of(answer: bytes) -> int:
    return int(answer.split()[1])


def dial(port: int, *flags: str) -> tuple[dict[str, Any], str]:
    """A call of ours by the softphone: its result, and what it said."""
    result = run(["call", f"sip:peer@127.0.0.1:{port}", "--json", *flags])
    assert result.returncode == 0, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document, result.stderr


def captured(phone: Phone, file: Path) -> Path:
    """What the phone got, as packets that tshark reads; their times are not those of arrival."""
    with Capture(file) as capture:
        for packet in phone.heard:
            length = 8 + len(packet.datagram)
            udp = struct.pack("!HHHH", packet.source[1], phone.port, length, 0) + packet.datagram
            addresses = (
                ipaddress.ip_address(packet.source[0]).packed + ipaddress.ip_address(phone.host).packed
            )
            capture.add(struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, 17, 0) + addresses + udp)
    return file


def test_telephone_events_of_ours_as_tshark_reads_them(sipp: StartSipp, phone: Phone, tmp_path: Path) -> None:
    """RFC 4733 §2.5.1: one timestamp a key, marked once, growing to 120 ms, its end three times."""
    need("tshark")
    port = free_port()
    peer = sipp("", "uas", flags=("-p", str(port)), rtp_port=phone.port)
    dial(port, "--dtmf", "1w#d", "--play", str(shipped_speech("moto_en.wav")), "--duration", "3")
    peer.wait()
    events = tshark.events(captured(phone, tmp_path / "keys.pcap"), phone.port)
    presses = [list(group) for _, group in groupby(events, lambda each: each.timestamp)]
    assert [{each.event for each in press} for press in presses] == [{1}, {11}, {15}]
    for press in presses:
        assert [each.is_marked for each in press] == [True] + [False] * 7
        assert [each.duration for each in press] == [160, 320, 480, 640, 800, 960, 960, 960]
        assert [each.is_end for each in press] == [False] * 5 + [True] * 3
    sequences = [packet.sequence for packet in phone.heard]
    assert all((b - a) % 2**16 == 1 for a, b in pairwise(sequences))
    sound = [packet for packet in phone.heard if packet.payload_type == 0]
    for before, after in pairwise(sound):  # its clock runs on beneath a key
        steps = (after.sequence - before.sequence) % 2**16
        assert (after.timestamp - before.timestamp) % 2**32 == 160 * steps
    assert presses[1][0].timestamp - presses[0][0].timestamp >= 4000  # w


def test_the_softphone_by_info(sipp: StartSipp, phone: Phone) -> None:
    """One INFO after another's answer, in the order of the keys; what the far end presses is shown."""
    port = free_port()
    peer = sipp("", "uas_keys", flags=("-p", str(port)), rtp_port=phone.port, code=200)
    document, said = dial(port, "--dtmf", "w3D", "--dtmf-by", "info", "--duration", "2")
    peer.wait()
    assert [each.body for each in peer.received("INFO")] == [
        "Signal=3\nDuration=160", "Signal=D\nDuration=160",
    ]  # fmt: skip
    assert {each.header("content-type") for each in peer.received("INFO")} == {RELAY}
    assert document["keys_heard"] == "7"
    assert "key 7" in said


def test_the_softphone_gives_up_keys_that_are_not_taken(sipp: StartSipp, phone: Phone) -> None:
    port = free_port()
    peer = sipp("", "uas_keys", flags=("-p", str(port)), rtp_port=phone.port, code=415)
    document, said = dial(port, "--dtmf", "123", "--dtmf-by", "info", "--duration", "2")
    peer.wait()
    assert len(peer.received("INFO")) == 2
    assert (document["status"], "INFO with a key was answered 415" in said) == ("completed", True)
