"""All receivers on all traces, side by side, and whether ours keeps what it promises.

Best fixed buffer and off-line optimum are those that are late no more often than ours was on the same trace, so each
comparison is at the same loss of sound. What is promised:

* on traces with jitter or reordering: at most half of the best fixed buffer's added delay, and below the optimum's;
* on the others: at most 1 ms on average outside the gaps; on a clean line p50 is 0 ms and p99 below 1 ms;
* nothing that arrived is thrown away where the network only loses, doubles, or counts on from somewhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtp.traces import Trace
from sipua.bench.jitter import buffers, ours
from sipua.bench.jitter.optimum import best_fixed, optimum
from sipua.bench.jitter.outcome import Outcome

OURS, FIXED, OPTIMUM = "sipua", "best fixed", "optimum"
OTHERS: dict[str, Callable[[Trace], Outcome]] = {
    "NetEQ-like": buffers.neteq,
    "Asterisk-like": buffers.asterisk_adaptive,
    "fixed 200 ms": buffers.fixed(200),
    "fixed 60 ms": buffers.fixed(60),
    "aiortc": buffers.aiortc,
}
CLEAN = "constant"
DOCUMENTED = ("trace", "policy", "late_fraction", "added_ms_mean", "added_ms_p99")  # of a row, in ``--json``
OUTSIDE_GAPS_MS = 1.0
CLEAN_P99_MS = 1.0

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One receiver on one trace."""

    trace: str
    policy: str
    late_fraction: float
    added_ms_mean: float
    added_ms_p50: float
    added_ms_p99: float
    outside_gaps_ms_mean: float

    @classmethod
    def of(cls, trace: Trace, policy: str, outcome: Outcome) -> Row:
        added = outcome.added_ms()
        if not added.size:
            return cls(trace.name, policy, outcome.late_fraction, 0.0, 0.0, 0.0, 0.0)
        outside = outcome.added_outside_gaps_ms()
        return cls(
            trace.name,
            policy,
            round(outcome.late_fraction, 6),
            added_ms_mean=round(float(added.mean()), 3),
            added_ms_p50=round(float(np.percentile(added, 50)), 3),
            added_ms_p99=round(float(np.percentile(added, 99)), 3),
            outside_gaps_ms_mean=round(float(outside.mean()) if outside.size else 0.0, 3),
        )

    def document(self) -> dict[str, Any]:
        """What is compared; the rest is measured for the promises."""
        return {name: getattr(self, name) for name in DOCUMENTED}


def measure(traces: Sequence[Trace], show: Show) -> list[Row]:
    """Every receiver on every trace."""
    rows = []
    for trace in traces:
        show(trace.name)
        mine = ours.play(trace)
        outcomes = {
            OURS: mine,
            FIXED: best_fixed(trace, mine.late_count),
            OPTIMUM: optimum(trace, mine.late_count),
            **{name: play(trace) for name, play in OTHERS.items()},
        }
        rows += [Row.of(trace, policy, outcome) for policy, outcome in outcomes.items()]
    return rows


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise on one trace."""

    trace: str
    promise: str
    measured: float
    is_kept: bool


def judge(traces: Sequence[Trace], rows: Sequence[Row]) -> list[Verdict]:
    """Every promise, held against the rows."""
    by_policy: dict[tuple[str, str], Row] = {(row.trace, row.policy): row for row in rows}
    verdicts = []
    for trace in traces:
        mine, fixed, best = (by_policy[trace.name, policy] for policy in (OURS, FIXED, OPTIMUM))
        added, outside, late = mine.added_ms_mean, mine.outside_gaps_ms_mean, mine.late_fraction
        if trace.has_jitter:
            half = fixed.added_ms_mean / 2
            promises = [
                (f"≤ ½ of the best fixed buffer ({fixed.added_ms_mean:.2f} ms)", added, added <= half),
                (
                    f"below the off-line optimum ({best.added_ms_mean:.2f} ms)",
                    added,
                    added < best.added_ms_mean,
                ),
            ]
        else:
            promises = [
                (f"≤ {OUTSIDE_GAPS_MS:g} ms outside the gaps", outside, outside <= OUTSIDE_GAPS_MS),
                ("nothing that arrived is thrown away", late, late == 0),
            ]
        if trace.name == CLEAN:
            p50, p99 = mine.added_ms_p50, mine.added_ms_p99
            promises += [("p50 0 ms", p50, p50 == 0), (f"p99 < {CLEAN_P99_MS:g} ms", p99, p99 < CLEAN_P99_MS)]
        verdicts += [Verdict(trace.name, *each) for each in promises]
    return verdicts
