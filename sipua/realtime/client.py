"""One live session with the voice service: the protocol core on a WebSocket. The core decides.

Theory. Exactly one task receives and one sends (`sender`). The receive task parses and delivers, and does
nothing that can take long, because a consumer that stalls kills its own connection (keepalive).

Ordering: `events` yields everything in the order of arrival. With ``on_audio`` set, `AudioDelta`s go there
instead, synchronously from the receive task. A delta that comes while earlier events wait for the iterator waits with
them and goes to ``on_audio`` in its turn: in a burst after a stall of the network, the answer must not be queued for
the caller before the speech that it answers has cut off what was said before.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from sipua.errors import RealtimeClosed, RealtimeTooSlow, RealtimeUnreachable, SipuaError
from sipua.realtime import connect
from sipua.realtime.config import SessionConfig
from sipua.realtime.counters import Counters
from sipua.realtime.endpoint import Endpoint
from sipua.realtime.events import AudioDelta, Event
from sipua.realtime.outbox import Outbox, QueueFullError
from sipua.realtime.protocol import RealtimeProtocol, State
from sipua.realtime.sender import Sender

OPEN_TIMEOUT_S = 4.0  # connecting and configuring together
SEND_TIMEOUT_S = 10.0  # a peer that takes nothing for so long is gone
EVENTS_MAX = 4096  # several minutes of a busy conversation: a consumer that far behind hangs

logger = logging.getLogger(__name__)


class RealtimeSession:
    """``await open()``, then `append` audio and iterate `events`; `close` at the end. Not reusable.

    The requests send at once or are queued, and give the event_id by which a `ServiceError` would name them.
    They raise RealtimeClosed when the session is over and QueueFullError when the peer takes nothing.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        config: SessionConfig,
        *,
        on_audio: Callable[[AudioDelta], None] | None = None,
        open_timeout_s: float = OPEN_TIMEOUT_S,
        send_timeout_s: float = SEND_TIMEOUT_S,
        events_max: int = EVENTS_MAX,
        outbox: Outbox | None = None,
        joins: bool = False,
    ) -> None:
        """``joins``: as `RealtimeProtocol` has it."""
        self.on_audio = on_audio
        self._host = endpoint.host
        self._endpoint = endpoint
        self._joins = joins
        self._core = RealtimeProtocol(config, peer=endpoint.host, joins=joins)
        self._open_timeout_s = open_timeout_s
        self._send_timeout_s = send_timeout_s
        self._outbox = outbox if outbox is not None else Outbox()
        self._ws: ClientConnection | None = None
        self._sender: Sender | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._events: deque[Event] = deque()
        self._events_max = events_max
        self._events_wake = asyncio.Event()
        self._failure: BaseException | None = None
        self._is_ended = False
        self._is_closing = False
        self._closed = asyncio.Event()

    @property
    def config(self) -> SessionConfig:
        """As it was accepted: a refused hint is not in it."""
        return self._core.config

    @property
    def session_id(self) -> str:
        return self._core.session_id

    @property
    def echoed(self) -> Mapping[str, Any]:
        """The effective configuration as the service last told it."""
        return self._core.echoed

    @property
    def counters(self) -> Counters:
        return self._core.counters

    @property
    def active_response_id(self) -> str | None:
        return self._core.active_response_id

    # life

    async def open(self) -> None:
        """Connect, configure, and return when the echo is what we asked for.

        Raises RealtimeUnreachable, RealtimeRefused, RealtimeRejectedConfig or RealtimeClosed, and then
        leaves nothing open.
        """
        deadline = asyncio.get_running_loop().time() + self._open_timeout_s
        self._ws = ws = await connect.connect(self._endpoint, self._open_timeout_s)
        try:
            async with asyncio.timeout_at(deadline):
                await self._configure(ws)
        except BaseException as exc:  # whatever it is, also our caller hanging up: nothing stays open
            self._is_closing = True
            await self._finish(ws)
            if isinstance(exc, TimeoutError):
                raise self._unconfigured() from exc
            if isinstance(exc, ConnectionClosed):
                raise connect.closed_while_opening(self._host, exc, self._core.last_error_code) from exc
            raise
        self._sender = Sender(
            ws, self.counters, self._outbox, host=self._host, timeout_s=self._send_timeout_s
        )
        self._tasks = [
            asyncio.create_task(self._receive_loop(ws), name="realtime-receive"),
            asyncio.create_task(self._send_loop(self._sender, ws), name="realtime-send"),
        ]
        self._tasks[0].add_done_callback(self._receive_ended)
        logger.info("session %s open at %s", self.session_id, self._host)

    async def _configure(self, ws: ClientConnection) -> None:
        while self._core.state is not State.READY:
            if self._core.state is State.CREATED:  # for the first time, or because a hint was refused
                _, data = self._core.session_update({} if self._joins else None)
                await ws.send(data, text=True)
                self.counters.bytes_sent += len(data)
                self.counters.controls_sent += 1
            self._deliver(self._core.receive(await ws.recv(decode=False)))

    def _unconfigured(self) -> RealtimeUnreachable:
        waited_for = "session.created" if not self.session_id else "session.updated"
        return RealtimeUnreachable(
            f"{self._host}: no {waited_for} within {self._open_timeout_s:g} s; "
            "check that OPENAI_BASE_URL is a GA Realtime service"
        )

    async def close(self) -> None:
        """End the session and its tasks; idempotent, bounded by the closing time-out."""
        if self._is_closing:
            await self._closed.wait()
            return
        self._is_closing = True
        try:
            if self._ws is not None:
                await connect.say_goodbye(self._ws)
        finally:
            await self._finish(self._ws)

    async def _finish(self, ws: ClientConnection | None) -> None:
        self._end(None)
        if ws is not None:
            ws.transport.abort()  # of no effect after an orderly close
        for task in self._tasks:
            task.cancel()
        # how a task failed stands in _failure by now; here they only have to be over
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if ws is not None:
            await ws.wait_closed()
        self._closed.set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # received

    async def events(self) -> AsyncIterator[Event]:
        """All events in order, until we close the session; raises what ended it otherwise.

        For one consumer. What arrived before the end is yielded before the error is raised.
        """
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, AudioDelta):
                    event = self._core.by_now(event)
                if self.on_audio is not None and isinstance(event, AudioDelta):
                    self.on_audio(event)
                else:
                    yield event
            if self._is_ended:
                if self._failure is not None:
                    raise self._failure
                return
            self._events_wake.clear()
            await self._events_wake.wait()

    async def _receive_loop(self, ws: ClientConnection) -> None:
        try:
            while True:
                self._deliver(self._core.receive(await ws.recv(decode=False)))
        except ConnectionClosed as exc:
            closed = connect.closed_error(self._host, exc, self._core.last_error_code)
            self._end(None if self._is_closing else closed)
        except SipuaError as exc:  # the core ended the session, or our consumer hangs
            self._end(exc)
            await connect.say_goodbye(ws)

    async def _send_loop(self, sender: Sender, ws: ClientConnection) -> None:
        try:
            await sender.run()
        except RealtimeClosed as exc:
            self._end(exc)
            ws.transport.abort()

    def _receive_ended(self, task: asyncio.Task[None]) -> None:
        """A bug in ``on_audio`` must reach the consumer, not vanish with the task."""
        self._end(None if task.cancelled() else task.exception())
        if self._ws is not None:
            self._ws.transport.abort()

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            if self.on_audio is not None and isinstance(event, AudioDelta) and not self._events:
                self.on_audio(event)
                continue
            if len(self._events) >= self._events_max:
                self.counters.event_queue_overflows += 1
                raise QueueFullError(
                    f"{self._host}: {self._events_max} events wait for a consumer: queue full"
                )
            self._events.append(event)
            self._events_wake.set()

    def _end(self, failure: BaseException | None) -> None:
        """The session is over; the first reason counts. Tasks and the iterator take notice."""
        if self._is_ended:
            return
        self._is_ended = True
        self._failure = failure
        self._core.closed()
        if self._sender is not None:
            self._sender.stop()
        self._events_wake.set()

    # requests

    def append(self, audio: bytes) -> None:
        """Send the caller's audio. Never blocks or raises: a service that is seconds behind ends the session."""
        sender = self._open_sender()
        if sender is None:
            self.counters.appends_dropped += 1
        elif audio:
            try:
                sender.append(self._core.append(audio)[1])
            except QueueFullError as exc:
                self.counters.appends_dropped += 1
                self._end(RealtimeTooSlow(f"{self._host}: {exc}: connection given up"))
                assert self._ws is not None, "there is a sender"
                self._ws.transport.abort()

    def commit(self) -> str:
        return self._send(self._ready.commit())

    def clear(self) -> str:
        return self._send(self._ready.clear())

    def response_create(
        self, instructions: str | None = None, *, options: Mapping[str, Any] | None = None
    ) -> str:
        return self._send(self._ready.response_create(instructions, options=options))

    def response_cancel(self, response_id: str | None = None) -> str | None:
        """Cancel a running response and drop its late audio; None (and nothing sent) if none is running."""
        sent = self._ready.response_cancel(response_id)
        return None if sent is None else self._send(sent)

    def ignore_response(self, response_id: str) -> None:
        """Drop the late audio of a response that was interrupted; sends nothing."""
        self._core.ignore_response(response_id)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> str:
        return self._send(self._ready.truncate(item_id, content_index, audio_end_ms))

    def item_create(self, item: Mapping[str, Any], previous_item_id: str | None = None) -> str:
        return self._send(self._ready.item_create(item, previous_item_id))

    def item_delete(self, item_id: str) -> str:
        return self._send(self._ready.item_delete(item_id))

    def function_call_output(self, call_id: str, output: str) -> str:
        return self._send(self._ready.function_call_output(call_id, output))

    def session_update(self, changes: Mapping[str, Any], *, required: bool = False) -> str:
        """Change the running session; see `RealtimeProtocol.session_update`."""
        return self._send(self._ready.session_update(changes, required=required))

    def _open_sender(self) -> Sender | None:
        return None if self._is_ended or self._is_closing else self._sender

    @property
    def _ready(self) -> RealtimeProtocol:
        if self._open_sender() is None:
            raise RealtimeClosed(f"{self._host}: the session is not open")
        return self._core

    def _send(self, sent: tuple[str, bytes]) -> str:
        event_id, data = sent
        sender = self._open_sender()
        assert sender is not None, "_ready was asked before"
        sender.control(data)
        return event_id
