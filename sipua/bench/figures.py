"""Percentiles of what was measured, and the machine it was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

PLACES = 3  # of a millisecond


def percentile(values: Sequence[float], percent: float) -> float:
    """With linear interpolation between the closest ranks, as numpy does it. ValueError without values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p95 in milliseconds."""
    return {f"p{percent}": round(percentile(seconds, percent) * 1000, PLACES) for percent in (50, 95)}


def mean_ms(seconds: Sequence[float]) -> float:
    """The mean in milliseconds."""
    return round(sum(seconds) / len(seconds) * 1000, PLACES)


def machine() -> dict[str, Any]:
    """What a reader needs to compare two runs; ``load`` is the 1-minute average at this moment."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "arch": platform.machine(),
        "load": round(os.getloadavg()[0], 2),
    }


def machine_line(facts: Mapping[str, Any]) -> str:
    """One line for people."""
    return (
        f"{facts['cpus']} CPUs ({facts['arch']}), Python {facts['python']}, {facts['kernel']}, "
        f"load {facts['load']:.2f}"
    )
