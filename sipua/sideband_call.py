"""One call that OpenAI's SIP terminates is one coroutine: accept it, join its session, talk, end, close the row.

The conversation is that of every call (``sipua.call_voice.converse``) with a playout that is the service's. The caller
gets a final response before the answer and is hung up after it, unless the service says that the call is over.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from sipua.call_consent import ConsentPolicy, consenting
from sipua.call_language import CallLanguage
from sipua.call_leg import CallOver
from sipua.call_voice import VoiceService, closed_after, converse, ending_of, leaves
from sipua.conversation import Conversation
from sipua.departments import Departments
from sipua.errors import RemoteError, SipuaError
from sipua.idle import IdleRules, instructions
from sipua.keypad import Keypad
from sipua.keys import KeyRules
from sipua.metrics import Metrics
from sipua.openai_calls import CallGone, OpenAICalls
from sipua.openai_webhook import TRUNK
from sipua.openai_webhook_settings import OpenAIWebhookSettings
from sipua.outcome import (
    CALLER_CANCELLED,
    CLOSED,
    MAX_DURATION,
    SHUTDOWN,
    SHUTDOWN_RINGING,
    TRANSFERRED,
    Ending,
    Status,
)
from sipua.ports import CallRecord, Clock, Moment
from sipua.realtime import events as ev
from sipua.realtime.backend import OpenAIBackend
from sipua.realtime.config import AudioFormat, SessionConfig
from sipua.session_watch import SessionWatch
from sipua.sideband import Sideband
from sipua.sideband_ports import ModelWords, RemoteMedia, SidebandTransfer
from sipua.sideband_speech import RemoteSpeech
from sipua.tasks import to_the_end

log = logging.getLogger(__name__)

END_S = 8.0  # for the last request about a call
UNNAMED = AudioFormat.PCMU  # what is negotiated is the service's affair
KEYS = frozenset("0123456789*#ABCD")
UNAFFORDABLE = Ending(Status.FAILED, "spend_cap", sip_code=503)


@dataclass(frozen=True, slots=True)
class SidebandServices:
    """What all of them share. ``consent`` without a recorder: there is no sound here to record."""

    settings: OpenAIWebhookSettings
    backend: OpenAIBackend
    calls: OpenAICalls
    voice: VoiceService
    idle: IdleRules
    keys: KeyRules
    departments: Callable[[], Departments]
    consent: ConsentPolicy | None
    metrics: Metrics
    clock: Clock


def sideband_config(spoken: SessionConfig) -> SessionConfig:
    """Of a session whose playout is the service's: it alone can cut off what it is saying."""
    detection = spoken.turn_detection
    if detection is None:
        return spoken
    return replace(spoken, turn_detection=replace(detection, create_response=True, interrupt_response=True))


