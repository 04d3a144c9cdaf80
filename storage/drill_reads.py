"""How drills went, for who compares them over time."""

from __future__ import annotations

from storage.reading import ReadPool, Row, rows

MOST_RUNS = 200

_DRILLS = """
SELECT id, run_id, drill, held, live, started_at, ended_at, attempted, lost, detect_ms, recover_ms, extra_pdd_ms,
  attempts_per_call, mutate, version, node, details
FROM sipua.drill_runs WHERE %(drill)s::text IS NULL OR drill = %(drill)s ORDER BY started_at DESC, id LIMIT %(limit)s
"""


async def drill_runs(pool: ReadPool, drill: str | None, limit: int) -> list[Row]:
    """Of all drills or one, the newest first. StoreError."""
    values = {"drill": drill, "limit": min(limit, MOST_RUNS)}
    return await pool.read(lambda connection: rows(connection, _DRILLS, values))
