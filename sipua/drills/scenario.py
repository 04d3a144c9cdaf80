"""A drill as data: what it breaks, what is expected, and the coroutine that performs it; how its figures are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import fmean

from sipua.drills.findings import Result, said
from sipua.drills.ground import Ground


@dataclass(frozen=True, slots=True)
class Scenario:
    """``expects_failover``: the mutation no-failover must make it fail; ``forbids_retry``: retry-always must.

    ``limit_s`` is how long it may take at all.
    """

    name: str
    breaks: str
    expected: str
    perform: Callable[[Ground], Awaitable[None]]
    expects_failover: bool = False
    forbids_retry: bool = False
    limit_s: float = 30.0


def result_of_ground(scenario: Scenario, ground: Ground, fault: str = "") -> Result:
    """The figures of docs/drills.md out of what the ground has seen. ``fault``: why it did not come to its end."""
    if fault:
        ground.expect("the drill comes to its end", False, fault)
    before, after = ground.before_break(), ground.after_break()
    waited = [each.pdd_ms for each in (*before[-1:], *after[:1]) if each.answered_at is not None]
    extra = waited[1] - waited[0] if len(waited) == 2 else None
    broken_at = ground.broken_at or 0.0
    expecting = [
        each
        for each in ground.canaries
        if each.expects_answer and not (each.answered_at is not None and each.answered_at < broken_at)
    ]
    return Result(
        name=scenario.name,
        held=bool(ground.checks) and all(each.held for each in ground.checks),
        breaks=scenario.breaks,
        expected=scenario.expected,
        what_happened=said(ground.checks),
        expects_failover=scenario.expects_failover,
        detect_ms=ground.detect_ms,
        attempted=len(ground.canaries),
        lost=sum(1 for each in expecting if not each.is_up),
        extra_pdd_ms=extra,
        attempts_per_call=round(fmean(len(each.attempts) for each in after), 2) if after else None,
        recover_ms=ground.recover_ms,
        started_at=ground.started_at,
        duration_ms=ground.elapsed_ms,
        mutation=ground.mutation.value,
        checks=tuple(ground.checks),
        calls=tuple(each.figures for each in ground.canaries),
        timeline=tuple(sorted(ground.timeline, key=lambda each: each.at_ms)),
    )
