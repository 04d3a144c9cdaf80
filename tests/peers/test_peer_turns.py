"""Whose turn it is, on calls: a line that echoes, a caller who speaks over the agent, coughs, or says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtp.g711 import Pcm, encode_pcmu
from rtp.wav import WavWriter, read_wav
from sipua.realtime.emulator.formats import encode
from sipua.realtime.emulator.speech import read_wav as read_clip
from sipua.resources import shipped_speech
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import FRAME, Phone
from tests.peers.processes import until
from tests.peers.tap import Tap
from tests.postgres import create_database, drop_database

pytestmark = pytest.mark.peer

# The first words take seven seconds.
SCRIPT = """
[greeting]
say = ["Hello, this is the ride desk. How can I help you?", "One."]
audio = ["greeting_en.wav", "greeting_en.wav"]
[fallback]
say = "I am sorry."
audio = "fallback_en.wav"
[[turn]]
user = "a question"
say = "I am sorry."
audio = "fallback_en.wav"
"""
TRUNKS = {"bare": '["127.0.0.1/32"]', "guarded": '["127.0.0.2/32"]\necho_guard = true'}
ECHO_MS, ECHO_LOSS_DB = 180, 25.0
QUESTION = "question_en.wav"
STARTED, DONE = "openai_input_audio_buffer_speech_started", "openai_response_done"


class EchoingPhone(Phone):
    """What it hears it returns, later and weaker, under what it says itself."""

    def _next_frame(self) -> bytes:
        own, back = super()._next_frame(), len(self.heard) - ECHO_MS // 20
        if back < 0:
            return own
        echo = self.codec.decode(self.heard[back].payload[:FRAME]) * 10 ** (-ECHO_LOSS_DB / 20)
        mixed = np.clip(self.codec.decode(own) + echo, -32768, 32767)
        return self.codec.encode(mixed.astype(np.int16))


@pytest.fixture
def echoing() -> Iterator[EchoingPhone]:
    with EchoingPhone() as each:
        yield each


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("voice")
    (folder / "script.toml").write_text(SCRIPT)
    process = Emulator(folder / "emulator.log", "--script", str(folder / "script.toml"))
    yield process
    process.end()


StartTalker = Callable[..., Agent]


@pytest.fixture(scope="module")
def talker(
    tmp_path_factory: pytest.TempPathFactory, voice: Emulator, postgres_server: str, template: str
) -> Iterator[Agent]:
    """Whom everybody may interrupt."""
    yield from _running(tmp_path_factory.mktemp("talker"), voice, postgres_server, template)


@pytest.fixture(scope="module")
def patient_talker(
    tmp_path_factory: pytest.TempPathFactory, voice: Emulator, postgres_server: str, template: str
) -> Iterator[Agent]:
    """Pauses for a cough; asks a silent caller once."""
    yield from _running(
        tmp_path_factory.mktemp("patient"), voice, postgres_server, template,
        SIPUA_TURNS__PAUSE_MS="900", SIPUA_TURNS__IDLE_S="1", SIPUA_TURNS__IDLE_PROMPTS="0",
    )  # fmt: skip


def _running(folder: Path, voice: Emulator, server: str, template: str, **settings: str) -> Iterator[Agent]:
    dsn = create_database(server, template)
    process = Agent(folder / "agent", dsn, voice.base_url, trunks=TRUNKS, tools={}, **settings)
    yield process
    process.end()
    drop_database(server, dsn)


def payloads(agent: Agent, call: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    query = "SELECT payload FROM voice_events WHERE call_id = %s AND type = %s ORDER BY t, created_at"
    return [row["payload"] for row in agent.select(query, call["id"], kind)]


def as_said(name: str) -> bytes:
    """A recording as the emulator sends it in PCMU."""
    return encode(read_clip(Path(shipped_speech(name)).read_bytes(), name), {"type": "audio/pcmu"})


def speech_ms(phone: Phone) -> int:
    """Of the agent, heard by now."""
    return 20 * sum(packet.payload.strip(b"\xff\x7f") != b"" for packet in phone.heard)


def test_on_a_line_that_echoes_the_agent_interrupts_itself(
    talker: Agent, sipp: StartSipp, echoing: EchoingPhone
) -> None:
    caller = sipp(talker.sip, "call", rtp_port=echoing.port, duration_ms=4000).wait()
    assert payloads(
        talker, talker.closed_call(caller.call_id), STARTED
    )  # without that, the next test shows nothing


def test_with_the_guard_it_does_not_and_a_caller_who_speaks_over_it_does(
    talker: Agent, sipp: StartSipp, echoing: EchoingPhone
) -> None:
    caller = sipp(
        talker.sip, "call", source="127.0.0.2", rtp_port=echoing.port, rtp_ip=echoing.host, duration_ms=6500
    )
    until(lambda: speech_ms(echoing) > 3000, "the agent speaks")
    before = len(echoing.heard)
    echoing.say(read_wav(shipped_speech(QUESTION)))
    call = talker.closed_call(caller.wait().call_id)
    started = payloads(talker, call, STARTED)
    assert len(started) == 1
    assert started[0]["audio_start_ms"] > 2500
    frames = [packet.payload.strip(b"\xff\x7f") != b"" for packet in echoing.heard[before:]]
    assert not any(frames[75:125])  # 1.5 s later it is silent, although four more seconds were to come


def test_a_cough_makes_the_agent_pause_and_nothing_of_what_it_says_is_lost(
    patient_talker: Agent, sipp: StartSipp, phone: Phone
) -> None:
    """It is silent for a moment, goes on where it was, and hangs up when nobody says anything more."""
    question = read_wav(shipped_speech(QUESTION))
    caller = sipp(patient_talker.sip, "call_until_bye", rtp_port=phone.port, rtp_ip=phone.host)
    until(lambda: speech_ms(phone) > 1000, "the agent speaks")
    phone.say(question[31 * 8 : 31 * 8 + 2800])
    call = patient_talker.closed_call(caller.wait(25).call_id)
    assert len(payloads(patient_talker, call, STARTED)) == 1
    assert call["metadata"]["end_reason"] == "caller_silent"
    greeting_ms = 2 * len(read_wav(shipped_speech("greeting_en.wav"))) / 8
    assert speech_ms(phone) > 0.8 * greeting_ms + 1000  # pauses between its words are silence too
    heard = b"".join(packet.payload for packet in phone.heard)
    goodbye = as_said("fallback_en.wav")
    last = heard.rindex(goodbye[-800:]) + 800
    assert heard.find(goodbye) >= 0  # whole, and in one piece
    assert len(heard) - last >= 8 * 280  # and then the time that a far end's jitter buffer takes
    done = payloads(patient_talker, call, DONE)
    assert [each["reason"] for each in done if each["status"] == "cancelled"] == ["client_cancelled"]
    speaks = "".join("x" if p.payload.strip(b"\xff\x7f") else "." for p in phone.heard)
    assert "." * 25 in speaks[50:200]  # half a second and more, in the middle of a word


def test_a_caller_who_speaks_longer_is_no_cough(patient_talker: Agent, sipp: StartSipp, phone: Phone) -> None:
    caller = sipp(patient_talker.sip, "call", rtp_port=phone.port, duration_ms=8000)
    until(lambda: speech_ms(phone) > 600, "the agent speaks")
    phone.say(read_wav(shipped_speech(QUESTION)))
    call = patient_talker.closed_call(caller.wait().call_id)
    kinds = [each["status"] for each in payloads(patient_talker, call, DONE)]
    assert kinds[-1] == "completed"
    said = patient_talker.select(
        "SELECT role, content FROM transcripts WHERE call_id = %s ORDER BY t", call["id"]
    )
    assert [row["role"] for row in said if row["role"] == "user"] == ["user"]
    assert said[-1]["content"] == "I am sorry."
    assert "error" not in patient_talker.events(call)


PROTECTED = """
user_prefix = ""
[greeting]
say = "Welcome. This call is for the ride desk alone."
audio = "greeting.wav"
[[turn]]
user = "a question"
say = "Seven."
audio = "answer.wav"
"""


def noise(seconds: float, seed: int) -> Pcm:
    """Like nothing else but itself."""
    samples = np.random.default_rng(seed).normal(0, 4000, round(seconds * 8000))
    return np.clip(samples, -32000, 32000).astype(np.int16)


def test_a_protected_opening_is_heard_whole_and_what_was_said_over_it_is_answered_after_it(
    start_emulator: Callable[..., Emulator],
    start_agent: Callable[..., Agent],
    sipp: StartSipp,
    phone: Phone,
    tmp_path: Path,
) -> None:
    sounds = {"greeting": noise(3.8, 1), "answer": noise(0.8, 2)}
    for name, sound in sounds.items():
        with WavWriter(tmp_path / f"{name}.wav") as file:
            file.write(sound)
    (tmp_path / "script.toml").write_text(PROTECTED)
    emulator = start_emulator("--script", str(tmp_path / "script.toml"))
    with Tap(str(emulator.ready["http"])) as tap:
        agent = start_agent(tap.base_url, trunks=TRUNKS, SIPUA_TURNS__PROTECT_OPENING="true")
        caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=6500)
        until(lambda: speech_ms(phone) > 400, "the agent speaks")
        phone.say(read_wav(shipped_speech(QUESTION))[31 * 8 : 1631 * 8])
        call = agent.closed_call(caller.wait().call_id)
        agent.end()
    heard = b"".join(packet.payload for packet in phone.heard)
    greeting, answer = (encode_pcmu(sounds[name]) for name in ("greeting", "answer"))
    begins = heard.find(greeting)
    assert begins >= 0
    assert heard.find(answer) >= begins + len(greeting)
    (started,) = payloads(agent, call, STARTED)
    assert started["audio_start_ms"] < 2000  # while the greeting was heard
    assert [each["status"] for each in payloads(agent, call, DONE)] == ["completed", "completed"]
    said = agent.select("SELECT role FROM transcripts WHERE call_id = %s ORDER BY t", call["id"])
    assert [row["role"] for row in said] == ["assistant", "user", "assistant"]
    (session,) = tap.sessions
    assert not {"conversation.item.truncate", "response.cancel"} & set(session.types())