class SidebandCall:
    """``run`` once; ``stop`` ends it in order."""

    def __init__(self, record: CallRecord, services: SidebandServices) -> None:
        self.record = record
        self._services = services
        self._call_id = record.opening.openai_call_id
        self._answered: Moment | None = None
        self._speech = RemoteSpeech(lambda: services.clock.now().monotonic)
        self._keypad = Keypad(services.keys, services.clock)
        self._session: Sideband | None = None
        self._transfer: SidebandTransfer | None = None
        self._is_gone = False  # the service has no such call
        self._stop: Ending | None = None
        self._task: asyncio.Task[None] | None = None

    def stop(self, up: Ending = SHUTDOWN, ringing: Ending = SHUTDOWN_RINGING) -> None:
        """The process ends, or an operator ends the call: it is hung up if it is ``up``, else refused."""
        if self._stop is None:
            self._stop = up if self._answered is not None else ringing
            if self._task is not None:
                self._task.cancel()

    async def run(self) -> Ending:
        """How it ended; its row is closed whatever happens."""
        services = self._services
        self._task = asyncio.current_task()
        services.metrics.calls_active.inc()
        ending = Ending(Status.FAILED, "internal_error", sip_code=500)
        try:
            ending = self._stop or await self._life()
        except asyncio.CancelledError:
            if self._stop is None:
                raise
            ending = self._stop
        finally:
            await to_the_end(self._close(ending))
        return ending

    async def _life(self) -> Ending:
        services, record = self._services, self.record
        try:
            with services.voice.of_call(TRUNK, record.opening.our_number) as voice:
                await self._answer_and_talk(voice)
        except CallGone:
            self._is_gone = True
            return CALLER_CANCELLED
        except (CallOver, SipuaError) as reason:
            return self._ending_of([reason])
        except BaseExceptionGroup as group:
            return self._ending_of(leaves(group))
        raise AssertionError("a conversation ends only by an exception")

    def _ending_of(self, reasons: list[BaseException]) -> Ending:
        services, is_answered = self._services, self._answered is not None
        return ending_of(reasons, self.record, services.metrics, services.clock, answered=is_answered)

    async def _answer_and_talk(self, voice: VoiceService) -> None:
        services, record = self._services, self.record
        record.ringing(services.clock.now())
        remembered = await voice.recall(record.opening)
        now = services.clock.now()
        language = voice.language_of(record.opening, now, remembered)
        record.language(now, language.locale, language.choice.why)
        cap = voice.spend.reached(record.opening.from_number, 0.0, voice.today())
        if cap is not None:
            services.metrics.spend_caps.labels(cap).inc()
            raise CallOver(UNAFFORDABLE)
        asked = sideband_config(voice.configured(language, UNNAMED))
        config = await services.calls.accept(self._call_id, asked)
        answered = self._answered = services.clock.now()
        record.answered(answered)
        record.phase("talking")
        words = ModelWords(lambda: session, self._speech, language)
        session = self._session = Sideband(
            lambda: services.backend.join(self._call_id, config),
            SessionWatch(record, services.metrics, services.clock, language, words),
            services.clock,
            services.settings.rejoin_s,
            random.random,
            self._seen,
        )
        await session.open()
        async with closed_after(session):
            await self._talk(session, voice, language, words, answered)

    async def _talk(
        self,
        session: Sideband,
        voice: VoiceService,
        language: CallLanguage,
        words: ModelWords,
        answered: Moment,
    ) -> None:
        services, record, clock = self._services, self.record, self._services.clock
        opening, departments = record.opening, services.departments()
        if departments.our_lines.turns_away(opening.to_number, TRUNK, clock.now().wall):
            await words.close_with("closed")
            raise CallOver(CLOSED)
        conversation = Conversation(
            self._speech,
            greeting=language.greeting,
            keys=services.keys,
            approvals=voice.tools.approvals,
            idle=services.idle,
            idle_words=lambda what: instructions(what, language.language.phrases),
            answered_at=answered.monotonic,
        )
        transfer = self._transfer = SidebandTransfer(departments, services.calls, session, record, clock)
        media = RemoteMedia(self._speech)
        with consenting(
            services.consent, media, record, language, words, self._keypad, services.metrics, clock
        ) as consent:
            async with asyncio.TaskGroup() as group:
                group.create_task(_end_after(services.settings.max_call_s), name="limit")
                await converse(
                    session, voice, language, conversation, self._keypad, self._speech, words, record,
                    services.metrics, clock, consent, transfer,
                )  # fmt: skip

    def _seen(self, event: ev.Event) -> None:
        """What the service tells of the line, as it comes."""
        now, is_first = self._services.clock.now(), not self._speech.has_begun
        self._speech.on_event(event)
        match event:
            case ev.PlayoutBegan() if is_first and self._answered is not None:
                seconds = now.monotonic - self._answered.monotonic
                self._services.metrics.first_audio_seconds.observe(seconds)
                self.record.first_audio(now, seconds)
            case ev.ItemTruncated():
                self.record.cut_off(now, event.item_id, event.audio_end_ms)
            case ev.KeyReceived(key=key) if key in KEYS:
                self._keypad.press(key)

    async def _close(self, ending: Ending) -> None:
        services, record = self._services, self.record
        await self._end_at_openai(ending)
        if self._transfer is not None and ending == TRANSFERRED:
            self._transfer.left()
        now = services.clock.now()
        record.ended(now, ending, {})
        services.metrics.calls_active.dec()
        if self._answered is not None:
            talked_s = now.monotonic - self._answered.monotonic
            services.metrics.call_seconds.labels("inbound").observe(talked_s)
        services.metrics.calls.labels("inbound", TRUNK, ending.status.value, ending.reason).inc()

    async def _end_at_openai(self, ending: Ending) -> None:
        """Refused or hung up, unless the service has said that it is over; bounded."""
        if self._is_gone or (self._session is not None and self._session.is_over):
            return
        calls = self._services.calls
        if self._answered is not None:
            last = calls.hang_up(self._call_id)
        else:
            last = calls.reject(self._call_id, ending.sip_code or 500)
        try:
            async with asyncio.timeout(END_S):
                await last
        except CallGone:
            pass
        except (RemoteError, TimeoutError) as error:
            log.warning("call=%s may still be up at the voice service: %s", self.record.id, error)


async def _end_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise CallOver(MAX_DURATION)
