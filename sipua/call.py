"""One inbound call is one coroutine, readable from top to bottom: ring, open the voice session, answer, talk, end.

``answer_call`` opens the call's record and closes it on every way out. Inside, one task group holds what runs side by
side; whoever finds that the call is over raises ``CallOver`` (or a SipuaError), which cancels the rest. The caller
gets a final response before the answer and a BYE after it; RTP is drained and the ports are given back last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from rtp.codec import codec_by_name
from rtp.pacer import Pacer
from rtp.ports import PortAllocator
from sipua import conversation as talk
from sipua.audio import Bridge, bridge_for
from sipua.call_state import CallState, Phase
from sipua.conversation import Conversation
from sipua.errors import LocalError, MediaTimeout, RealtimeClosed, RealtimeUnreachable, SipuaError
from sipua.media import MediaLeg
from sipua.metrics import Metrics
from sipua.outcome import (
    MAX_DURATION,
    SHUTDOWN,
    SHUTDOWN_RINGING,
    Ending,
    Status,
    ending_of_disconnect,
    ending_of_error,
    is_voice_failure,
)
from sipua.ports import CallRecord, Clock, SessionOpening, SipLegs
from sipua.realtime.backend import VoiceBackend, VoiceSession
from sipua.realtime.config import AudioFormat, SessionConfig
from sipua.realtime.events import AudioDelta
from sipua.sip_events import IncomingCall, LegChanged, LegEvent, LegState, MediaChanged

log = logging.getLogger(__name__)

WATCH_INTERVAL_S = 0.5  # how often the media time-out and the live counters are looked at
OPEN_GRACE_S = 0.25  # the backend keeps the time itself and says what it waited for; this is the backstop
HANG_UP_TIMEOUT_S = 3.0
RETRY_AFTER = ("Retry-After", "5")


class CallOver(Exception):
    """Ends the call's task group."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


class Legs(SipLegs, Protocol):
    """The SIP side, as the calls and the switchboard need it."""

    async def settle(self) -> None:
        """Returns once everything that was decided before has been delivered."""


@dataclass(frozen=True, slots=True)
class CallServices:
    """What every call of the process shares."""

    legs: Legs
    backend: VoiceBackend
    pacer: Pacer
    ports: PortAllocator
    metrics: Metrics
    clock: Clock
    session_config: Callable[[AudioFormat], SessionConfig]
    greeting: str
    audio: str  # "match" or "pcm24"
    open_timeout_s: float


