"""The times of one call's rows: strictly increasing whatever the clocks do. No I/O, no clock.

Events of one moment come a microsecond after each other, in the order in which they were told; nothing lies before the
beginning of the call, and its end is no earlier than anything in it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

TICK = timedelta(microseconds=1)
RECENT_MAX = (
    1024  # times that another event may still want: the word of a speech comes seconds after its beginning
)


class CallTimes:
    """``began`` is the first moment of the call."""

    def __init__(self, began: datetime) -> None:
        self._began = self._last = began
        self._taken: dict[datetime, None] = {}

    def event(self, at: datetime) -> datetime:
        """``at``, or the first free microsecond after it."""
        t = max(at, self._began)
        while t in self._taken:
            t += TICK
        self._taken[t] = None
        if len(self._taken) > RECENT_MAX:
            del self._taken[next(iter(self._taken))]
        self._last = max(self._last, t)
        return t

    def end(self, at: datetime) -> datetime:
        """Not before what has been told."""
        return max(at, self._last)
