"""Calls that outlive their voice session, as the phone hears them and the ledger tells them."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rtp.codec import codec_by_name
from rtp.g711 import Pcm, encode_pcmu
from rtp.wav import read_wav
from sipua.resources import shipped_speech
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import until

pytestmark = pytest.mark.peer

CAP_S = 20
SCRIPT = """
user_prefix = ""
[greeting]
say = "{greeting}"
audio = "long.wav"
[[turn]]
user = "A taxi to the airport, please."
say = "Yes, of course. A taxi to the airport tomorrow morning. What time would you like to be picked up?"
audio = "answer.wav"
[[turn]]
user = "At seven."
say = "Thank you."
audio = "greeting_en.wav"
"""
ANSWER = "Yes, of course. A taxi to the airport tomorrow morning. What time would you like to be picked up?"
GREETING = "Hello, this is the ride desk. How can I help you?"
PLAIN = {"plain": '["127.0.0.1/32"]'}


def spoken(*names: str) -> Pcm:
    return np.concatenate([read_wav(shipped_speech(f"{name}.wav"), 8000) for name in names])


def write(path: Path, sound: Pcm) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(sound.astype("<i2").tobytes())


@pytest.fixture
def service(tmp_path: Path, start_emulator: Callable[..., Emulator]) -> Callable[..., Emulator]:
    """An emulator with the script, its sounds, and the recordings of what it hears."""

    def start(*flags: str, greeting: Pcm, text: str = "A long greeting.") -> Emulator:
        write(tmp_path / "long.wav", greeting)
        write(tmp_path / "answer.wav", spoken("taxi_en"))
        (tmp_path / "script.toml").write_text(SCRIPT.format(greeting=text))
        heard = tmp_path / "heard"
        heard.mkdir()
        emulator = start_emulator("--script", str(tmp_path / "script.toml"), "--record", str(heard), *flags)
        emulator.recordings = heard
        return emulator

    return start


def told(agent: Agent, call: dict[str, object]) -> list[tuple[str, str]]:
    rows = agent.select("SELECT role, content FROM transcripts WHERE call_id = %s ORDER BY t", call["id"])
    return [(row["role"], row["content"]) for row in rows]


def opened_for(agent: Agent, call: dict[str, object]) -> list[tuple[str, str]]:
    query = "SELECT * FROM openai_sessions WHERE call_id = %s ORDER BY started_at"
    return [(row["metadata"]["opened_for"], row["status"]) for row in agent.select(query, call["id"])]


def payloads(phone: Phone) -> bytes:
    return b"".join(packet.payload for packet in sorted(phone.heard, key=lambda packet: packet.sequence))


def follows(heard: Pcm, part: Pcm) -> int:
    """Times that ``part`` occurs in ``heard``."""
    return encode_pcmu(heard).count(encode_pcmu(part))


def test_a_call_goes_on_beyond_the_sessions_cap(
    service: Callable[..., Emulator], start_agent: Callable[..., Agent], sipp: StartSipp
) -> None:
    """One caller listens at the change of sessions, the other speaks from before it until after it."""
    greeting = spoken("booked_en", "moto_en", "fallback_en")
    emulator = service("--session-cap", str(CAP_S), greeting=greeting)
    agent = start_agent(emulator.base_url, trunks=PLAIN)
    question = spoken("question_en")
    with Phone() as listener, Phone() as speaker:
        listening = sipp(agent.sip, "call", rtp_port=listener.port, duration_ms=29_000)
        speaking = sipp(agent.sip, "call", rtp_port=speaker.port, duration_ms=29_000)
        until(lambda: speaker.sent > 10.5 * 50, "the speaker's turn", 20)
        long_question = np.concatenate((question, question))
        speaker.say(long_question)
        until(lambda: listener.sent > 17 * 50, "the listener's turn", 20)
        listener.say(question)
        calls = [agent.closed_call(each.wait(40).call_id) for each in (listening, speaking)]
    for call in calls:
        assert call["duration_seconds"] > CAP_S
        first, *others = opened_for(agent, call)
        assert first == ("first", "completed")
        assert set(others) == {("rotation", "completed")}
        assert told(agent, call) == [
            ("assistant", "A long greeting."),
            ("user", "A taxi to the airport, please."),
            ("assistant", ANSWER),
        ]
    answer = encode_pcmu(spoken("taxi_en"))
    assert payloads(listener).count(encode_pcmu(greeting)) == 1  # without a gap, and once
    assert payloads(listener).count(answer) == payloads(speaker).count(answer) == 1
    assert max(listener.lost_frames(), speaker.lost_frames()) <= agent.stalled_frames()
    assert emulator.recordings is not None
    heard = [read_wav(file, 8000) for file in emulator.recordings.iterdir()]
    whole = codec_by_name("PCMU").decode(encode_pcmu(long_question))
    assert sum(follows(each, whole) for each in heard) == 1  # the second session has all of it


def test_an_answer_that_breaks_off_is_finished_by_another_session(
    service: Callable[..., Emulator], start_agent: Callable[..., Agent], sipp: StartSipp, phone: Phone
) -> None:
    emulator = service("--speed", "2", "--fault", "drop=10.8s", greeting=spoken("greeting_en"), text=GREETING)
    agent = start_agent(emulator.base_url, trunks=PLAIN)
    caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=18_000)
    until(lambda: phone.sent > 4 * 50, "the end of the greeting", 20)
    phone.say(spoken("question_en"))
    call = agent.closed_call(caller.wait(30).call_id)
    assert opened_for(agent, call) == [("first", "failed"), ("reconnect", "completed")]
    roles, texts = zip(*told(agent, call), strict=True)
    assert roles[:2] == ("assistant", "user")
    assert set(roles[2:]) == {"assistant"}
    assert " ".join(texts[2:]) == ANSWER
    sound = np.abs(phone.audio().astype(np.float64)).reshape(-1, 160).max(axis=1) > 300
    whole = np.abs(np.concatenate((spoken("greeting_en"), spoken("taxi_en"))).astype(np.float64))
    expected = whole[: len(whole) // 160 * 160].reshape(-1, 160).max(axis=1) > 300
    assert (
        abs(int(sound.sum()) - int(expected.sum())) * 20 < 600
    )  # a word or two: when each was said is an estimate
    assert phone.lost_frames() <= agent.stalled_frames()
    assert agent.metric("sipua_realtime_sessions_total", why="reconnect") == 1


def test_a_service_that_drops_every_session_is_given_up_with_an_apology(
    service: Callable[..., Emulator], start_agent: Callable[..., Agent], sipp: StartSipp, phone: Phone
) -> None:
    emulator = service("--fault", "drop", greeting=spoken("greeting_en"))
    agent = start_agent(emulator.base_url, trunks=PLAIN)
    call = agent.closed_call(sipp(agent.sip, "call_until_bye", rtp_port=phone.port).wait(30).call_id)
    assert (call["status"], call["outcome"]) == ("failed", "realtime_closed")
    assert {status for _, status in opened_for(agent, call)} == {"failed"}
    assert told(agent, call)[-1][0] == "system"  # the apology
