"""A live feed of what happens on calls, for the control channel. Plain dicts of JSON types; no phone numbers.

Every subscriber has a bounded queue of its own that drops the oldest entry (counted) when its reader is slow:
a stuck terminal must not hold up a call. What it lost it is told: ``{"event": "dropped", "entries": n}``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

QUEUE_LIMIT = 2000


class Subscription:
    """One reader of the feed. One that is not ``eager`` gets what is published anyway, and has nothing measured."""

    def __init__(self, *, eager: bool = True) -> None:
        self.eager = eager
        self._entries: deque[Mapping[str, Any]] = deque(maxlen=QUEUE_LIMIT)
        self._wake = asyncio.Event()
        self._dropped = 0  # since the reader was last told
        self.dropped = 0

    def put(self, entry: Mapping[str, Any]) -> None:
        if len(self._entries) == QUEUE_LIMIT:
            self._dropped += 1
            self.dropped += 1
        self._entries.append(entry)
        self._wake.set()

    def __len__(self) -> int:
        return len(self._entries)

    async def __aiter__(self) -> AsyncIterator[Mapping[str, Any]]:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._entries:
                if self._dropped:
                    lost, self._dropped = self._dropped, 0
                    yield {"event": "dropped", "entries": lost}
                yield self._entries.popleft()


class Feed:
    """Publishes to whoever listens; free of cost when nobody does."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._dropped = 0  # by readers that are gone

    @property
    def is_watched(self) -> bool:
        """Whether somebody wants what takes time to find out."""
        return any(each.eager for each in self._subscriptions)

    @property
    def readers(self) -> int:
        return len(self._subscriptions)

    @property
    def longest(self) -> int:
        """Entries that wait for the slowest reader."""
        return max(map(len, self._subscriptions), default=0)

    @property
    def dropped(self) -> int:
        """Entries that readers were too slow for."""
        return self._dropped + sum(each.dropped for each in self._subscriptions)

    def publish(self, entry: Mapping[str, Any]) -> None:
        for subscription in self._subscriptions:
            subscription.put(entry)

    @contextmanager
    def subscribe(self, *, eager: bool = True) -> Iterator[Subscription]:
        subscription = Subscription(eager=eager)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            self._dropped += subscription.dropped
