"""A voice service that is watched: when a session was opened last, and why one was refused since."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sipua.errors import RealtimeError
from sipua.ports import Clock
from sipua.realtime.backend import Capabilities, VoiceBackend, VoiceSession
from sipua.realtime.config import SessionConfig
from sipua.realtime.events import AudioDelta


class WatchedBackend:
    """``sipua.realtime.backend.VoiceBackend``, and what became of the last session."""

    def __init__(self, backend: VoiceBackend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self.opened_at: datetime | None = None
        self.refused_at: datetime | None = None
        self.refused_why = ""

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def capabilities(self) -> Capabilities:
        return self._backend.capabilities

    async def open(
        self, config: SessionConfig, *, on_audio: Callable[[AudioDelta], None] | None = None
    ) -> VoiceSession:
        try:
            session = await self._backend.open(config, on_audio=on_audio)
        except RealtimeError as error:
            self.refused(error)
            raise
        self.opened()
        return session

    def opened(self) -> None:
        self.opened_at = self._clock.now().wall

    def refused(self, error: RealtimeError) -> None:
        """``reason`` and code: never what the service wrote."""
        self.refused_at = self._clock.now().wall
        self.refused_why = f"{error.reason}{f' ({error.code})' if error.code else ''}"

    def told(self) -> str:
        """``ok``, ``unknown`` before the first session, or why the last one was refused."""
        if self.refused_at is not None and (self.opened_at is None or self.opened_at < self.refused_at):
            return self.refused_why
        return "unknown" if self.opened_at is None else "ok"
