"""The keys of one call between where they are heard (RTP, INFO) and who talks with the voice service."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator

from sipua.keys import KeyCollector, KeyNews, KeyRules
from sipua.ports import Clock

NEWS_MAX = 64  # three seconds of the fastest keys: who reads them hangs


class Keypad:
    """``press`` may be called by anybody on the loop; ``news`` is for one reader."""

    def __init__(self, rules: KeyRules, clock: Clock) -> None:
        self.collector = KeyCollector(rules)
        self._clock = clock
        self._news: deque[KeyNews] = deque(maxlen=NEWS_MAX)
        self._wake = asyncio.Event()

    def press(self, key: str) -> None:
        """A key went down."""
        self._news += self.collector.press(key, self._clock.now().monotonic)
        self._wake.set()

    def rest(self) -> list[KeyNews]:
        """What nobody has read, and the entry that nobody goes on with: the call is over."""
        news = [*self._news, *self.collector.expire(math.inf)]
        self._news.clear()
        return news

    async def news(self) -> AsyncIterator[KeyNews]:
        """All of it, in order, for as long as it is asked for."""
        while True:
            while self._news:
                yield self._news.popleft()
            self._wake.clear()
            deadline = self.collector.deadline()
            wait_s = None if deadline is None else deadline - self._clock.now().monotonic
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            self._news += self.collector.expire(self._clock.now().monotonic)
