"""A deadline that moves: waits for it, and again for an earlier one that somebody set meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from sipua.ports import Clock, Moment


class Alarm:
    """Whoever may have brought ``deadline`` forward calls ``moved``; at each ring it has to move on."""

    def __init__(self, deadline: Callable[[], float | None], clock: Clock) -> None:
        self._deadline = deadline
        self._clock = clock
        self._armed: float | None = None
        self._wake = asyncio.Event()

    def moved(self) -> None:
        """A later deadline needs no waking: there will be nothing to do, and it is asked anew."""
        deadline = self._deadline()
        if deadline is not None and (self._armed is None or deadline < self._armed):
            self._wake.set()

    async def rings(self) -> AsyncIterator[Moment]:
        """The moments at which something is due, for as long as they are asked for."""
        while True:
            self._wake.clear()
            self._armed = self._deadline()
            wait_s = None if self._armed is None else max(0.0, self._armed - self._clock.now().monotonic)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            now, due = self._clock.now(), self._deadline()
            if due is not None and now.monotonic >= due:
                yield now
