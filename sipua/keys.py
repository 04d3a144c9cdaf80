"""Keys that a caller presses, collected into entries: ``12#``, or ``1`` and a pause. No I/O; the clock is injected.

An entry is complete with its last key (``end``), at its greatest length, or when no key follows for a while. Who waits
for exactly one key, such as the answer to a question of ours, claims it and has it at once; it is in no entry then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

FASTEST = 20  # keys within a second; fingers manage ten, an automatic dialler fifteen


@dataclass(frozen=True, slots=True)
class KeyRules:
    """``interrupts``: a key silences the agent. ``are_kept``: the ledger has the keys themselves, not their number."""

    timeout_s: float = 2.5
    end: str = "#"
    most: int = 32
    interrupts: bool = False
    are_kept: bool = False


@dataclass(frozen=True, slots=True)
class EntryBegun:
    """The first key of an entry is down."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What was keyed in, its end key included."""

    keys: str


KeyNews = EntryBegun | Entry


class KeyCollector:
    """Of one call. ``claim`` gets each key first; True: it was waited for, and is in no entry."""

    def __init__(self, rules: KeyRules) -> None:
        self.claim: Callable[[str], bool] = lambda key: False
        self.dropped = 0  # came faster than anybody presses
        self._rules = rules
        self._keys = ""
        self._last = 0.0
        self._pressed: deque[float] = deque(maxlen=FASTEST)

    def press(self, key: str, now: float) -> list[KeyNews]:
        """One key; what is new with it."""
        news: list[KeyNews] = self.expire(now)
        if len(self._pressed) == FASTEST and now - self._pressed[0] < 1.0:
            self.dropped += 1
            return news
        self._pressed.append(now)
        if self.claim(key):
            return news
        if not self._keys:
            news.append(EntryBegun())
        self._keys += key
        self._last = now
        if key == self._rules.end or len(self._keys) >= self._rules.most:
            news += self._complete()
        return news

    def deadline(self) -> float | None:
        """When ``expire`` must be called, if no key comes before."""
        return self._last + self._rules.timeout_s if self._keys else None

    def expire(self, now: float) -> list[KeyNews]:
        """The entry that nobody goes on with."""
        deadline = self.deadline()
        return self._complete() if deadline is not None and now >= deadline else []

    def _complete(self) -> list[KeyNews]:
        keys, self._keys = self._keys, ""
        return [Entry(keys)]
