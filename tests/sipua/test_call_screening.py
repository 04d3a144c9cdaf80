"""What is done once it is known who has answered: greeting, hang-up, message; in the time of the sound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from rtp.codec import CODECS
from rtp.g711 import Pcm, encode_pcmu
from sipua.actions import Action
from sipua.announcer import Announcer
from sipua.answering_machine import MachineRules
from sipua.call_leg import CallOver
from sipua.call_screening import Screening, ScreeningPolicy
from sipua.call_voice import leaves
from sipua.conversation import Conversation
from sipua.errand import Errand
from sipua.media import MediaLeg
from sipua.metrics import Metrics
from sipua.ports import CallRecord, Moment
from sipua.realtime.config import AudioFormat
from tests.rtp.test_rtp_beep import quiet, tone
from tests.sipua.test_answering_machine import words

POLICY = ScreeningPolicy(MachineRules(), way="leave_message", wait_s=0.5, late_s=0.5)
HELLO = [quiet(400), words(500), quiet(1000)]
GREETING = [quiet(400), words(2500)]
BEEP = [tone(1000, 400), quiet(100)]
SILENCE = [quiet(3000)]


@dataclass
class Stage:
    """Everything that a call is to its screening; what happens is written down in order."""

    told: list[str] = field(default_factory=list)
    is_saying: bool = False
    passed_s: float = 0.0

    # clock
    def now(self) -> Moment:
        return Moment(100.0 + self.passed_s, datetime(2026, 11, 23, tzinfo=UTC))

    # record
    def answered_by(self, at: Moment, by: str, why: str, after_ms: int) -> None:
        self.told.append(by)

    # media
    @property
    def codec(self) -> Any:
        return CODECS["PCMU"]

    @property
    def playout(self) -> Stage:
        return self

    def flush(self) -> None:
        self.told.append("flush")

    # announcer: the message is said until the test lets it end
    async def close_with(self, phrase: str) -> None:
        self.told.append(phrase)
        await self.ended.wait()

    # conversation
    def held(self, is_held: bool, now: Moment) -> None:
        self.told.append("held" if is_held else "talks")

    def fall_silent(self) -> list[Action]:
        return []

    def leave_message(self, instructions: str, now: Moment) -> list[Action]:
        self.told.append(instructions)
        return []

    def __post_init__(self) -> None:
        self.ended = asyncio.Event()

    async def begin(self) -> None:
        self.told.append("begun")
        await asyncio.Event().wait()


@dataclass
class Scene:
    stage: Stage
    screening: Screening
    task: asyncio.Task[None]

    def hear(self, *sounds: Pcm) -> list[bytes]:
        """What the voice session gets of it."""
        return [self.screening.heard(p, p) for p in (encode_pcmu(sound) for sound in sounds)]

    async def until(self, what: str) -> None:
        async with asyncio.timeout(5):
            while what not in self.stage.told:  # noqa: ASYNC110 - nobody tells a list's readers
                await asyncio.sleep(0.005)

    async def ending(self) -> str:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with asyncio.timeout(5):
                await self.task
        (over,) = leaves(caught.value)
        assert isinstance(over, CallOver)
        return over.ending.reason


@pytest.fixture
async def scene() -> Any:
    running: list[asyncio.Task[None]] = []

    def start(policy: ScreeningPolicy = POLICY, **errand: Any) -> Scene:
        stage = Stage()
        screening = Screening(
            policy, Errand(**errand), cast(MediaLeg, stage), AudioFormat.PCMU, stage.now(), cast(CallRecord, stage),
            cast(Announcer, stage), Metrics(node="", worker=0, instance="", version=""), stage,
        )  # fmt: skip
        task = asyncio.create_task(
            screening.run(cast(Conversation, stage), lambda actions: None, stage.begin)
        )
        running.append(task)
        return Scene(stage, screening, task)

    yield start
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


Start = Callable[..., Scene]


async def test_a_person_is_heard_from_the_verdict_on(scene: Start) -> None:
    call = scene()
    given = call.hear(*HELLO)
    assert set(b"".join(given)) == {0xFF}, "silence of equal length"
    assert [len(each) for each in given] == [len(each) for each in HELLO]
    await call.until("begun")
    assert call.stage.told == ["held", "person", "talks", "begun"]
    assert call.hear(words(100)) == [encode_pcmu(words(100))]


async def test_a_key_is_a_persons(scene: Start) -> None:
    call = scene()
    call.screening.pressed()
    await call.until("begun")
    call.hear(*GREETING)  # who talks long after it is no machine
    await asyncio.sleep(0)
    assert call.stage.told == ["held", "person", "talks", "begun"]


async def test_nothing_comes_at_all(scene: Start) -> None:
    """A far end that sends no RTP is one that says nothing."""
    call = scene()
    call.stage.passed_s = 2.5
    await call.until("begun")
    assert call.stage.told == ["held", "unsure", "talks", "begun"]


async def test_a_machine_is_hung_up_on(scene: Start) -> None:
    call = scene(replace(POLICY, way="hang_up"))
    call.hear(*GREETING)
    assert await call.ending() == "answering_machine"
    assert call.stage.told == ["held", "machine"]


async def test_this_calls_way_counts(scene: Start) -> None:
    call = scene(replace(POLICY, way="hang_up"), answering_machine="ignore")
    call.hear(*GREETING)
    await call.until("begun")
    assert call.hear(words(100)) == [encode_pcmu(words(100))]


async def test_the_message_follows_the_beep(scene: Start) -> None:
    call = scene()
    call.hear(*GREETING)
    await call.until("machine")
    assert call.stage.told == ["held", "machine"]
    call.hear(*BEEP)
    await call.until("voicemail")
    call.hear(*BEEP)  # of its end: the message goes on
    call.stage.ended.set()
    assert await call.ending() == "message_left"
    assert call.stage.told.count("voicemail") == 1


async def test_a_beep_after_the_silence_has_it_said_again(scene: Start) -> None:
    call = scene()
    call.hear(*GREETING, *SILENCE)
    await call.until("voicemail")
    call.hear(*BEEP)
    async with asyncio.timeout(5):
        while call.stage.told.count("voicemail") < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    call.stage.ended.set()
    assert await call.ending() == "message_left"
    assert call.stage.told.count("voicemail") == 2


async def test_words_are_the_models(scene: Start) -> None:
    call = scene(replace(POLICY, message="of all"), message="of this call")
    call.hear(*GREETING, *BEEP)
    await asyncio.sleep(0.05)
    assert call.stage.told[-1].endswith('nothing else: "of this call"')


async def test_a_machine_that_talks_for_ever(scene: Start) -> None:
    call = scene(replace(POLICY, wait_s=0.05))
    call.hear(*GREETING)
    assert await call.ending() == "answering_machine"


async def test_a_beep_after_the_greeting_has_begun(scene: Start) -> None:
    call = scene()
    call.hear(*HELLO)
    await call.until("begun")
    call.hear(*BEEP)
    await call.until("voicemail")
    assert call.stage.told == ["held", "person", "talks", "begun", "machine", "flush", "voicemail"]
    assert set(call.hear(words(100))[0]) == {0xFF}, "the model hears no more of it"
    call.stage.ended.set()
    assert await call.ending() == "message_left"


async def test_a_beep_too_late_is_none(scene: Start) -> None:
    call = scene(replace(POLICY, late_s=0.01))
    call.hear(*HELLO)
    await call.until("begun")
    await asyncio.sleep(0.05)
    call.hear(*BEEP)
    await asyncio.sleep(0.05)
    assert call.stage.told[-1] == "begun"
