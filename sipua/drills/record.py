"""Results as rows of ``sipua.drill_runs``, to be compared over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from uuid import uuid4

from sipua import __version__
from sipua.drills.findings import Result
from sipua.errors import StoreError
from storage.trunk_facts import DrillRun
from storage.writer import LedgerWriter

WRITE_TIMEOUT_S = 10.0


def rows_of(results: Sequence[Result], node: str, *, live: bool) -> tuple[DrillRun, ...]:
    """One row per drill, all of one run."""
    run_id = uuid4()
    rows = []
    for each in results:
        started_at = datetime.fromisoformat(each.started_at)
        details = {
            "what_happened": each.what_happened,
            "checks": [asdict(check) for check in each.checks],
            "timeline": [asdict(entry) for entry in each.timeline],
            "calls": [asdict(call) for call in each.calls],
        }
        rows.append(
            DrillRun(
                id=uuid4(),
                run_id=run_id,
                drill=each.name,
                held=each.held,
                attempted=each.attempted,
                lost=each.lost,
                version=__version__,
                node=node,
                started_at=started_at,
                ended_at=started_at + timedelta(milliseconds=each.duration_ms),
                detect_ms=each.detect_ms,
                extra_pdd_ms=each.extra_pdd_ms,
                attempts_per_call=each.attempts_per_call,
                recover_ms=each.recover_ms,
                mutate=each.mutation or None,
                live=live,
                details=details,
            )
        )
    return tuple(rows)


async def record(rows: Sequence[DrillRun], dsn: str) -> None:
    """Writes them. StoreError if the database does not take them."""
    writer = LedgerWriter(dsn)
    writer.put(tuple(rows))
    if not await writer.close(WRITE_TIMEOUT_S) or writer.stats.written < len(rows):
        why = writer.last_error or f"not within {WRITE_TIMEOUT_S:g} s"
        raise StoreError(f"the results were not written: {why}")
