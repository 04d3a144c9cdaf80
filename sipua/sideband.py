"""The voice session of a call that OpenAI's SIP terminates, as the conversation sees it: events and commands, no sound.

The call lives on at the service when the connection is lost, and so does its session: it is joined again, with pauses,
and nothing is told twice. What was to be sent meanwhile is sent then. A response that ran at the loss and whose end is
not heard of soon after is taken to be over, as nobody will say so. The service closing it, or saying that there is no
such call, is the end of the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from sipua.call_leg import CallOver
from sipua.errors import RealtimeClosed, RealtimeError, RealtimeTooSlow
from sipua.outcome import CALLER_HUNG_UP, MAX_DURATION, Ending
from sipua.ports import Clock
from sipua.realtime import events as ev
from sipua.realtime.backend import VoiceSession
from sipua.realtime.commands import function_output_item
from sipua.realtime.config import SessionConfig
from sipua.realtime.counters import Counters
from sipua.realtime.outbox import QueueFullError
from sipua.sideband_speech import TurnLatency
from sipua.voice_events import VoiceEvents
from sipua.voice_sessions import Observer

log = logging.getLogger(__name__)

PAUSE_S, PAUSE_MAX_S = 0.25, 4.0  # between tries, doubled; a fifth of chance in it
FIRST_S = 3.0  # so long after the accept the session may not be known yet everywhere
SILENT_S = 10.0  # after the loss: a response of which nothing was heard is over
WAITING_MAX = 64  # commands that wait for the connection
DONE_MAX = 64  # responses whose end is known
NORMAL = 1000  # of a WebSocket that is closed because all is said
EXPIRED = "session_expired"

Join = Callable[[], Awaitable[VoiceSession]]
Command = Callable[[VoiceSession], str]


def ending_of_close(error: RealtimeError, hung_up: Ending = CALLER_HUNG_UP) -> Ending | None:
    """How the call has ended, if the way its connection was closed says so."""
    if error.http_status == 404:
        return hung_up
    if not isinstance(error, RealtimeClosed):
        return None
    if error.code == EXPIRED:
        return MAX_DURATION
    return hung_up if error.close_code == NORMAL else None


class Sideband:
    """A ``VoiceSession``. ``await open()`` first, ``close`` at the end; ``seen`` gets each event as it comes."""

    def __init__(
        self,
        join: Join,
        observer: Observer,
        clock: Clock,
        rejoin_s: float,
        chance: Callable[[], float],
        seen: Callable[[ev.Event], None],
    ) -> None:
        self.on_audio: Callable[[ev.AudioDelta], None] | None = None
        self.hung_up = CALLER_HUNG_UP  # how the call has ended when the service says that it is over
        self.is_over = False  # it has said so
        self._join = join
        self._observer = observer
        self._clock = clock
        self._rejoin_s = rejoin_s
        self._chance = chance
        self._seen = seen
        self._events = VoiceEvents(lambda delta: None)
        self._session: VoiceSession
        self._is_lost = False
        self._waiting: deque[Command] = deque()
        self._running: OrderedDict[str, None] = OrderedDict()
        self._done: deque[str] = deque(maxlen=DONE_MAX)
        self._latency = TurnLatency()
        self._reader: asyncio.Task[None] | None = None
        self._silence: asyncio.TimerHandle | None = None

    # life

    async def open(self) -> None:
        """CallOver if the call is gone, RealtimeError if its session cannot be joined."""
        began = self._clock.now().monotonic
        self._session = await self._joined(max(FIRST_S, self._rejoin_s), patience_s=FIRST_S)
        self._observer.opened(self._session, "first", self._clock.now().monotonic - began)
        self._reader = asyncio.create_task(self._read(), name="sideband")

    async def close(self, *, failed: bool = False) -> None:
        reader, self._reader = self._reader, None
        if reader is None:
            return
        if self._silence is not None:
            self._silence.cancel()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        self._observer.ended(self._session, failed=failed)
        await self._session.close()
        self._events.end_with(None)

    def events(self) -> AsyncIterator[ev.Event]:
        """Raises CallOver when the call has ended, RealtimeError when it cannot be followed any more."""
        return self._events.read()

    async def _read(self) -> None:
        try:
            while True:
                try:
                    async for event in self._session.events():
                        self._heard(event)
                    raise RealtimeClosed("the sideband ended")
                except QueueFullError as error:  # the conversation hangs
                    raise RealtimeTooSlow(str(error)) from None
                except RealtimeError as error:
                    await self._lost(error)
        except (RealtimeError, CallOver) as end:
            self.is_over = isinstance(end, CallOver)
            self._events.end_with(end)
        except Exception as bug:
            self._events.end_with(bug)
            raise

    async def _lost(self, error: RealtimeError) -> None:
        """Joins again. Raises CallOver if that was the end of the call, ``error`` if it cannot be joined."""
        ending = ending_of_close(error, self.hung_up)
        if ending is not None:
            raise CallOver(ending)
        if not error.retryable:
            raise error
        self._is_lost, lost_at = True, self._clock.now().monotonic
        self._observer.fault(error)
        await self._session.close()
        self._session = await self._joined(self._rejoin_s, patience_s=0.0)
        self._is_lost = False
        self._observer.outage(self._clock.now().monotonic - lost_at)
        log.info("session %s joined again", self._session.session_id)
        waiting, self._waiting = self._waiting, deque()
        for command in waiting:
            self._tell(command)
        if self._running:
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(SILENT_S, self._give_up, tuple(self._running))

    async def _joined(self, within_s: float, *, patience_s: float) -> VoiceSession:
        """``patience_s``: so long "no such call" is not believed."""
        began, pause_s = self._clock.now().monotonic, PAUSE_S
        while True:
            try:
                return await self._join()
            except RealtimeError as error:
                passed_s = self._clock.now().monotonic - began
                is_early = error.http_status == 404 and passed_s < patience_s
                if not is_early and (ending := ending_of_close(error, self.hung_up)) is not None:
                    raise CallOver(ending) from None
                if not (error.retryable or is_early) or passed_s + pause_s > within_s:
                    raise
                log.warning("sideband: %s", error)
            await asyncio.sleep(pause_s * (0.9 + 0.2 * self._chance()))
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    # what it says

    def _heard(self, event: ev.Event) -> None:
        match event:
            case ev.AudioDelta() | ev.LateAudio():
                return  # it is played by the service
            case ev.ServiceError(code=code) if code == EXPIRED:
                raise CallOver(MAX_DURATION)  # its close follows
            case ev.ResponseCreated():
                self._running[event.response_id] = None
            case ev.ResponseDone():
                if event.response_id in self._done:
                    return
                self._over(event.response_id)
        if turn := self._latency.on_event(event, self._clock.now().monotonic):
            self._observer.answered(*turn)
        self._seen(event)
        self._events.put(event)

    def _over(self, response_id: str) -> None:
        self._running.pop(response_id, None)
        self._done.append(response_id)

    def _give_up(self, responses: tuple[str, ...]) -> None:
        """They ran when the connection was lost, and their end was said to nobody."""
        for response_id in responses:
            if response_id in self._running:
                done = ev.ResponseDone(response_id, "cancelled", "connection_lost", None, None, None)
                with contextlib.suppress(QueueFullError):
                    self._heard(done)

    # what it is told

    @property
    def config(self) -> SessionConfig:
        return self._session.config

    @property
    def session_id(self) -> str:
        return self._session.session_id

    @property
    def echoed(self) -> Mapping[str, Any]:
        return self._session.echoed

    @property
    def counters(self) -> Counters:
        return self._session.counters

    @property
    def active_response_id(self) -> str | None:
        return next(reversed(self._running), None)

    def append(self, audio: bytes) -> None:
        raise AssertionError("the sound of this call is the service's")

    def commit(self) -> str:
        raise AssertionError("the sound of this call is the service's")

    def clear(self) -> str:
        raise AssertionError("the sound of this call is the service's")

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> str:
        return ""  # it knows itself what it has played

    def response_create(
        self, instructions: str | None = None, *, options: Mapping[str, Any] | None = None
    ) -> str:
        return self._tell(lambda session: session.response_create(instructions, options=options))

    def response_cancel(self, response_id: str | None = None) -> str | None:
        return self._tell(lambda session: session.response_cancel(response_id) or "") or None

    def ignore_response(self, response_id: str) -> None:
        """Its sound is not ours to drop."""

    def item_create(self, item: Mapping[str, Any], previous_item_id: str | None = None) -> str:
        return self._tell(lambda session: session.item_create(item, previous_item_id))

    def item_delete(self, item_id: str) -> str:
        return self._tell(lambda session: session.item_delete(item_id))

    def function_call_output(self, call_id: str, output: str) -> str:
        return self.item_create(function_output_item(call_id, output))

    def session_update(self, changes: Mapping[str, Any], *, required: bool = False) -> str:
        return self._tell(lambda session: session.session_update(changes, required=required))

    def _tell(self, command: Command) -> str:
        """ "" while there is no connection: it waits for the next one."""
        if not self._is_lost:
            try:
                return command(self._session)
            except RealtimeClosed:
                pass  # the reader is about to say so
            except QueueFullError as error:
                log.warning("sideband %s: %s", self._session.session_id, error)
        if len(self._waiting) < WAITING_MAX:
            self._waiting.append(command)
        return ""
