"""The voice session of one call: opened while it rings, its rows closed however it ends, its events performed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Protocol
from uuid import UUID

from sipua import actions as act
from sipua.alarm import Alarm
from sipua.call_control import CallControl, ConsentPort, TransferPort
from sipua.call_language import CallLanguage, Change
from sipua.call_leg import CallOver
from sipua.call_screening import Screening
from sipua.conversation import Conversation
from sipua.errors import RealtimeClosed, RealtimeError, RealtimeRefused, SipuaError
from sipua.keypad import Keypad
from sipua.last_words import LastWords
from sipua.memory import Recollection
from sipua.meter import Meter
from sipua.metrics import Metrics
from sipua.outcome import SPEND_CAP, Ending, Status, ending_of_error, is_voice_failure
from sipua.ports import Announcements, CallOpening, CallRecord, Clock, Moment
from sipua.realtime.backend import Capabilities, VoiceBackend, VoiceSession
from sipua.realtime.commands import approval_item, function_output_item, text_item
from sipua.realtime.config import AudioFormat, SessionConfig
from sipua.realtime.continuity import Rules
from sipua.realtime.events import AudioDelta
from sipua.refusal import apologise
from sipua.spend import Spend
from sipua.tools.box import ToolBox
from sipua.tools.registry import Offer, Registry
from sipua.voice_link import VoiceLink
from sipua.voice_sessions import Observer, Plan

log = logging.getLogger(__name__)

FRAME_S = 0.02
NO_TURNS = {"audio": {"input": {"turn_detection": None}}}  # nothing that is heard is answered


async def nobody_known(_: CallOpening) -> Recollection | None:
    """The memory of a service that keeps none."""
    return None


def nothing_offered(trunk: str, our_number: str | None) -> AbstractContextManager[Offer]:
    """The tools of a service that has none."""
    return contextlib.nullcontext(Registry())


@dataclass(frozen=True, slots=True)
class VoiceService:
    """Where sessions come from, what all of them are asked, and which language a call has."""

    backend: VoiceBackend
    session_config: Callable[[AudioFormat], SessionConfig]
    language_of: Callable[[CallOpening, Moment, Recollection | None], CallLanguage]
    open_timeout_s: float
    rules: Rules
    spend: Spend
    today: Callable[[], date]  # where the callers are
    tools: Offer = field(default_factory=Registry)  # of one call: ``of_call``
    offered: Callable[[str, str | None], AbstractContextManager[Offer]] = nothing_offered
    recall: Callable[[CallOpening], Awaitable[Recollection | None]] = nobody_known
    on_refusal: str = ""  # the department that takes over then
    traceparent: Callable[[UUID, UUID], str] = lambda call, tool: ""  # see ``sipua.tracing``

    @contextlib.contextmanager
    def of_call(self, trunk: str, our_number: str | None) -> Iterator[VoiceService]:
        """With the tools of a call by that trunk; they stay the same to its end, whatever is read again."""
        with self.offered(trunk, our_number) as tools:
            yield replace(self, tools=tools)

    def configured(self, language: CallLanguage, format: AudioFormat) -> SessionConfig:
        """What a session of this call is asked to be."""
        tools = self.tools.wire() if self.backend.capabilities.has_tools else ()
        return language.configured(replace(self.session_config(format), tools=tools))


class Typist(Protocol):
    """Who writes instead of speaking."""

    def lines(self, conversation: Conversation) -> AsyncIterator[str]:
        """Each when it is due; raises CallOver after the last."""


class Queue(Protocol):
    """The playout, as the end of a call needs it."""

    @property
    def queued_ms(self) -> int: ...
    def received_ms(self, item_id: str) -> int: ...


@contextlib.asynccontextmanager
async def voice_session(
    service: VoiceService,
    language: CallLanguage,
    format: AudioFormat,
    on_audio: Callable[[AudioDelta], None],
    watch: Observer,
    clock: Clock,
) -> AsyncIterator[VoiceLink]:
    """A session that is ready, and others after it. RealtimeUnreachable if it is not in time."""
    plan = Plan(
        configure=lambda: service.configured(language, format),
        open_timeout_s=service.open_timeout_s,
        rules=service.rules,
        chance=random.random,
    )
    link = VoiceLink(service.backend, plan, watch, clock, on_audio)
    await link.open()
    async with closed_after(link):
        yield link


class Link(Protocol):
    """What stands between a call and its sessions."""

    async def close(self, *, failed: bool = False) -> None: ...


@contextlib.asynccontextmanager
async def closed_after(link: Link) -> AsyncIterator[None]:
    """Closes it, and says whether the voice service is to blame for the end."""
    failed = True
    try:
        yield
        failed = False
    except BaseExceptionGroup as group:
        failed = any(isinstance(each, SipuaError) and is_voice_failure(each) for each in leaves(group))
        raise
    except SipuaError as error:
        failed = is_voice_failure(error)
        raise
    except (CallOver, asyncio.CancelledError):
        failed = False
        raise
    finally:
        await link.close(failed=failed)


async def converse(
    session: VoiceSession,
    service: VoiceService,
    language: CallLanguage,
    conversation: Conversation,
    keypad: Keypad,
    playout: Queue,
    announcer: Announcements,
    record: CallRecord,
    metrics: Metrics,
    clock: Clock,
    consent: ConsentPort | None = None,
    transfer: TransferPort | None = None,
    typist: Typist | None = None,
    screening: Screening | None = None,
) -> None:
    """Until the session ends, which is an error: a call is ended by its leg, or by CallOver if the agent hangs up.

    ``screening`` says whether there is anybody to talk with, ``consent`` is asked for first.
    """
    last_words, leaving = LastWords(), asyncio.Event()
    box = ToolBox(
        service.tools.find,
        lambda: control,
        record,
        lambda: language.locale,
        metrics,
        clock,
        service.traceparent,
    )

    def leave(ending: Ending) -> None:
        last_words.wanted(clock.now().monotonic, ending)
        leaving.set()

    performer = _Performer(
        session, service.backend.capabilities, language, announcer, record, metrics, clock, last_words,
        box, leave,
    )  # fmt: skip
    control = CallControl(
        conversation, language, record, clock,
        perform=performer.perform, follow=performer.follow, consent=consent, transfer=transfer,
    )  # fmt: skip
    if transfer is not None:
        transfer.perform = performer.perform
    alarm = Alarm(conversation.deadline, clock)
    meter = Meter(service.spend, service.today, record, metrics, clock, playout.received_ms)
    announcer.on_said = lambda text: performer.perform(conversation.announced(text, clock.now()))

    async def keep_time() -> None:
        async for now in alarm.rings():
            performer.perform(conversation.tick(now))

    async def take_keys() -> None:
        async for news in keypad.news():
            performer.perform(conversation.on_keys(news, clock.now()))
            alarm.moved()

    async def take_lines(typist: Typist) -> None:
        async for line in typist.lines(conversation):
            performer.perform(conversation.typed(line, clock.now()))

    async def take_results() -> None:
        async for result in box.results():
            performer.perform(conversation.tool_done(result.call_id, result.output, clock.now()))
            alarm.moved()

    async def listen() -> None:
        async for event in session.events():
            has_reached_cap = meter.on_event(event, session.config)
            performer.perform(meter.priced(conversation.on_event(event, clock.now())))
            alarm.moved()
            performer.follow(language.on_event(event))
            if consent is not None:
                consent.on_event(event)
            if has_reached_cap:
                await announcer.close_with("time_is_up")
                raise CallOver(SPEND_CAP)
        raise RealtimeClosed("the voice session ended")

    if meter.is_over():
        await announcer.close_with("service_error")
        raise CallOver(SPEND_CAP)

    async def begin() -> None:
        if consent is not None:
            await consent.run(conversation, performer.perform)
        else:
            performer.perform(conversation.begin())
            alarm.moved()

    async def screen_and_begin() -> None:
        if screening is not None:
            await screening.run(conversation, performer.perform, begin)
        else:
            await begin()

    if consent is None and screening is None:
        performer.perform(conversation.begin())
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(take_keys(), name="keys")
            group.create_task(keep_time(), name="time")
            group.create_task(take_results(), name="tools")
            group.create_task(_hang_up_after(last_words, leaving, playout, clock), name="last words")
            if consent is not None or screening is not None:
                group.create_task(screen_and_begin(), name="opening")
            if typist is not None:
                group.create_task(take_lines(typist), name="lines")
            try:
                await listen()
            except (RealtimeError, CallOver) as end:
                if transfer is None or not await _is_with_person(transfer, end):
                    raise
                log.info("call=%s goes on with a person, without a voice session: %s", record.id, end)
            await session.close()
            await asyncio.Event().wait()  # until one of the two hangs up
    except* RealtimeError as group:
        for error in leaves(group):
            if isinstance(error, RealtimeError) and not error.retryable:
                metrics.realtime_alerts.labels(error.reason).inc()
        refusal = next((each for each in leaves(group) if isinstance(each, RealtimeRefused)), None)
        if refusal is None:
            await announcer.close_with("service_error")
        else:
            await apologise(refusal, announcer, transfer, service.on_refusal, record, metrics, clock)
        raise
    finally:  # keys that were followed by the hang-up: for the ledger alone, also where no task has begun yet
        box.close()
        meter.close()
        metrics.keys_dropped.inc(keypad.collector.dropped)
        for news in keypad.rest():
            performer.write_down(conversation.on_keys(news, clock.now()))


async def _is_with_person(transfer: TransferPort, end: RealtimeError | CallOver) -> bool:
    """So that the call goes on without a voice session; whose telephone rings already may still answer."""
    return transfer.is_joined or (isinstance(end, RealtimeError) and await transfer.settled())


async def _hang_up_after(last_words: LastWords, leaving: asyncio.Event, playout: Queue, clock: Clock) -> None:
    """``leaving`` is set when the agent wants to hang up."""
    while True:
        await leaving.wait()
        if last_words.are_heard(clock.now().monotonic, playout.queued_ms):
            raise CallOver(last_words.ending)
        if not last_words.is_wanted:
            leaving.clear()
        await asyncio.sleep(FRAME_S)


@dataclass(frozen=True, slots=True)
class _Performer:
    session: VoiceSession
    capabilities: Capabilities
    language: CallLanguage
    announcer: Announcements
    record: CallRecord
    metrics: Metrics
    clock: Clock
    last_words: LastWords
    box: ToolBox
    hang_up: Callable[[Ending], None]

    def follow(self, changes: list[Change]) -> None:
        """The caller has changed the language, or the transcription does not take its code."""
        for change in changes:
            if change.switch is not None:
                self.record.language(self.clock.now(), change.switch.locale, change.switch.why)
            self.language.sent(change, self.session.session_update(change.session, required=False))

    def write_down(self, actions: list[act.Action]) -> None:
        """What of them the ledger should know; there is no session to send to any more."""
        for action in actions:
            if isinstance(action, act.Spoken):
                self.record.transcript(action.segment, action.lang)

    def perform(self, actions: list[act.Action]) -> None:
        session, record, now = self.session, self.record, self.clock.now()
        for action in actions:
            match action:
                case act.Logged(type, payload):
                    record.service_event(now, type, payload)
                case act.SpokenDelta(role, item_id, text):
                    record.transcript_delta(role, item_id, text)
                case act.Spoken(segment, lang):
                    record.transcript(segment, lang)
                case act.CreateResponse(instructions):
                    session.response_create(instructions)
                case act.CancelResponse(response_id):
                    session.response_cancel(response_id)
                case act.SystemText(item_id, text):
                    session.item_create(text_item(item_id, "system", text))
                case act.UserText(item_id, text):
                    session.item_create(text_item(item_id, "user", text))
                case act.IgnoreResponse(response_id):
                    session.ignore_response(response_id)
                case act.Truncate(item_id, audio_end_ms):
                    record.cut_off(now, item_id, audio_end_ms)
                    if self.capabilities.client_truncates:
                        session.truncate(item_id, 0, audio_end_ms)
                case act.CallTool():
                    self.box.start(action)
                case act.RemoteToolCalled():
                    self.box.remote_called(action)
                case act.RemoteToolDone():
                    self.box.remote_done(action)
                case act.AnswerApproval(item_id, request_id, approve):
                    session.item_create(approval_item(item_id, request_id, approve))
                case act.HangUp(ending):
                    self.hang_up(ending)
                case act.EndAfterPlayback():
                    self.last_words.said()
                case act.CallGoesOn():
                    self.last_words.taken_back()
                case act.ToolOutput(item_id, call_id, output):
                    session.item_create(function_output_item(call_id, output, item_id))
                case act.StopListening():
                    session.session_update(NO_TURNS, required=False)
                case act.PlayPhrase(name):
                    self.announcer.say(name)
                case act.Fault(reason, message):
                    self.metrics.realtime_errors.labels(reason).inc()
                    log.warning("call=%s %s: %s", record.id, reason, message)
                    record.error(now, reason, message)
                case act.EndCall(error):
                    raise error


def ending_of(
    reasons: list[BaseException], record: CallRecord, metrics: Metrics, clock: Clock, *, answered: bool
) -> Ending:
    """How a conversation ended: as CallOver has it, else by the first error; a bug of ours is logged as one."""
    for reason in reasons:
        if isinstance(reason, CallOver):
            return reason.ending
    error = next((reason for reason in reasons if isinstance(reason, SipuaError)), None)
    if error is None:
        log.error("call=%s failed by a bug", record.id, exc_info=reasons[0])
        return Ending(Status.FAILED, "internal_error", type(reasons[0]).__name__, 500)
    ending = ending_of_error(error, answered=answered)
    if isinstance(error, RealtimeRefused) and error.is_recorded:
        return ending
    if is_voice_failure(error):
        metrics.realtime_errors.labels(error.reason).inc()
    log.error("call=%s ended by %s: %s", record.id, ending.reason, ending.detail)
    record.error(clock.now(), ending.reason, ending.detail)
    return ending


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions of a group and of the groups in it."""
    found: list[BaseException] = []
    for each in group.exceptions:
        found += leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found