class InboundCall:
    """The state of one call; ``events`` is fed by the composition root with what the SIP thread reports."""

    def __init__(self, invite: IncomingCall, record: CallRecord, services: CallServices) -> None:
        self.key: UUID = invite.key
        self.record = record
        self.state = CallState()
        self._invite = invite
        self._services = services
        self._events: asyncio.Queue[LegEvent] = asyncio.Queue()  # a leg has a handful of events in its life
        self._leg_ended: Ending | None = None  # what the SIP layer said when the leg was gone
        self._is_accepted = False  # the 200 has gone out; the coroutine may hear of it after a quick BYE
        self._hung_up = False  # by us: what the SIP layer says afterwards is the consequence
        self._direction = "sendrecv"  # ours, as last negotiated
        self._stop: Ending | None = None
        self._task: asyncio.Task[None] | None = None
        self._codec = codec_by_name(invite.grant.codec)
        self._media = MediaLeg(invite.grant.sockets, services.ports, services.pacer, self._codec)

    # ---- from outside ------------------------------------------------------------------------------------

    def deliver(self, event: LegEvent) -> None:
        """What the SIP thread reports about this leg."""
        self._events.put_nowait(event)

    def stop(self) -> None:
        """The process ends: the caller gets 503 or BYE. A call that has not begun to run ends when it does."""
        if self._stop is None:
            self._stop = SHUTDOWN if self.state.answered else SHUTDOWN_RINGING
            if self._task is not None:
                self._task.cancel()

    # ---- the call ----------------------------------------------------------------------------------------

    async def run(self) -> Ending:
        """The whole life of the call; returns how it ended. Never raises but for a bug of ours."""
        self._task = asyncio.current_task()
        services = self._services
        services.metrics.calls_active.inc()
        ending = Ending(Status.FAILED, "internal_error", sip_code=500)
        try:
            ending = self._stop or await self._life()
        except asyncio.CancelledError:
            if self._stop is None:
                raise
            ending = self._stop
        finally:
            await _to_the_end(self._close(ending))
        return ending

    async def _life(self) -> Ending:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch_leg(), name="leg")
                await self._ring_and_talk()
        except BaseExceptionGroup as group:
            return self._ending_of(_leaves(group))
        raise AssertionError("a call's task group ends only by an exception")

    async def _ring_and_talk(self) -> None:
        services = self._services
        if self.state.phase is Phase.INCOMING:
            self._move(Phase.RINGING)
        self.record.ringing(services.clock.now())
        format, bridge = bridge_for(self._codec, services.audio)
        async with self._voice_session(format, bridge) as session:
            self._move(Phase.ANSWERING)
            await services.legs.answer(self.key)  # the ACK is not waited for: the caller listens already
            answered = services.clock.now()
            self._move(Phase.TALKING)
            self._follow_hold()  # the offer may have been a held one
            self.record.answered(answered, self._codec.name)
            services.metrics.setup_seconds.observe(answered.monotonic - self._invite.received_at)
            conversation = Conversation(self._media.playout, greeting=services.greeting)
            self._media.start(
                on_audio=self._uplink(session, bridge),
                on_first_packet=lambda at: self._first_audio(at - answered.monotonic),
            )
            async with self._leg(), asyncio.TaskGroup() as group:
                group.create_task(self._watch_media(), name="media")
                group.create_task(self._end_after(self._invite.grant.trunk.max_call_s), name="limit")
                await self._converse(session, conversation)

    @contextlib.asynccontextmanager
    async def _leg(self) -> AsyncIterator[None]:
        """The answered leg: its BYE does not wait until the voice session has closed, which can take seconds."""
        try:
            yield
        finally:
            await self._hang_up(0)

    @contextlib.asynccontextmanager
    async def _voice_session(self, format: AudioFormat, bridge: Bridge) -> AsyncIterator[VoiceSession]:
        """Opened while it rings; its rows are closed however it ends."""
        services = self._services
        playout = self._media.playout

        def to_phone(delta: AudioDelta) -> None:
            playout.append(delta.item_id, bridge.to_phone(delta.item_id, delta.audio))

        try:
            async with asyncio.timeout(services.open_timeout_s + OPEN_GRACE_S):
                session = await services.backend.open(services.session_config(format), on_audio=to_phone)
        except TimeoutError:
            raise RealtimeUnreachable(
                f"{services.backend.name}: the voice session was not ready within {services.open_timeout_s:g} s"
            ) from None
        failed = True
        try:
            model = str(session.echoed.get("model") or session.config.model)
            opening = SessionOpening(session.session_id, model, session.echoed)
            self.record.session_opened(services.clock.now(), opening)
            yield session
            failed = False
        except BaseExceptionGroup as group:
            failed = any(isinstance(e, SipuaError) and is_voice_failure(e) for e in _leaves(group))
            raise
        except SipuaError as error:
            failed = is_voice_failure(error)
            raise
        except (CallOver, asyncio.CancelledError):
            failed = False
            raise
        finally:
            try:
                self.record.session_ended(services.clock.now(), failed=failed)
            finally:
                await session.close()

    def _uplink(self, session: VoiceSession, bridge: Bridge) -> Callable[[bytes], None]:
        state = self.state

        def forward(payload: bytes) -> None:
            if state.phase is Phase.TALKING:  # hold music is not the caller
                session.append(bridge.to_service(payload))

        return forward

    async def _converse(self, session: VoiceSession, conversation: Conversation) -> None:
        self._perform(conversation.begin(), session)
        async for event in session.events():
            self._perform(conversation.on_event(event, self._services.clock.now()), session)
        raise RealtimeClosed("the voice session ended")

    def _perform(self, actions: list[talk.Action], session: VoiceSession) -> None:
        record, now = self.record, self._services.clock.now()
        for action in actions:
            match action:
                case talk.Logged(type, payload):
                    record.service_event(now, type, payload)
                case talk.SpokenDelta(role, item_id, text):
                    record.transcript_delta(role, item_id, text)
                case talk.Spoken(segment, lang):
                    record.transcript(segment, lang)
                case talk.CreateResponse(instructions):
                    session.response_create(instructions)
                case talk.IgnoreResponse(response_id):
                    session.ignore_response(response_id)
                case talk.Truncate(item_id, audio_end_ms):
                    session.truncate(item_id, 0, audio_end_ms)
                case talk.ToolOutput(call_id, output):
                    session.function_call_output(call_id, output)
                case talk.Fault(reason, message):
                    self._services.metrics.realtime_errors.labels(reason).inc()
                    log.warning("call=%s %s: %s", self.key, reason, message)
                    record.error(now, reason, message)
                case talk.EndCall(error):
                    raise error

    async def _watch_leg(self) -> None:
        """Turns what the SIP thread reports into states of the call; raises CallOver when the leg is gone."""
        while True:
            self._on_leg_event(await self._events.get())
            if self._leg_ended is not None:
                raise CallOver(self._leg_ended)

    def _on_leg_event(self, event: LegEvent) -> None:
        match event:
            case LegChanged(state=LegState.DISCONNECTED, code=code, phrase=phrase) if not self._hung_up:
                answered = self.state.answered or self._is_accepted
                self._leg_ended = ending_of_disconnect(answered=answered, code=code, phrase=phrase)
            case LegChanged(state=LegState.CONNECTING | LegState.CONFIRMED):
                self._is_accepted = True
            case MediaChanged(media=media) if media is not None:
                self._media.configure(media)
                self._direction = media.direction
                self._follow_hold()
            case _:
                pass

    def _catch_up(self) -> None:
        """What has been reported but not read yet."""
        while self._leg_ended is None and not self._events.empty():
            self._on_leg_event(self._events.get_nowait())

    def _follow_hold(self) -> None:
        if self._direction == "sendrecv" and self.state.phase is Phase.HELD:
            self._move(Phase.TALKING)
        elif self._direction != "sendrecv" and self.state.phase is Phase.TALKING:
            self._move(Phase.HELD)

    async def _watch_media(self) -> None:
        timeout_s = self._invite.grant.trunk.rtp_timeout_s
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            self.record.rtp(self._media.counters())
            if self._media.broken is not None:
                raise LocalError(f"the call's media leg failed: {self._media.broken}")
            if self._media.is_timed_out(self._services.clock.now().monotonic, timeout_s):
                raise MediaTimeout(f"no RTP from the caller for {timeout_s:g} s")

    async def _end_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        raise CallOver(MAX_DURATION)

    def _first_audio(self, seconds: float) -> None:
        self._services.metrics.first_audio_seconds.observe(seconds)
        self.record.first_audio(self._services.clock.now(), seconds)

    def _ending_of(self, reasons: list[BaseException]) -> Ending:
        """How the call ended: by the leg if it is gone, else by the first error; a bug of ours is logged as one.

        A caller's CANCEL or BYE can cross what we were about to do with the leg: then our error is its
        consequence, and the leg's end is still in the queue.
        """
        self._catch_up()
        if self._leg_ended is not None:
            return self._leg_ended
        for reason in reasons:
            if isinstance(reason, CallOver):
                return reason.ending
        error = next((reason for reason in reasons if isinstance(reason, SipuaError)), None)
        if error is None:
            log.error("call=%s failed by a bug", self.key, exc_info=reasons[0])
            return Ending(Status.FAILED, "internal_error", type(reasons[0]).__name__, 500)
        ending = ending_of_error(error, answered=self.state.answered)
        if is_voice_failure(error):
            self._services.metrics.realtime_errors.labels(error.reason).inc()
        log.error("call=%s ended by %s: %s", self.key, ending.reason, ending.detail)
        self.record.error(self._services.clock.now(), ending.reason, ending.detail)
        return ending

    def _move(self, phase: Phase) -> None:
        self.state.to(phase)
        self.record.phase(phase.value)

    async def _close(self, ending: Ending) -> None:
        """Hangs up, closes the media and the row; bounded."""
        services = self._services
        answered = self.state.answered
        await self._hang_up(0 if answered else (ending.sip_code or 500))
        counters = self._media.counters()
        self._media.close()
        self._move(Phase.ENDED)
        self.record.ended(services.clock.now(), ending, counters)
        services.metrics.calls_active.dec()
        self._count(counters)
        trunk = self._invite.grant.trunk.name
        services.metrics.calls.labels("inbound", trunk, ending.status.value, ending.reason).inc()

    async def _hang_up(self, code: int) -> None:
        """Final response or BYE, once and unless the leg is gone; bounded."""
        self._catch_up()
        if self._hung_up or self._leg_ended is not None:
            return
        self._hung_up = True
        headers = (RETRY_AFTER,) if code == 503 else ()
        with contextlib.suppress(TimeoutError, SipuaError):
            async with asyncio.timeout(HANG_UP_TIMEOUT_S):
                await self._services.legs.hang_up(self.key, code, headers=headers)

    def _count(self, counters: Mapping[str, float]) -> None:
        metrics = self._services.metrics
        metrics.rtp_packets.labels("sent").inc(counters["sent"])
        metrics.rtp_packets.labels("received").inc(counters["received"])
        metrics.rtp_lost.inc(max(0.0, counters["lost"]))  # duplicates can make it negative (RFC 3550 A.3)
        for kind, count in self._media.dropped().items():
            metrics.rtp_dropped.labels(kind).inc(count)


async def _to_the_end(closing: Coroutine[Any, Any, None]) -> None:
    """Awaits it whatever happens to us meanwhile: a row that is not closed would stay open for ever."""
    task = asyncio.ensure_future(closing)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for each in group.exceptions:
        found += _leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found
