"""The real clocks, behind ``sipua.ports.Clock``."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from sipua.ports import Moment


class SystemClock:
    """Monotonic and wall time of this machine."""

    def now(self) -> Moment:
        return Moment(time.monotonic(), datetime.now(UTC))
