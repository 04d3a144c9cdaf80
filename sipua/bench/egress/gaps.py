"""Gaps between what should come every ptime. No I/O, no clock: seconds of one clock in, milliseconds out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sipua.bench.figures import percentile

LONG_MS = 40.0


@dataclass(frozen=True, slots=True)
class Gap:
    """It ended at ``at``."""

    at: float
    ms: float

    @property
    def seconds(self) -> set[int]:
        """The seconds of the clock that it touches."""
        return set(range(int(self.at - self.ms / 1000), int(self.at) + 1))


def gaps_of(arrivals: Sequence[float]) -> list[Gap]:
    """Between each arrival and the next."""
    return [Gap(after, (after - before) * 1000) for before, after in pairwise(arrivals)]


def long_ones(gaps: Iterable[Gap]) -> list[Gap]:
    """Those above ``LONG_MS``, in order of time."""
    return sorted((gap for gap in gaps if gap.ms > LONG_MS), key=lambda gap: gap.at)


def unexplained(gaps: Iterable[Gap], control: Iterable[Gap]) -> list[Gap]:
    """The long gaps in whose seconds the control has none."""
    seconds = set().union(*(gap.seconds for gap in long_ones(control)))
    return [gap for gap in long_ones(gaps) if not gap.seconds & seconds]


def figures(gaps: Sequence[Gap]) -> dict[str, float]:
    """p50, p99 and the longest, in milliseconds."""
    values = [gap.ms for gap in gaps]
    return {
        "p50": round(percentile(values, 50), 2),
        "p99": round(percentile(values, 99), 2),
        "max": round(max(values), 2),
    }
