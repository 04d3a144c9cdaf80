"""The sessions behind a ``sipua.voice_link``: each has a number, is opened, read by a task of its own, and closed.

What they say, and that one is gone, is told to the link; what is to follow is not decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Protocol

from sipua.errors import RealtimeClosed, RealtimeError, RealtimeUnreachable, SipuaError
from sipua.realtime.backend import VoiceBackend, VoiceSession
from sipua.realtime.config import SessionConfig
from sipua.realtime.continuity import Rules
from sipua.realtime.events import AudioDelta, Event

OPEN_GRACE_S = 0.25  # the backend keeps the time itself and says what it waited for; this is the backstop


class Observer(Protocol):
    """Who wants to know: the ledger, the metrics, the caller's ear."""

    def opened(self, session: VoiceSession, why: str, connect_s: float) -> None:
        """``why``: first, rotation or reconnect."""

    def ended(self, session: VoiceSession, *, failed: bool) -> None: ...
    def fault(self, error: RealtimeError) -> None: ...
    def outage(self, seconds: float) -> None: ...
    def answered(self, item_id: str, seconds: float) -> None:
        """The first sound of what follows the caller's words, so long after the service took them to be over."""

    def comfort(self) -> None:
        """The caller hears silence, as there is no session."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``configure`` gives what a session is asked to be, as of now."""

    configure: Callable[[], SessionConfig]
    open_timeout_s: float
    rules: Rules
    chance: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom they tell. A session that is ``gone`` is none of them any more."""

    audio: Callable[[int, AudioDelta], None]
    event: Callable[[int, Event], None]
    gone: Callable[[int, VoiceSession, RealtimeError], None]
    bug: Callable[[BaseException], None]


class VoiceSessions:
    """Those that are open, by number. ``close`` at the end."""

    def __init__(self, backend: VoiceBackend, plan: Plan, observer: Observer, listener: Listener) -> None:
        self._backend = backend
        self._plan = plan
        self._observer = observer
        self._listener = listener
        self._sessions: dict[int, VoiceSession] = {}
        self._asked: dict[int, SessionConfig] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def get(self, number: int) -> VoiceSession | None:
        return self._sessions.get(number)

    def asked(self, number: int) -> SessionConfig:
        """What the latest of them was asked to be."""
        return self._asked[number]

    async def open(self, number: int, why: str) -> VoiceSession:
        """Errors as ``RealtimeSession.open``. Nobody reads it until ``follow``."""
        timeout_s, asked = self._plan.open_timeout_s, self._plan.configure()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(timeout_s + OPEN_GRACE_S):
                session = await self._backend.open(
                    asked, on_audio=lambda delta: self._listener.audio(number, delta)
                )
        except TimeoutError:
            raise RealtimeUnreachable(
                f"{self._backend.name}: the voice session was not ready within {timeout_s:g} s"
            ) from None
        self._sessions[number], self._asked = session, {number: asked}
        self._observer.opened(session, why, loop.time() - began)
        return session

    def follow(self, number: int) -> None:
        """From now on its events are told."""
        self.start(self._read(number, self._sessions[number]))

    def retire(self, number: int) -> None:
        """It is not needed any more."""
        session = self._sessions.pop(number, None)
        if session is not None:
            self._observer.ended(session, failed=False)
            self.start(session.close())

    def drop(self, number: int, error: RealtimeError) -> None:
        """It is as good as gone."""
        session = self._sessions.pop(number, None)
        if session is not None:
            self._listener.gone(number, session, error)
            self.start(session.close())

    async def close(self, failed: int | None = None) -> None:
        """All of them, and their tasks. ``failed``: the one of which its row is to say so."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        sessions, self._sessions = self._sessions, {}
        for number, session in sessions.items():
            self._observer.ended(session, failed=number == failed)
        await asyncio.gather(*(session.close() for session in sessions.values()))

    def start(self, coroutine: Coroutine[None, None, None]) -> None:
        """A task that ends with the sessions at the latest; a bug in it is told."""
        task = asyncio.create_task(coroutine, name="voice-link")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def _read(self, number: int, session: VoiceSession) -> None:
        error: RealtimeError
        try:
            async for event in session.events():
                self._listener.event(number, event)
            error = RealtimeClosed("the voice session ended")
        except RealtimeError as failure:
            error = failure
        except SipuaError as failure:  # a queue of ours is full
            error = RealtimeClosed(str(failure))
        if self._sessions.pop(number, None) is not None and not self._is_closed:
            self._listener.gone(number, session, error)
        await session.close()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._is_closed:
            self._listener.bug(error)
