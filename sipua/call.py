"""One call is one coroutine, readable from top to bottom: ring, open the voice session, answer, talk, end.

``Call.run`` opens what the call needs and closes its record on every way out. Inside, one task group holds what runs
side by side; whoever finds that the call is over raises ``CallOver`` (or a SipuaError), which cancels the rest. How a
call comes to be answered differs by direction and is a ``Way``: of a caller whom we answer (``sipua.inbound``), or of a
callee whom we ring (``sipua.placed``). The far end gets a final response or CANCEL before the answer and a BYE after
it, once what waits to be said has left; the ports are given back last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import UUID

from sipua.actions import Spoken
from sipua.announcer import Announcer
from sipua.audio import Bridge, bridge_for
from sipua.call_consent import CallConsent, consenting
from sipua.call_language import CallLanguage
from sipua.call_leg import CallLeg, CallOver
from sipua.call_screening import Screening
from sipua.call_services import CallServices, Way
from sipua.call_state import CallState, Phase
from sipua.call_transfer import CallTransfer
from sipua.call_voice import VoiceService, converse, ending_of, leaves, voice_session
from sipua.conversation import Conversation
from sipua.echo_filter import EchoFilter, echo_filter
from sipua.errors import RealtimeError, RealtimeRefused
from sipua.idle import instructions
from sipua.keypad import Keypad
from sipua.log import call_of_task
from sipua.outcome import (
    CLOSED,
    MAX_DURATION,
    SHUTDOWN,
    SHUTDOWN_RINGING,
    Ending,
    Status,
)
from sipua.ports import CallRecord, Moment
from sipua.realtime.backend import VoiceSession
from sipua.realtime.config import AudioFormat
from sipua.realtime.events import AudioDelta
from sipua.refusal import apologise
from sipua.session_watch import SessionWatch
from sipua.tasks import to_the_end
from sipua.tool_settings import TransferSettings
from sipua.voice_link import VoiceLink

log = logging.getLogger(__name__)


class Call:
    """The state of one call."""

    def __init__(self, way: Way, record: CallRecord, services: CallServices, began: Phase) -> None:
        self.key: UUID = record.id
        self.record = record
        self.state = CallState(began)
        self.answered_by = ""  # person, machine or unsure, of a call of ours that was listened to
        self._way = way
        self._services = services
        self._conversation: Conversation | None = None
        self._person: CallTransfer | None = None
        self._echo: EchoFilter | None = None
        self._stop: Ending | None = None
        self._ending: Ending | None = None
        self._unanswered: Ending | None = None
        self._is_settled = asyncio.Event()
        self._is_over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def leg(self) -> CallLeg | None:
        """The leg that there is to talk on."""
        return self._way.leg

    @property
    def legs(self) -> list[CallLeg]:
        """All that somebody talks on: that of a person too, whom the caller was joined with."""
        person = self._person.person if self._person is not None else None
        return [each for each in (self.leg, person) if each is not None]

    @property
    def _is_answered(self) -> bool:
        """A 200 has been sent or received; that of a callee may come before the voice session is ready."""
        return self.leg is not None and self.leg.answered_at is not None

    def stop(self, up: Ending = SHUTDOWN, ringing: Ending = SHUTDOWN_RINGING) -> None:
        """The process ends, or an operator ends the call: the other side gets BYE if it is ``up``, else the code of
        ``ringing``. A call that has not begun to run ends when it does.
        """
        if self._stop is None:
            self._stop = up if self._is_answered else ringing
            if self._task is not None:
                self._task.cancel()

    async def settled(self) -> Ending | None:
        """Waits until the call is answered, and it is known by whom (None), or over."""
        await self._is_settled.wait()
        return self._unanswered

    async def over(self) -> Ending:
        """Waits until it has ended."""
        await self._is_over.wait()
        assert self._ending is not None
        return self._ending

    async def run(self) -> Ending:
        """The whole life of the call; returns how it ended. Never raises but for a bug of ours."""
        self._task = asyncio.current_task()
        call_of_task.set(str(self.key))
        self._services.metrics.calls_active.inc()
        ending = Ending(Status.FAILED, "internal_error", sip_code=500)
        try:
            ending = self._stop or await self._life()
        except asyncio.CancelledError:
            if self._stop is None:
                raise
            ending = self._stop
        finally:
            await to_the_end(self._close(ending))
            if not self._is_settled.is_set():
                self._unanswered = ending
            self._ending = ending
            self._is_settled.set()
            self._is_over.set()
        return ending

    async def _life(self) -> Ending:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._way.watch(), name="leg")
                await self._ring_and_talk()
        except BaseExceptionGroup as group:
            return self._ending_of(leaves(group))
        raise AssertionError("a call's task group ends only by an exception")

    async def _ring_and_talk(self) -> None:
        services = self._services
        codec = await self._way.ringing()
        self._move(Phase.RINGING)
        self.record.ringing(self._way.rang_at or services.clock.now())
        format, bridge = bridge_for(codec, services.voice.backend.capabilities.formats)
        opening = replace(self.record.opening, trunk=self._way.trunk_name)  # of a call of ours known only now
        remembered = await services.voice.recall(opening)
        now = services.clock.now()
        language = services.voice.language_of(opening, now, remembered)
        announcer = Announcer(lambda: self._way.leg, language)
        to_phone = self._to_phone(bridge, announcer)
        self.record.language(now, language.locale, language.choice.why)
        watch = SessionWatch(self.record, services.metrics, services.clock, language, announcer)
        if self._is_turned_away(now):
            async with self._unattended(language, announcer):
                await announcer.close_with("closed")
                raise CallOver(CLOSED)
        async with contextlib.AsyncExitStack() as stack:
            tools = services.voice.of_call(self._way.trunk_name, self.record.opening.our_number)
            voice = stack.enter_context(tools)
            try:
                session = await stack.enter_async_context(
                    voice_session(voice, language, format, to_phone, watch, services.clock)
                )
            except RealtimeError as error:
                if not error.retryable:
                    services.metrics.realtime_alerts.labels(error.reason).inc()
                if isinstance(error, RealtimeRefused) and self._way.direction == "inbound":
                    async with self._unattended(language, announcer) as transfer:
                        await apologise(
                            error, announcer, transfer, services.voice.on_refusal, self.record,
                            services.metrics, services.clock,
                        )  # fmt: skip
                raise
            await self._talk(session, voice, language, announcer, bridge, format)

    async def _talk(
        self,
        session: VoiceLink,
        voice: VoiceService,
        language: CallLanguage,
        announcer: Announcer,
        bridge: Bridge,
        format: AudioFormat,
    ) -> None:
        """Answered, with a voice session that is ready."""
        services = self._services
        leg, answered = await self._answered()
        keypad = Keypad(services.keys, services.clock)
        screening = self._screening(leg, format, answered, announcer)

        def pressed(key: str) -> None:
            if screening is not None:
                screening.pressed()
            keypad.press(key)

        conversation = self._conversation = Conversation(
            leg.media.playout,
            greeting=language.greeting,
            keys=services.keys,
            turns=services.turns,
            approvals=voice.tools.approvals,
            idle=services.idle,
            idle_words=lambda what: instructions(what, language.language.phrases),
            answered_at=answered.monotonic,
        )
        transfer = self._transfer(leg, conversation, announcer, keypad)
        leg.on_change = self._follow_hold
        leg.hear_keys(pressed)
        self._follow_hold()  # the offer may have been a held one
        echo = self._echo = echo_filter(leg.trunk, leg.media.codec, format)
        leg.media.start(
            on_audio=self._uplink(session, bridge, echo, transfer, screening),
            on_first_packet=lambda at: self._first_audio(at - answered.monotonic),
            on_digit=pressed,
            on_sent=None if echo is None else echo.sent,
        )
        with consenting(
            services.consent,
            leg.media,
            self.record,
            language,
            announcer,
            keypad,
            services.metrics,
            services.clock,
        ) as consent:
            transfer.on_joined = lambda: _hand_over(session, consent, services.transfer, transfer)
            async with (
                self._hung_up_after(leg),
                contextlib.aclosing(transfer),
                asyncio.TaskGroup() as group,
            ):
                group.create_task(transfer.follow(), name="person")
                group.create_task(leg.watch_media(services.clock, self.record.rtp), name="media")
                group.create_task(_end_after(leg.trunk.max_call_s), name="limit")
                await converse(
                    session, voice, language, conversation, keypad, leg.media.playout, announcer,
                    self.record, services.metrics, services.clock, consent, transfer, screening=screening,
                )  # fmt: skip

    async def _answered(self) -> tuple[CallLeg, Moment]:
        """The leg to talk on, and since when; an ACK is not waited for: the caller listens already."""
        self._move(Phase.ANSWERING)
        leg = await self._way.answered()
        answered = leg.answered_at
        assert answered is not None
        self._move(Phase.TALKING)
        self.record.answered(answered, leg.codec)
        return leg, answered

    def _transfer(
        self, leg: CallLeg, conversation: Conversation, announcer: Announcer, keypad: Keypad
    ) -> CallTransfer:
        services = self._services
        self._person = CallTransfer(
            services.departments(), leg, services.legs, conversation, announcer, self.record, services.clock,
            keypad, services.second_legs(), services.transfer,
        )  # fmt: skip
        return self._person

    def _is_turned_away(self, now: Moment) -> bool:
        """Whether the line that was dialled is closed, and callers are to hear no more than that."""
        opening = self.record.opening
        lines = self._services.departments().our_lines
        return opening.direction == "inbound" and lines.turns_away(opening.to_number, opening.trunk, now.wall)

    @contextlib.asynccontextmanager
    async def _unattended(self, language: CallLanguage, announcer: Announcer) -> AsyncIterator[CallTransfer]:
        """Answered without a voice session: who calls hears recordings of ours."""
        leg, _ = await self._answered()
        self._is_settled.set()
        conversation = Conversation(leg.media.playout, greeting="", keys=self._services.keys)

        def note(text: str) -> None:
            for action in conversation.announced(text, self._services.clock.now()):
                if isinstance(action, Spoken):
                    self.record.transcript(action.segment, language.locale)

        announcer.on_said = note
        leg.on_change = self._follow_hold
        self._follow_hold()
        keypad = Keypad(self._services.keys, self._services.clock)
        leg.hear_keys(keypad.press)
        leg.media.start(on_audio=lambda payload: None, on_digit=keypad.press)
        transfer = self._transfer(leg, conversation, announcer, keypad)
        async with self._hung_up_after(leg), contextlib.aclosing(transfer):
            yield transfer

    @contextlib.asynccontextmanager
    async def _hung_up_after(self, leg: CallLeg) -> AsyncIterator[None]:
        """The answered leg: its BYE does not wait until the voice session has closed, which can take seconds."""
        try:
            yield
        finally:
            await leg.drain()
            await leg.hang_up(0)

    def _screening(
        self, leg: CallLeg, format: AudioFormat, answered: Moment, announcer: Announcer
    ) -> Screening | None:
        """Of a call of ours, if it is to be known who has answered; else that is settled."""
        services, errand = self._services, self.record.opening.errand
        way = (errand.answering_machine if errand is not None else "") or services.screening.way
        if errand is None or way == "off":
            self._is_settled.set()
            return None
        screening = Screening(
            services.screening, errand, leg.media, format, answered, self.record, announcer, services.metrics,
            services.clock,
        )  # fmt: skip
        screening.on_verdict = self._judged
        return screening

    def _judged(self, by: str) -> None:
        self.answered_by = by
        self._is_settled.set()

    def _to_phone(self, bridge: Bridge, announcer: Announcer) -> Callable[[AudioDelta], None]:
        way, record, clock = self._way, self.record, self._services.clock

        def forward(delta: AudioDelta) -> None:
            record.spoke(clock.now())
            # a session says nothing before it is asked to, which is after the answer
            if way.leg is not None and not announcer.is_closing:
                way.leg.media.playout.append(delta.item_id, bridge.to_phone(delta.item_id, delta.audio))

        return forward

    def _uplink(
        self,
        session: VoiceSession,
        bridge: Bridge,
        echo: EchoFilter | None,
        transfer: CallTransfer,
        screening: Screening | None,
    ) -> Callable[[bytes], None]:
        state = self.state

        def forward(payload: bytes) -> None:
            # hold music is not the caller, and who waits for a person or talks with one is heard only if so set
            if state.phase is Phase.TALKING and transfer.lets_agent_listen:
                audio = bridge.to_service(payload)
                audio = audio if echo is None else echo.heard(audio)
                session.append(audio if screening is None else screening.heard(payload, audio))

        return forward

    def _follow_hold(self) -> None:
        held = self._way.leg is not None and self._way.leg.is_held
        if not held and self.state.phase is Phase.HELD:
            self._move(Phase.TALKING)
        elif held and self.state.phase is Phase.TALKING:
            self._move(Phase.HELD)
        if self._conversation is not None:
            self._conversation.held(held, self._services.clock.now())

    def _first_audio(self, seconds: float) -> None:
        self._services.metrics.first_audio_seconds.observe(seconds)
        self.record.first_audio(self._services.clock.now(), seconds)

    def _ending_of(self, reasons: list[BaseException]) -> Ending:
        """How the call ended: by the leg if it is gone, else by the first error.

        A caller's CANCEL or BYE can cross what we were about to do with the leg: then our error is its
        consequence, and the leg's end is still in the queue.
        """
        leg = self._way.leg
        if leg is not None:
            leg.catch_up()
            if leg.ended is not None:
                return leg.ended
        services = self._services
        return ending_of(reasons, self.record, services.metrics, services.clock, answered=self._is_answered)

    def _move(self, phase: Phase) -> None:
        self.state.to(phase)
        self.record.phase(phase.value)

    async def _close(self, ending: Ending) -> None:
        """Hangs up, closes the media and the row; bounded."""
        services, way = self._services, self._way
        if way.leg is not None and way.leg.answered_at is not None and not self.state.answered:
            self.record.answered(way.leg.answered_at, way.leg.codec)  # before the voice session was ready
        await way.end(0 if self._is_answered else (ending.sip_code or 500))
        if self._echo is not None:
            log.info("call=%s %s", self.key, self._echo)
        figures = way.leg.media.figures() if way.leg is not None else None
        srtp = way.leg.media.srtp_suite if way.leg is not None else ""
        way.close()
        self._move(Phase.ENDED)
        self.record.ended(services.clock.now(), ending, {} if figures is None else figures.as_dict(), srtp)
        services.metrics.calls_active.dec()
        if figures is not None:
            services.metrics.count_media(way.trunk_name, figures)
        if way.leg is not None and way.leg.answered_at is not None:
            talked_s = services.clock.now().monotonic - way.leg.answered_at.monotonic
            services.metrics.call_seconds.labels(way.direction).observe(talked_s)
        status, reason = ending.status.value, ending.reason
        services.metrics.calls.labels(way.direction, way.trunk_name, status, reason).inc()


def _hand_over(
    session: VoiceLink, consent: CallConsent | None, wishes: TransferSettings, transfer: CallTransfer
) -> None:
    """To a person, who agreed to nothing: only what is so set goes on listening."""
    if consent is not None and not wishes.record_bridged:
        consent.end_recording()
    if transfer.lets_agent_listen:
        session.only_listen()
    else:
        session.leave()


async def _end_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise CallOver(MAX_DURATION)
