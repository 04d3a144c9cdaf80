"""Whose turn it is, against the emulator's core: caller, service and playout in steps of 20 ms, no clock, no sockets.

The service judges every event of ours (its errors fail the test) and hears the caller with its own detection; what it
truncates must be what had left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
import pytest

from rtp.codec import CODECS
from rtp.playout import Playout
from sipua.actions import (
    Action,
    CancelResponse,
    CreateResponse,
    EndAfterPlayback,
    HangUp,
    IgnoreResponse,
    Truncate,
)
from sipua.conversation import Conversation
from sipua.idle import IdleRules
from sipua.keys import KeyRules
from sipua.outcome import CALLER_SILENT
from sipua.ports import Moment
from sipua.realtime import events as ev
from sipua.realtime.config import SessionConfig, Transcription, TurnDetection
from sipua.realtime.protocol import RealtimeProtocol, State
from sipua.turns import TurnRules
from tests.emulator.driven import Driven, recorded, ulaw

FRAME = 160
SCRIPT = """
user_prefix = ""
[greeting]
say = ["Hello.", "There."]
[[turn]]
user = "One"
say = ["A", "B", "C"]
delay_ms = 600
[[turn]]
user = "Two"
say = "D"
[[turn]]
user = "Three"
say = "E"
"""  # each line is two seconds long
MODES = {
    "service": TurnRules(),
    "pause": TurnRules(pause_ms=400),
    "opening": TurnRules(protects_opening=True),
}
WORDS = recorded("question_en.wav")[31 * 8 :]
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Call:
    """``says`` speaks into the call, ``passes`` lets time pass in silence."""

    rules: TurnRules = field(default_factory=TurnRules)
    idle: IdleRules = field(default_factory=IdleRules)
    faults: tuple[str, ...] = ()
    cut: list[Truncate] = field(default_factory=list)
    ending: list[Action] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)  # items, in the order in which they became audible

    def __post_init__(self) -> None:
        self.service = Driven(SCRIPT, faults=self.faults)
        detection = TurnDetection(
            create_response=True, interrupt_response=self.rules.service_interrupts, silence_duration_ms=500
        )
        self.core = RealtimeProtocol(
            SessionConfig("gpt-realtime", turn_detection=detection, transcription=Transcription("whisper-1"))
        )
        self.playout = Playout(CODECS["PCMU"])
        self.talk = Conversation(
            self.playout, greeting="Hello.", keys=KeyRules(), turns=self.rules,
            idle=self.idle, answered_at=self.service.now,
        )  # fmt: skip
        self._taken = 0
        self._take()
        self._send(self.core.session_update())
        self._take()
        assert self.core.state is State.READY
        self._perform(self.talk.begin())
        self._take()

    @property
    def now(self) -> Moment:
        return Moment(self.service.now, START + timedelta(seconds=self.service.now))

    def says(self, ms: int) -> None:
        sound = ulaw(np.resize(WORDS, ms * 8))
        for at in range(0, len(sound), FRAME):
            self._step(sound[at : at + FRAME])

    def breathes(self, ms: int) -> None:
        """Noise that swells and fades, louder than the threshold of the service."""
        swell = 1 + np.sin(np.arange(ms * 8) / 8000 * 2)
        sound = ulaw((np.random.default_rng(1).normal(0, 150, ms * 8) * swell).astype(np.int16))
        for at in range(0, len(sound), FRAME):
            self._step(sound[at : at + FRAME])

    def passes(self, ms: int) -> None:
        for _ in range(ms // 20):
            self._step(b"\xff" * FRAME)

    def _step(self, frame: bytes) -> None:
        self._send(self.core.append(frame))
        self.service.run(0.02)
        self._take()
        deadline = self.talk.deadline()
        if deadline is not None and self.now.monotonic >= deadline:
            self._perform(self.talk.tick(self.now))
        sent = {item: self.playout.sent_ms(item) for item in self.items()}
        if self.playout.next_frame() is not None:
            moved = [item for item, ms in sent.items() if self.playout.sent_ms(item) > ms]
            self.heard += [item for item in moved if item not in self.heard]

    def items(self) -> list[str]:
        return [event["item"]["id"] for event in self.service.of("response.output_item.added")]

    def _take(self) -> None:
        while self._taken < len(self.service.events):
            wire = self.service.events[self._taken]
            self._taken += 1
            assert wire["type"] != "error" or "no active response" in wire["error"]["message"], wire
            for event in self.core.receive(orjson.dumps(wire)):
                if isinstance(event, ev.AudioDelta):
                    self.playout.append(event.item_id, event.audio)
                else:
                    self._perform(self.talk.on_event(event, self.now))

    def _send(self, sent: tuple[str, bytes] | None) -> None:
        if sent is not None:
            self.service.raw(sent[1])

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case CreateResponse(instructions):
                    self._send(self.core.response_create(instructions))
                case CancelResponse(response_id):
                    self._send(self.core.response_cancel(response_id))
                case IgnoreResponse(response_id):
                    self.core.ignore_response(response_id)
                case HangUp() | EndAfterPlayback():
                    self.ending.append(action)
                case Truncate(item_id, audio_end_ms):
                    assert audio_end_ms == self.playout.sent_ms(item_id)
                    self.cut.append(action)
                    self._send(self.core.truncate(item_id, 0, audio_end_ms))

    def answers(self) -> list[str]:
        """What was said aloud, in order."""
        words = {
            event["item_id"]: event["transcript"]
            for event in self.service.of("response.output_audio_transcript.done")
        }
        return [words[item].strip() for item in self.heard]

    def truncated(self) -> list[tuple[str, int]]:
        return [
            (each["item_id"], each["audio_end_ms"]) for each in self.service.of("conversation.item.truncated")
        ]


def after_the_greeting(mode: str, *faults: str) -> Call:
    call = Call(MODES[mode], faults=faults)
    call.passes(5000)
    assert call.answers() == ["Hello.", "There."]
    return call


@pytest.mark.parametrize("faults", [(), ("late_delta",), ("duplicate_delta",)])
@pytest.mark.parametrize("mode", MODES)
def test_a_caller_who_speaks_over_the_answer_is_answered(mode: str, faults: tuple[str, ...]) -> None:
    """Two and a half of six seconds were heard: the second item is cut in its midst, the third was not heard at all."""
    call = after_the_greeting(mode, *faults)
    call.says(1500)
    call.passes(3200)
    call.says(1500)
    call.passes(4000)
    assert call.answers() == ["Hello.", "There.", "A", "B", "D"]
    assert call.truncated() == [(each.item_id, each.audio_end_ms) for each in call.cut]
    assert len(call.cut) == 2
    assert 0 < call.cut[0].audio_end_ms < 2000
    assert call.cut[1].audio_end_ms == 0
    assert call.playout.queued_ms == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_breath_within_a_sentence_costs_no_turn_and_is_answered_once(mode: str) -> None:
    """The service takes it for the end and begins to answer, of which nothing is heard.

    Where the agent only pauses the service goes on with that answer meanwhile, so that its script counts it.
    """
    call = after_the_greeting(mode)
    call.says(1500)
    call.passes(660)
    call.says(2000)
    call.passes(9000)
    statuses = [each["response"]["status"] for each in call.service.of("response.done")]
    if mode == "pause":
        assert call.answers() == ["Hello.", "There.", "D"]
        assert {each.audio_end_ms for each in call.cut} == {0}
    else:
        assert call.answers() == ["Hello.", "There.", "A", "B", "C"]
        assert statuses == ["completed", "cancelled", "completed"]
        assert call.cut == []


@pytest.mark.parametrize("mode", MODES)
def test_a_caller_who_speaks_over_the_greeting(mode: str) -> None:
    call = Call(MODES[mode])
    call.passes(1000)
    call.says(1500)
    call.passes(11_000)
    if mode == "opening":
        assert call.answers() == ["Hello.", "There.", "A", "B", "C"]
        assert call.cut == []
    else:
        assert call.answers() == ["Hello.", "A", "B", "C"]
        assert len(call.cut) == 2


def test_a_cough_is_not_answered_and_cuts_nothing() -> None:
    call = after_the_greeting("pause")
    call.says(1500)
    call.passes(2000)
    before = len(call.heard)
    call.says(340)
    call.passes(9000)
    assert before < len(call.heard)
    assert call.answers() == ["Hello.", "There.", "A", "B", "C"]
    assert call.cut == []
    assert len(call.service.of("input_audio_buffer.speech_started")) == 2


@pytest.mark.parametrize("mode", MODES)
def test_a_caller_who_talks_without_pause_is_never_talked_over(mode: str) -> None:
    call = after_the_greeting(mode)
    call.says(30_000)
    assert call.answers() == ["Hello.", "There."]
    assert call.playout.queued_ms == 0


@pytest.mark.parametrize("does", ["passes", "breathes"])
def test_a_caller_who_says_nothing_or_only_breathes_is_asked_twice_and_let_go(does: str) -> None:
    """Each time ten seconds after the last of what the agent said, which takes two (the greeting four)."""
    call = Call(idle=IdleRules(after_s=10, prompts=2))
    getattr(call, does)(50_000)
    asked = len(call.service.of("response.created"))
    assert asked == 4  # greeting, two prompts, goodbye
    assert call.ending == [HangUp(CALLER_SILENT), EndAfterPlayback()]
    assert call.service.of("input_audio_buffer.speech_started") == []
    assert call.cut == []
