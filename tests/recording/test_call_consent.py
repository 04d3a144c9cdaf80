"""One call's consent, performed: what is played and told, which rows it makes, and when a file begins and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from rtp.codec import CODECS
from rtp.playout import Playout
from sipua.actions import Action, CreateResponse, SystemText
from sipua.announcer import Announcer
from sipua.call_consent import CallConsent, ConsentPolicy
from sipua.clock import SystemClock
from sipua.keypad import Keypad
from sipua.keys import KeyRules
from sipua.media import Tap
from sipua.metrics import Metrics
from sipua.recorder import Recorder
from tests.recording.parts import CALL, Counted, files, until

PCMU = CODECS["PCMU"]
PHRASES = {name: f"({name})" for name in ("consent_question", "consent_yes", "consent_no")}


class Ledger:
    """``CallRecord``, as far as consent needs it."""

    id = CALL
    opening = SimpleNamespace(direction="inbound")

    def __init__(self) -> None:
        self.answers: list[tuple[bool | None, str | None, str]] = []
        self.asked: list[str] = []
        self.ids: list[UUID] = []
        self.kept: list[bool] = []
        self.errors: list[str] = []

    def consent_asked(self, at: object, text: str) -> None:
        self.asked.append(text)

    def consent(self, at: object, id: UUID, *, text: str, result: bool | None, channel: str | None) -> None:
        self.ids.append(id)
        self.answers.append((result, channel, text))

    def keep_transcripts(self, kept: bool) -> None:
        self.kept.append(kept)

    def error(self, at: object, reason: str, message: str) -> None:
        self.errors.append(reason)


class Media:
    """The media leg without its sockets."""

    def __init__(self) -> None:
        self.codec = PCMU
        self.playout = Playout(PCMU)
        self.tap: Tap | None = None

    def record(self, tap: Tap | None) -> None:
        self.tap = tap


class Scene:
    def __init__(self, folder: Path, **policy: Any) -> None:
        self.folder = folder
        self.ledger, self.media, self.counted = Ledger(), Media(), Counted()
        refusal = policy.pop("refusal", "")
        self.recorder = Recorder(folder, self.counted, refusal=lambda: refusal)
        self.recorder.start()
        values: dict[str, Any] = {
            "answer_s": 2.0, "recorder": self.recorder, "withholds_transcripts": False, "deletes_withdrawn": True,
        }  # fmt: skip
        rules = ConsentPolicy(**values | policy)
        clock = SystemClock()
        self.keypad = Keypad(KeyRules(), clock)
        language: Any = SimpleNamespace(
            language=SimpleNamespace(phrases=SimpleNamespace(**PHRASES)),
            greeting="say hello",
            spoken=lambda phrase, codec: b"\x00" * 80,
        )
        leg: Any = SimpleNamespace(answered_at=clock.now(), media=self.media)
        announcer = Announcer(lambda: leg, language)
        self.said: list[str] = []
        self.protected: list[str] = []
        announcer.on_said = self.said.append
        self.actions: list[Action] = []
        self.metrics = Metrics(node="", worker=0, instance="", version="")
        self.consent = CallConsent(
            rules,
            cast(Any, self.media),
            cast(Any, self.ledger),
            language,
            announcer,
            self.keypad,
            self.metrics,
            clock,
        )

    def heard(self) -> None:
        """Whatever waits in the playout has been heard."""
        self.media.playout.flush()

    def told(self) -> list[str]:
        return [each.text for each in self.actions if isinstance(each, SystemText)]

    def greetings(self) -> int:
        return sum(isinstance(each, CreateResponse) for each in self.actions)


@asynccontextmanager
async def scene(folder: Path, **policy: Any) -> AsyncIterator[Scene]:
    """A call that has been asked; at the end the recorder has written all."""
    made = Scene(folder / "recordings", **policy)
    conversation: Any = SimpleNamespace(
        begin=lambda: [CreateResponse("say hello")], protect=made.protected.append
    )
    running = asyncio.create_task(made.consent.run(conversation, made.actions.extend))
    await until(lambda: made.said)
    try:
        yield made
    finally:
        running.cancel()
        made.consent.close()
        await made.recorder.stop()


async def test_a_yes_by_key_begins_a_recording_and_the_conversation(tmp_path: Path) -> None:
    async with scene(tmp_path) as call:
        assert (call.media.tap, call.folder.exists(), call.greetings()) == (None, False, 0)
        (question,) = call.protected
        call.keypad.press("1")
        await until(lambda: call.greetings())
        assert call.media.playout.waiting_ms(question) == 0  # its rest is not needed any more
        assert call.media.tap is not None
        await until(lambda: files(call.folder))
    assert call.ledger.answers == [(True, "dtmf", "(consent_question)")]
    assert call.said == ["(consent_question)", "(consent_yes)"]
    assert [text.count("(consent_") for text in call.told()] == [1, 1]
    (file,) = files(call.folder)
    assert str(call.ledger.ids[0]) in file.name
    assert call.media.tap is None
    assert call.counted.outcomes == {"kept": 1}


async def test_a_no_by_key_begins_the_conversation_alone(tmp_path: Path) -> None:
    async with scene(tmp_path) as call:
        call.keypad.press("2")
        await until(lambda: call.greetings())
        assert call.media.tap is None
    assert call.ledger.answers == [(False, "dtmf", "(consent_question)")]
    assert not call.folder.exists()


async def test_a_key_that_is_no_answer_is_a_key(tmp_path: Path) -> None:
    async with scene(tmp_path) as call:
        call.keypad.press("5")
        assert call.keypad.collector.deadline() is not None
        call.keypad.press("1")
        await until(lambda: call.greetings())
        call.keypad.press("1")  # the question does not stand any more
        assert [entry.keys for entry in call.keypad.collector.expire(1e9)] == ["51"]  # type: ignore[union-attr]


async def test_silence_is_asked_again_and_is_a_row_then(tmp_path: Path) -> None:
    async with scene(tmp_path, answer_s=0.02) as call:
        call.heard()
        await until(lambda: len(call.said) == 2)
        call.heard()
        await until(lambda: call.greetings())
    assert call.ledger.answers == [(None, None, "(consent_question)")]
    assert call.said == ["(consent_question)", "(consent_question)", "(consent_no)"]


async def test_a_call_that_ends_before_the_answer_has_a_row(tmp_path: Path) -> None:
    async with scene(tmp_path) as call:
        pass
    assert call.ledger.answers == [(None, None, "(consent_question)")]
    assert call.greetings() == 0


async def test_withdrawn_and_given_again_in_one_breath(tmp_path: Path) -> None:
    async with scene(tmp_path) as call:
        await call.consent.answered(True, "yes")
        await until(lambda: files(call.folder))
        await call.consent.answered(False, "no")
        await call.consent.answered(True, "yes")
    assert [answer[0] for answer in call.ledger.answers] == [True, False, True]
    assert files(call.folder) == []  # of the first nothing is left, and for the second there was no time


@pytest.mark.parametrize(("deletes", "left"), [(True, 0), (False, 1)], ids=["deleted", "kept"])
async def test_by_voice_and_withdrawn(tmp_path: Path, deletes: bool, left: int) -> None:
    async with scene(tmp_path, deletes_withdrawn=deletes) as call:
        told = await call.consent.answered(True, "ndiyo")
        assert (told["consent"], told["recorded"], told["greeting"]) == ("given", True, "say hello")
        await until(lambda: call.media.tap)
        assert await call.consent.answered(True, "yes") == {
            "consent": "given",
            "recorded": True,
        }  # said twice
        assert (await call.consent.answered(False, "hapana"))["consent"] == "withdrawn"
        await until(lambda: call.media.tap is None)
        assert call.greetings() == 0  # the model goes on by itself: its tool has returned
    assert [answer[:2] for answer in call.ledger.answers] == [(True, "voice"), (False, "voice")]
    assert len(files(call.folder)) == left


async def test_withdrawn_with_the_last_words_of_the_call(tmp_path: Path) -> None:
    async with scene(tmp_path) as call:
        await call.consent.answered(True, "yes")
        await until(lambda: files(call.folder))
        await call.consent.answered(False, "no")  # and the call is over before anything was done about it
    assert [answer[0] for answer in call.ledger.answers] == [True, False]
    assert files(call.folder) == []


async def test_transcripts_follow_the_consent_where_that_is_wanted(tmp_path: Path) -> None:
    async with scene(tmp_path, withholds_transcripts=True) as call:
        await call.consent.answered(True, "yes")
        await until(lambda: call.media.tap)
        await call.consent.answered(False, "no")
    assert call.ledger.kept == [False, True, False]
    async with scene(tmp_path) as call:
        await call.consent.answered(False, "no")
    assert call.ledger.kept == []


async def test_without_recording_only_the_question_is_spoken(tmp_path: Path) -> None:
    async with scene(tmp_path, recorder=None, withholds_transcripts=True) as call:
        assert (await call.consent.answered(True, "yes"))["recorded"] is False
        await until(lambda: call.ledger.answers)
    assert call.said == ["(consent_question)"]
    assert not call.folder.exists()


async def test_what_may_not_be_recorded_is_an_error_of_the_call_that_goes_on(tmp_path: Path) -> None:
    async with scene(tmp_path, refusal="too much waits") as call:
        call.keypad.press("1")
        await until(lambda: call.greetings())
        assert call.media.tap is None
    assert call.ledger.errors == ["recording_spool_full"]


async def test_a_recording_ends_where_a_person_comes_and_none_begins(tmp_path: Path) -> None:
    async with scene(tmp_path) as call:
        call.keypad.press("1")
        await until(lambda: call.media.tap)
        call.consent.end_recording()
        assert call.media.tap is None
        await call.consent.answered(False, "no")
        await call.consent.answered(True, "yes")
        await until(lambda: len(call.ledger.answers) == 3)
        assert call.media.tap is None
