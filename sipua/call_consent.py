"""Consent and recording of one call: puts the question, takes the answer, begins and ends the recording.

The question and what follows it are recordings in the caller's language, word for word (``sipua.recordings``); the
model is told of them as text, and answers of the voice come back through its tool, ``answered``. Before a yes there is
no tape and so no file. ``sipua.consent`` decides; here it is performed, in the call's own task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid4

from rtp.codec import Codec
from sipua.actions import Action, SystemText
from sipua.call_language import CallLanguage
from sipua.consent import Answered, Ask, Channel, Confirm, Consent, Proceed, Start, Step, Stop
from sipua.conversation import Conversation
from sipua.keypad import Keypad
from sipua.metrics import Metrics
from sipua.ports import Announcements, CallRecord, Clock
from sipua.realtime import events as ev
from sipua.recorder import Recorder, Tape, Trouble
from sipua.turns import Speech

log = logging.getLogger(__name__)

TALK = (ev.SpeechStarted, ev.SpeechStopped, ev.InputCommitted, ev.ResponseCreated, ev.ResponseDone)
TOLD = 'The caller has just been told, by a recorded voice: "{}"'
ASKED = (
    'The caller has just been asked, by a recorded voice: "{}" Whatever they say to it, call record_consent first. '
    "Until they have answered, speak of nothing else."
)


@dataclass(frozen=True, slots=True)
class ConsentPolicy:
    """What callers are asked, for all calls of the process."""

    answer_s: float
    recorder: Recorder | None  # None: only transcripts depend on it
    withholds_transcripts: bool  # of who did not say yes
    deletes_withdrawn: bool


class Heard(Protocol):
    """What the caller hears, and what can be kept of it (``sipua.media.MediaLeg``)."""

    @property
    def codec(self) -> Codec: ...
    @property
    def playout(self) -> Speech: ...
    def record(self, tape: Tape | None) -> None: ...


class CallConsent:
    """``run`` beside the conversation; ``close`` when the call is over."""

    def __init__(
        self,
        policy: ConsentPolicy,
        media: Heard,
        record: CallRecord,
        language: CallLanguage,
        announcer: Announcements,
        keypad: Keypad,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._media = media
        self._record = record
        self._language = language
        self._announcer = announcer
        self._metrics = metrics
        self._clock = clock
        self._consent = Consent(policy.answer_s)
        self._steps: deque[Step] = deque()  # a handful for each answer, and those are bounded
        self._wake = asyncio.Event()
        self._question = ""
        self._answer: UUID | None = None  # row of the last one
        self._tape: Tape | None = None
        self._is_over = False  # the recording, whatever the caller says yet
        keypad.collector.claim = self._claim
        if policy.withholds_transcripts:
            record.keep_transcripts(False)

    @property
    def _is_recordable(self) -> bool:
        return self._consent.is_given and self._policy.recorder is not None

    async def run(self, conversation: Conversation, perform: Callable[[list[Action]], None]) -> None:
        """Asks, and follows what is answered, for as long as the call lasts."""
        self._add(self._consent.begin())
        while True:
            while self._steps:
                perform(self._performed(self._steps.popleft(), conversation))
            self._wake.clear()
            deadline = self._consent.deadline()
            wait_s = None if deadline is None else max(0.0, deadline - self._clock.now().monotonic)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            now = self._clock.now().monotonic
            if self._media.playout.queued_ms:
                self._consent.talked(now)
            self._add(self._consent.expire(now))

    def on_event(self, event: ev.Event) -> None:
        """Whoever talks may be about to answer."""
        if isinstance(event, TALK):
            self._consent.talked(self._clock.now().monotonic)

    async def answered(self, agreed: bool, words: str) -> Mapping[str, Any]:
        """The caller's answer, as the model understood it (``words`` stand in its call of the tool).

        What the model is to know then.
        """
        was_pending = self._consent.is_pending
        self._add(self._consent.said(agreed))
        told: dict[str, Any] = {"consent": self._consent.state.value, "recorded": self._is_recordable}
        if was_pending:
            told["next"] = (
                "The caller has been told so by a recorded voice: do not repeat it. Now greet them."
            )
            if self._language.greeting:
                told["greeting"] = self._language.greeting
        return told

    def end_recording(self) -> None:
        """Somebody talks with the caller who was not asked."""
        self._is_over = True
        self._media.record(None)
        if self._tape is not None:
            self._tape.finish(self._clock.now().monotonic)
            self._tape = None

    def close(self) -> None:
        """The call is over: a question that stood has no answer, and the recording ends."""
        for step in [*self._steps, *self._consent.over()]:
            match step:
                case Answered():
                    self._answered(step)
                case Stop():
                    self._stop()
        self._steps.clear()
        self.end_recording()

    def _claim(self, key: str) -> bool:
        steps = self._consent.key(key)
        if steps is None:
            return False
        self._add(steps)
        return True

    def _add(self, steps: list[Step]) -> None:
        self._steps += steps
        if steps:
            self._wake.set()

    def _performed(self, step: Step, conversation: Conversation) -> list[Action]:
        match step:
            case Ask():
                return self._ask(conversation)
            case Answered(channel=channel):
                if channel == "dtmf":
                    self._media.playout.flush()  # the rest of the question
                self._answered(step)
            case Confirm(recorded):
                return self._confirm(recorded)
            case Start():
                self._start()
            case Stop():
                self._stop()
            case Proceed(channel):
                return self._proceed(conversation, channel)
        return []

    def _ask(self, conversation: Conversation) -> list[Action]:
        """A caller who speaks meanwhile, were it "hello", is asked to the end."""
        if self._record.opening.direction == "outbound" and not self._question:
            conversation.protect(self._announcer.say("outbound_opening"))  # who asks
        self._question = self._language.language.phrases.consent_question
        item_id = self._announcer.say("consent_question")
        conversation.protect(item_id)
        now = self._clock.now()
        self._record.consent_asked(now, self._question)
        self._consent.asked(now.monotonic, self._media.playout.queued_ms / 1000)
        return [SystemText(f"{item_id}_told", ASKED.format(self._question))]

    def _confirm(self, recorded: bool) -> list[Action]:
        if self._policy.recorder is None:
            return []  # nothing is recorded either way
        phrase = "consent_yes" if recorded else "consent_no"
        text: str = getattr(self._language.language.phrases, phrase)
        return [SystemText(f"{self._announcer.say(phrase)}_told", TOLD.format(text))]

    def _proceed(self, conversation: Conversation, channel: Channel | None) -> list[Action]:
        """The voice's answer is followed by the model by itself: its tool has returned."""
        return [] if channel == "voice" else conversation.begin()

    def _answered(self, answer: Answered) -> None:
        now, self._answer = self._clock.now(), uuid4()
        self._record.consent(
            now, self._answer, text=self._question, result=answer.result, channel=answer.channel
        )
        result = {True: "yes", False: "no", None: "none"}[answer.result]
        self._metrics.consents.labels(result, answer.channel or "none").inc()
        if self._policy.withholds_transcripts:
            self._record.keep_transcripts(answer.result is True)

    def _start(self) -> None:
        recorder, answer = self._policy.recorder, self._answer
        if recorder is None or answer is None or self._is_over:
            return
        now = self._clock.now()
        self._tape = recorder.record(
            self._record.id, answer, self._media.codec, now.monotonic, now.wall, self._trouble
        )
        self._media.record(self._tape)

    def _stop(self) -> None:
        tape, self._tape = self._tape, None
        self._media.record(None)
        if tape is not None:
            tape.discard() if self._policy.deletes_withdrawn else tape.finish(self._clock.now().monotonic)

    def _trouble(self, trouble: Trouble) -> None:
        """The ledger and whoever watches; the call goes on."""
        log.warning("call=%s %s", self._record.id, trouble.message)
        self._record.error(self._clock.now(), f"recording_{trouble.reason}", trouble.message)


@contextlib.contextmanager
def consenting(
    policy: ConsentPolicy | None,
    media: Heard,
    record: CallRecord,
    language: CallLanguage,
    announcer: Announcements,
    keypad: Keypad,
    metrics: Metrics,
    clock: Clock,
) -> Iterator[CallConsent | None]:
    """For as long as the call is up; None where nothing is asked."""
    if policy is None:
        yield None
        return
    consent = CallConsent(policy, media, record, language, announcer, keypad, metrics, clock)
    try:
        yield consent
    finally:
        consent.close()
