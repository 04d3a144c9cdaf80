"""The real clocks, behind ``sipua.ports.Clock``."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from sipua.ports import Clock, Moment


class SystemClock:
    """Monotonic and wall time of this machine."""

    def now(self) -> Moment:
        return Moment(time.monotonic(), datetime.now(UTC))


class CallClock:
    """For one call: the wall clock is read at its beginning and follows the monotonic one from there.

    A clock that is set meanwhile moves none of its rows; the next call has the new time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.now()

    def now(self) -> Moment:
        return self._began.at(self._clock.now().monotonic)
