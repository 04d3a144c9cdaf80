"""Says whether something that can happen very often should be said again. No I/O; ``now`` in seconds.

For log lines that a stranger can cause: the first of a kind is said at once, then one per interval with the number of
those that were not. Bounded: the kinds that were quiet longest are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

INTERVAL_S = 10.0
KINDS_MAX = 1024


class Seldom:
    """One per place that says something."""

    def __init__(self, interval_s: float = INTERVAL_S, kinds_max: int = KINDS_MAX) -> None:
        self._interval_s = interval_s
        self._kinds_max = kinds_max
        self._kinds: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()  # last said, unsaid since

    def unsaid(self, kind: Hashable, now: float) -> int | None:
        """How many of ``kind`` were passed over since it was last said, if it is to be said now; else None."""
        said_at, passed = self._kinds.get(kind, (float("-inf"), 0))
        self._kinds.pop(kind, None)
        say = now - said_at >= self._interval_s
        self._kinds[kind] = (now, 0) if say else (said_at, passed + 1)
        if len(self._kinds) > self._kinds_max:
            self._kinds.popitem(last=False)
        return passed if say else None
