"""Every fault that the voice service's stand-in can make after the answer, a conversation each.

The caller is greeted, asks, and is answered; what the telephone heard is held against what was said, and the rows and
events of the call against what went wrong. Those that keep a call from being answered are in ``test_peer_faults``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtp.g711 import Pcm, encode_pcmu
from rtp.wav import WavWriter, read_wav
from sipua.languages import load_languages
from sipua.realtime.emulator import FAULTS
from sipua.resources import shipped_conf, shipped_speech
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import similarity, until
from tests.peers.tap import Tap
from tests.postgres import create_database, drop_database

pytestmark = pytest.mark.peer

RATE = 8000
ENGLISH = "+12025550123"
QUESTION = slice(31 * 8, 31 * 8 + 1600 * 8)  # of question_en.wav, and so much of it that it is no cough
ASKS_AFTER_S, LASTS_S = 3.4, 8.4
MUTE_S = 10.0  # so long the agent waits for a service that is there and says nothing
SCRIPT = """
user_prefix = ""
[greeting]
say = "Welcome."
audio = "greeting.wav"
[[turn]]
user = "A taxi, please."
say = "At seven."
audio = "answer.wav"
"""
WELCOME, TAXI, SEVEN = ("assistant", "Welcome."), ("user", "A taxi, please."), ("assistant", "At seven.")
STORY = {
    "openai_response_created", "openai_response_done", "openai_input_audio_buffer_speech_started",
    "openai_input_audio_buffer_speech_stopped", "openai_audio_buffer_committed", "error",
}  # fmt: skip
GREETED = "created done:completed"
FAILED, FAILED_WORDS = "created done:failed error:response_failed", "error:transcription_failed"
HEARD = "started stopped committed"
PLAIN = f"{GREETED} {HEARD} {GREETED}"
FOLLOWED = (("first", "failed"), ("reconnect", "completed"))


@dataclass(frozen=True, slots=True)
class Expected:
    """What comes of a fault: how often greeting and answer are heard whole, and the ledger's rows.

    ``story``: of the events, what the caller and the service did; ``error`` with its reason.
    """

    fault: str
    story: str = PLAIN
    told: tuple[tuple[str, str], ...] = (WELCOME, TAXI, SEVEN)
    sessions: tuple[tuple[str, str], ...] = (("first", "completed"),)
    heard: tuple[int, int] = (1, 1)
    phrase: str = ""  # of ours
    waits_s: float = 0.0  # for what the caller says


# Those that break a session off stand last: its successor is no other call's.
WAVES: tuple[tuple[Expected, ...], ...] = (
    (
        Expected("delay_ms=400"),
        Expected("duplicate_delta"),
        Expected("late_delta"),
        Expected("drop=3s", sessions=FOLLOWED),
    ),
    (
        Expected("unknown_event", "error:unknown_event " + PLAIN),
        Expected("invalid_json", PLAIN.replace("created", "created error:invalid_event", 1)),
        Expected("slow_reader=10"),
        Expected("close_1011=2.5s", sessions=FOLLOWED),
    ),
    (
        Expected("no_transcript", told=(WELCOME, SEVEN)),
        Expected(
            "transcription_failed",
            f"{GREETED} {HEARD} created {FAILED_WORDS} done:completed",
            (WELCOME, SEVEN),
        ),
        Expected("rate_limit", f"{FAILED} {PLAIN}"),
        Expected("expire=2.5", sessions=FOLLOWED),
    ),
    (
        Expected("server_error", f"{FAILED} {PLAIN}"),
        Expected(
            "rate_limit=2",
            f"{FAILED} {FAILED} {HEARD} {GREETED}",
            (TAXI, SEVEN),
            heard=(0, 1),
            phrase="service_error",
        ),
    ),
    (
        Expected("no_response", sessions=FOLLOWED, phrase="please_hold", waits_s=MUTE_S),
        Expected("stall=2", sessions=FOLLOWED, phrase="please_hold", waits_s=MUTE_S),
    ),
)
ELSEWHERE = {
    "test_peer_faults": {"http_500", "error_event", "no_session_updated", "reject_session_update", "wrong_format_echo"},
    "test_peer_refusal": {"http_401", "quota"},
    "test_peer_languages": {"refuse_language"},
    "openai_calls.test_whole_calls": {"call_error", "call_gone", "sideband_drop"},
}  # fmt: skip


def name_of(expected: Expected) -> str:
    return expected.fault.partition("=")[0]


def test_no_fault_is_left_out() -> None:
    here = {name_of(each) for wave in WAVES for each in wave}
    assert here.union(*ELSEWHERE.values()) == set(FAULTS)


def noise(seconds: float, seed: int) -> Pcm:
    """Like nothing else but itself."""
    samples = np.random.default_rng(seed).normal(0, 4000, round(seconds * RATE))
    return np.clip(samples, -32000, 32000).astype(np.int16)


PHRASE = 2 * RATE  # so much of it is heard before the caller speaks
GREETING, ANSWER = noise(1.2, 1), noise(1.0, 2)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("script")
    for name, sound in (("greeting", GREETING), ("answer", ANSWER)):
        with WavWriter(folder / f"{name}.wav", RATE) as file:
            file.write(sound)
    (folder / "script.toml").write_text(SCRIPT)
    return folder / "script.toml"


@dataclass
class Line:
    """An agent whose voice service is that of the wave."""

    agent: Agent
    tap: Tap

    def rows(self, table: str, call: dict[str, Any], order: str) -> list[dict[str, Any]]:
        return self.agent.select(f"SELECT * FROM {table} WHERE call_id = %s ORDER BY {order}", call["id"])


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, template: str) -> Iterator[Line]:
    dsn = create_database(postgres_server, template)
    folder = tmp_path_factory.mktemp("faults")
    with Tap() as tap:
        agent = Agent(
            folder / "agent",
            dsn,
            tap.base_url,
            trunks={"plain": '["127.0.0.1/32"]'},
        )
        yield Line(agent, tap)
        agent.end()
    drop_database(postgres_server, dsn)


@pytest.mark.parametrize("wave", WAVES, ids=lambda wave: "-".join(map(name_of, wave)))
def test_a_conversation_with(
    wave: tuple[Expected, ...],
    line: Line,
    script: Path,
    start_emulator: Callable[..., Emulator],
    sipp: StartSipp,
) -> None:
    faults = [flag for number, each in enumerate(wave, 1) for flag in ("--fault", f"{number}:{each.fault}")]
    line.tap.target = str(start_emulator("--script", str(script), *faults).ready["http"])
    line.tap.sessions.clear()
    stalled = line.agent.stalled_frames()
    question = read_wav(shipped_speech("question_en.wav"))[QUESTION]
    with ExitStack() as stack:
        phones = [stack.enter_context(Phone()) for _ in wave]
        callers = []
        for number, phone in enumerate(phones, 1):
            callers.append(
                sipp(
                    line.agent.sip,
                    "call",
                    rtp_port=phone.port,
                    caller=ENGLISH,
                    duration_ms=round(1000 * (LASTS_S + wave[0].waits_s)),
                )
            )
            until(lambda number=number: len(line.tap.sessions) >= number, "its session")
        for phone in phones:
            until(
                lambda phone=phone: phone.sent > (ASKS_AFTER_S + wave[0].waits_s) * 50, "the greeting is over"
            )
            phone.say(question)
        calls = [line.agent.closed_call(caller.wait().call_id) for caller in callers]
    wrong = {
        each.fault: found
        for each, phone, call in zip(wave, phones, calls, strict=True)
        if (found := differences(each, phone, call, line, line.agent.stalled_frames() - stalled))
    }
    assert not wrong


def differences(
    expected: Expected, phone: Phone, call: dict[str, Any], line: Line, stalled: int
) -> dict[str, Any]:
    """What is otherwise: name → (found, expected)."""
    payload = b"".join(each.payload for each in phone.heard)
    told = [(each["role"], each["content"]) for each in line.rows("transcripts", call, "sequence")]
    sessions = line.rows("openai_sessions", call, "started_at")
    phrases = load_languages(shipped_conf()).of("en").phrases
    ours = (("system", getattr(phrases, expected.phrase)),) if expected.phrase else ()
    pairs: dict[str, tuple[Any, Any]] = {
        "heard": (tuple(payload.count(encode_pcmu(each)) for each in (GREETING, ANSWER)), expected.heard),
        "told": (tuple(told), ours + expected.told),
        # what one event brought about has its time: the response's end stands before the error
        "story": (story(line.rows("voice_events", call, "t, type DESC")), expected.story),
        "sessions": (
            tuple((each["metadata"]["opened_for"], each["status"]) for each in sessions), expected.sessions,
        ),
        "configurations": (len({tuple(each[name] for name in ECHOED) for each in sessions}), 1),
        "open": ([each["session_id"] for each in sessions if each["ended_at"] is None], []),
        "outcome": (call["outcome"], "caller_hangup"),
        "lost": (max(0, phone.lost_frames() - stalled), 0),
    }  # fmt: skip
    if expected.phrase:
        sound = read_wav(shipped_conf() / "languages" / "en" / f"{expected.phrase}.wav", RATE)[:PHRASE]
        pairs["phrase"] = (similarity(phone.audio(), sound) > 0.9, True)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


# Of a session, as the service told it back.
ECHOED = (
    "model",
    "voice",
    "instructions",
    "input_audio_format",
    "output_audio_format",
    "max_response_output_tokens",
)


def story(events: list[dict[str, Any]]) -> str:
    """The types, the last words of them alone; a response with how it ended, an error with its reason."""
    words = []
    for each in events:
        word = each["type"].rpartition("_")[2]
        more = each["payload"].get("status" if word == "done" else "reason") or ""
        if each["type"] in STORY:
            words.append(f"{word}:{more}" if more else word)
    return " ".join(words)
