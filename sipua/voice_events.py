"""What the sessions of one call say, in order, for its one reader. Bounded: a reader so far behind hangs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from sipua.realtime import events as ev
from sipua.realtime.outbox import QueueFullError

EVENTS_MAX = 4096
IGNORED_MAX = 64


class VoiceEvents:
    """Audio waits only behind events that are not read yet: one of them may silence what is being said, but not this.

    ``play`` gets it when it is its turn, unless its response is not wanted any more.
    """

    def __init__(self, play: Callable[[ev.AudioDelta], None]) -> None:
        self._play = play
        self._queue: asyncio.Queue[ev.Event | BaseException | None] = asyncio.Queue(EVENTS_MAX)
        self._ignored: deque[str] = deque(maxlen=IGNORED_MAX)

    def put(self, event: ev.Event) -> None:
        if isinstance(event, ev.AudioDelta) and self._queue.empty():
            self._play(event)
            return
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            raise QueueFullError(f"{EVENTS_MAX} events wait for a consumer: queue full") from None

    def ignore(self, response_id: str) -> None:
        """Audio of it that waits is not played."""
        self._ignored.append(response_id)

    def end_with(self, error: BaseException | None) -> None:
        """The last that is read, also by a reader for whom nothing else has room; None: no error."""
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(error)

    async def read(self) -> AsyncIterator[ev.Event]:
        """Raises what they ended with."""
        while (event := await self._queue.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            if not isinstance(event, ev.AudioDelta):
                yield event
            elif event.response_id in self._ignored:
                yield ev.LateAudio(event.response_id, event.item_id)
            else:
                self._play(event)
