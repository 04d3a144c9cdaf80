"""How late packets arrive, relative to the quickest of the recent past. No clock: ``now`` is an argument in seconds.

The transit time of a packet is its arrival minus its timestamp, both since a common origin; only differences mean
something. Its relative delay is its transit minus the least of the recent past. The least is kept over a short
window, so that clock skew (300 ppm: 18 ms a minute) and a change of route do not accumulate; the greatest over a
longer one, as it says how long a missing packet may still be under way.
"""

from __future__ import annotations

LEAST_WINDOW_S = 4.0  # the least counts for one to two of these: at 300 ppm an error of at most 2.4 ms
GREATEST_WINDOW_S = 30.0
JUMP_S = 2.0  # a transit that changes by more is the sender's clock being set
FINEST_MS = 1.0
HISTOGRAM_MS = 1000


class DelayHistogram:
    """Delays of a whole call in steps of a millisecond; those beyond a second count as one second."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self.count = 0
        self._counts = [0] * (HISTOGRAM_MS + 1)

    def add(self, delay_s: float) -> None:
        """Count one delay; negative ones are none."""
        step = int(delay_s * 1000)
        self._counts[step if 0 <= step <= HISTOGRAM_MS else (0 if step < 0 else HISTOGRAM_MS)] += 1
        self.count += 1

    def quantile_ms(self, fraction: float) -> float:
        """The delay that ``fraction`` of all do not exceed, rounded down to a millisecond; 0 without any."""
        wanted = fraction * self.count
        seen = 0
        for step, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return step * FINEST_MS
        return float(HISTOGRAM_MS)


class ArrivalDelay:
    """Of one source. ``expected`` says when a packet would arrive if it were the quickest."""

    __slots__ = (
        "_clock_rate",
        "_greatest",
        "_greatest_before",
        "_greatest_until",
        "_least",
        "_least_before",
        "_least_until",
        "_origin_s",
        "_origin_timestamp",
        "_since",
        "histogram",
    )

    def __init__(self, clock_rate: int) -> None:
        self.histogram = DelayHistogram()
        self._clock_rate = clock_rate
        self._since: float | None = None
        self.restart()

    def restart(self) -> None:
        """Another source or clock: only the histogram stays."""
        self._since = None
        self._origin_s = 0.0
        self._origin_timestamp = 0
        self._least = self._least_before = 0.0
        self._greatest = self._greatest_before = 0.0
        self._least_until = self._greatest_until = 0.0

    def add(self, timestamp: int, now: float) -> None:
        """One packet, in any order, its first copy."""
        if self._since is None:
            self._begin(timestamp, now)
            self.histogram.add(0.0)
            return
        transit = now - self._sent(timestamp)
        if not -JUMP_S < transit - self._least < JUMP_S:
            self._begin(timestamp, now)
            self.histogram.add(0.0)
            return
        if now >= self._least_until:
            self._least_before, self._least = self._least, transit
            self._least_until = now + LEAST_WINDOW_S
            self._follow(timestamp, now, transit)
        elif transit < self._least:
            self._least = transit
        delay = transit - min(self._least, self._least_before)
        if now >= self._greatest_until:
            self._greatest_before, self._greatest = self._greatest, delay
            self._greatest_until = now + GREATEST_WINDOW_S
        elif delay > self._greatest:
            self._greatest = delay
        self.histogram.add(delay)

    def _begin(self, timestamp: int, now: float) -> None:
        self._since = self._origin_s = now
        self._origin_timestamp = timestamp
        self._least = self._least_before = 0.0
        self._greatest = self._greatest_before = 0.0
        self._least_until = now + LEAST_WINDOW_S
        self._greatest_until = now + GREATEST_WINDOW_S

    def _follow(self, timestamp: int, now: float, transit: float) -> None:
        """Move the origin along, so that differences of 32-bit timestamps stay small."""
        self._origin_s = now - transit
        self._origin_timestamp = timestamp

    def _sent(self, timestamp: int) -> float:
        ticks = ((timestamp - self._origin_timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        return self._origin_s + ticks / self._clock_rate

    def latest(self, timestamp: int) -> float:
        """When a packet with this timestamp arrives if it is as late as the latest of the recent past."""
        greatest = max(self._greatest, self._greatest_before)
        return self._sent(timestamp) + min(self._least, self._least_before) + greatest

    def known_for(self, now: float) -> float:
        """Seconds since the first packet; 0 before it."""
        return 0.0 if self._since is None else now - self._since
