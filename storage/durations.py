"""How long something took, counted in buckets as Prometheus has them: bounded however often it happens."""

from __future__ import annotations

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Durations:
    """Of one kind of thing."""

    def __init__(self) -> None:
        self.sum_s = 0.0
        self._counts = [0] * (len(BOUNDS_S) + 1)  # not cumulative; the last is "above"

    def add(self, seconds: float) -> None:
        self.sum_s += seconds
        self._counts[sum(bound < seconds for bound in BOUNDS_S)] += 1

    def cumulative(self) -> list[tuple[float, int]]:
        """(upper bound, how many took at most so long), +inf last."""
        total, rows = 0, []
        for bound, count in zip((*BOUNDS_S, float("inf")), self._counts, strict=True):
            total += count
            rows.append((bound, total))
        return rows
