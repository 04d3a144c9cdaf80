"""The voice session of one call: opened while it rings, its rows closed however it ends, its events performed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from sipua import actions as act
from sipua.call_leg import CallOver
from sipua.conversation import Conversation
from sipua.errors import RealtimeClosed, RealtimeUnreachable, SipuaError
from sipua.keypad import Keypad
from sipua.metrics import Metrics
from sipua.outcome import is_voice_failure
from sipua.ports import CallRecord, Clock, SessionOpening
from sipua.realtime.backend import VoiceBackend, VoiceSession
from sipua.realtime.commands import system_text_item
from sipua.realtime.config import AudioFormat, SessionConfig
from sipua.realtime.events import AudioDelta

log = logging.getLogger(__name__)

OPEN_GRACE_S = 0.25  # the backend keeps the time itself and says what it waited for; this is the backstop


@dataclass(frozen=True, slots=True)
class VoiceService:
    """Where sessions come from, and what is asked of them."""

    backend: VoiceBackend
    session_config: Callable[[AudioFormat], SessionConfig]
    greeting: str
    audio: str  # "match" or "pcm24"
    open_timeout_s: float


@contextlib.asynccontextmanager
async def voice_session(
    service: VoiceService,
    format: AudioFormat,
    on_audio: Callable[[AudioDelta], None],
    record: CallRecord,
    clock: Clock,
) -> AsyncIterator[VoiceSession]:
    """A session that is ready. RealtimeUnreachable if it is not in time."""
    try:
        async with asyncio.timeout(service.open_timeout_s + OPEN_GRACE_S):
            session = await service.backend.open(service.session_config(format), on_audio=on_audio)
    except TimeoutError:
        raise RealtimeUnreachable(
            f"{service.backend.name}: the voice session was not ready within {service.open_timeout_s:g} s"
        ) from None
    failed = True
    try:
        model = str(session.echoed.get("model") or session.config.model)
        record.session_opened(clock.now(), SessionOpening(session.session_id, model, session.echoed))
        yield session
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
        try:
            record.session_ended(clock.now(), failed=failed)
        finally:
            await session.close()


async def converse(
    session: VoiceSession,
    conversation: Conversation,
    keypad: Keypad,
    record: CallRecord,
    metrics: Metrics,
    clock: Clock,
) -> None:
    """Until the session ends, which is an error: a call is ended by its leg."""
    performer = _Performer(session, record, metrics, clock)

    async def take_keys() -> None:
        async for news in keypad.news():
            performer.perform(conversation.on_keys(news, clock.now()))

    performer.perform(conversation.begin())
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(take_keys(), name="keys")
            async for event in session.events():
                performer.perform(conversation.on_event(event, clock.now()))
            raise RealtimeClosed("the voice session ended")
    finally:  # keys that were followed by the hang-up: for the ledger alone, also where no task has begun yet
        metrics.keys_dropped.inc(keypad.collector.dropped)
        for news in keypad.rest():
            performer.write_down(conversation.on_keys(news, clock.now()))


@dataclass(frozen=True, slots=True)
class _Performer:
    session: VoiceSession
    record: CallRecord
    metrics: Metrics
    clock: Clock

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
                    session.item_create(system_text_item(item_id, text))
                case act.IgnoreResponse(response_id):
                    session.ignore_response(response_id)
                case act.Truncate(item_id, audio_end_ms):
                    session.truncate(item_id, 0, audio_end_ms)
                case act.ToolOutput(call_id, output):
                    session.function_call_output(call_id, output)
                case act.Fault(reason, message):
                    self.metrics.realtime_errors.labels(reason).inc()
                    log.warning("call=%s %s: %s", record.id, reason, message)
                    record.error(now, reason, message)
                case act.EndCall(error):
                    raise error


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions of a group and of the groups in it."""
    found: list[BaseException] = []
    for each in group.exceptions:
        found += leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found
