"""Whether a writer may write: shut while nobody could look whether its database fits. Rows wait in its spool."""

from __future__ import annotations

import asyncio


class Gate:
    """``why`` it is shut; "" if it is open."""

    def __init__(self, why: str = "") -> None:
        self.why = why
        self._opened = asyncio.Event()
        if not why:
            self._opened.set()

    def open(self) -> None:
        self.why = ""
        self._opened.set()

    async def wait(self) -> None:
        """Until it is open."""
        await self._opened.wait()
