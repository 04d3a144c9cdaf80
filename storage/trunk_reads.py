"""How trunks stand, over all processes, and how the last drills went."""

from __future__ import annotations

from typing import Any

from storage.reading import Connection, ReadPool, Row, rows

MOST_STATES = 2000
# Of processes that are no more the states are no longer true. Without a row (a spool that waits) they may be.
_STATES = f"""
SELECT s.trunk, s.target, s.what, s.state, s.why, s.changed_at, s.seen_at, s.latency_ms, s.node, s.worker
FROM sipua.trunk_states AS s LEFT JOIN sipua.processes AS p ON p.instance = s.instance
WHERE p.ended_at IS NULL ORDER BY s.trunk, s.target, s.what, s.node, s.worker LIMIT {MOST_STATES}
"""
_DRILLS = """
SELECT DISTINCT ON (drill) drill, held, live, started_at, ended_at, attempted, lost, detect_ms, recover_ms,
  extra_pdd_ms, attempts_per_call, version, node
FROM sipua.drill_runs ORDER BY drill, started_at DESC
"""


async def trunk_states(pool: ReadPool) -> Row:
    """``trunks`` with their registrations and targets as each process sees them; ``drills``: of each the last run.

    Trunks that were neither probed nor registered have no state here. StoreError.
    """
    return await pool.read(_read)


def _read(connection: Connection) -> Row:
    trunks: dict[str, dict[str, Any]] = {}
    for row in rows(connection, _STATES, {}):
        trunk = trunks.setdefault(row.pop("trunk"), {"registrations": [], "targets": []})
        trunk["registrations" if row["what"] == "registration" else "targets"].append(row)
    return {
        "trunks": [{"trunk": name, **found} for name, found in trunks.items()],
        "drills": rows(connection, _DRILLS, {}),
    }
