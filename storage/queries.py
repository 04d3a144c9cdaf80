"""Reading the ledger, and closing what a dead process left open. Each function uses one short connection."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import dict_row

from storage.dsn import connected

# Of a call that others hold nothing is heard for so long: their session cannot live longer than an hour.
TOLD_LEASE = timedelta(minutes=65)
LOST = "process_lost"  # voice_calls.outcome of a call whose process died

_CALL_ROWS = {
    "voice_calls": "SELECT * FROM public.voice_calls WHERE id = %s",
    "openai_sessions": "SELECT * FROM public.openai_sessions WHERE call_id = %s ORDER BY started_at, id",
    "transcripts": "SELECT * FROM public.transcripts WHERE call_id = %s ORDER BY t, sequence, id",
    "voice_events": "SELECT * FROM public.voice_events WHERE call_id = %s ORDER BY t, created_at, id",
    "call_consents": "SELECT * FROM public.call_consents WHERE call_id = %s ORDER BY t, id",
    "call_attempts": "SELECT * FROM sipua.call_attempts WHERE call_id = %s ORDER BY ordinal",
}
_TRUNK_CHANGES = "SELECT * FROM sipua.trunk_changes ORDER BY at DESC, id LIMIT %s"
_DRILL_RUNS = """
SELECT * FROM sipua.drill_runs WHERE %(drill)s::text IS NULL OR drill = %(drill)s
ORDER BY started_at DESC, id LIMIT %(limit)s
"""
_SPENT = """
SELECT CASE direction WHEN 'outbound' THEN to_e164 ELSE from_e164 END AS number,
       sum((metadata #>> '{usage,cost_usd}')::double precision) AS usd
FROM public.voice_calls
WHERE started_at >= %s AND jsonb_typeof(metadata #> '{usage,cost_usd}') = 'number' GROUP BY 1
"""
_DIALLED = """
SELECT count(*) AS calls FROM public.voice_calls
WHERE direction = 'outbound' AND to_e164 = %s AND started_at >= %s
"""
# A call ended when it was last heard of, not when we noticed: its duration is what was talked and paid for, from
# the answer on.
_CLOSE_CALLS = """
UPDATE public.voice_calls AS c SET
  ended_at = last.t, duration_seconds = extract(epoch FROM greatest(last.t - last.answered, '0'))::integer,
  status = CASE WHEN c.status IN ('completed', 'failed', 'busy', 'no_answer') THEN c.status ELSE 'failed' END,
  outcome = %(lost)s, updated_at = now()
FROM (
  SELECT o.id, (SELECT min(t) FROM public.voice_events e WHERE e.call_id = o.id AND e.type = 'answered') AS answered,
         least(greatest(o.started_at, coalesce(
           (SELECT max(t) FROM public.voice_events e WHERE e.call_id = o.id), o.started_at), coalesce(
           (SELECT max(t) FROM public.transcripts x WHERE x.call_id = o.id), o.started_at)),
         greatest(%(now)s, o.started_at)) AS t
  FROM public.voice_calls o
  WHERE o.ended_at IS NULL AND coalesce(o.metadata ->> 'instance', '') <> ALL (%(spared)s)
    AND (o.metadata ->> 'instance' = ANY (%(dead)s)
      OR (o.metadata ->> 'node' = %(node)s AND coalesce(o.metadata ->> 'worker', '0') = %(worker)s)
      OR (o.metadata ? 'told_by' AND NOT o.metadata ? 'instance' AND o.started_at < %(quiet)s
        AND NOT EXISTS (SELECT 1 FROM public.voice_events e WHERE e.call_id = o.id AND e.t >= %(quiet)s)))
  FOR UPDATE SKIP LOCKED
) AS last
WHERE c.id = last.id AND c.ended_at IS NULL RETURNING c.id, c.ended_at
"""
# They end when they were last heard of.
_CLOSE_PROCESSES = """
UPDATE sipua.processes AS p SET
  ended_at = coalesce((SELECT w.seen_at FROM sipua.writers w WHERE w.instance = p.instance), p.seen_at)
WHERE p.ended_at IS NULL AND p.instance::text <> ALL (%(spared)s)
  AND (p.instance::text = ANY (%(dead)s) OR (p.node = %(node)s AND p.worker::text = %(worker)s))
"""
_CLOSE_SESSIONS = """
UPDATE public.openai_sessions SET ended_at = greatest(started_at, %s), status = 'failed'
WHERE call_id = %s AND ended_at IS NULL
"""
_CLOSE_TOOLS = """
UPDATE public.mcp_tool_calls SET success = false, error = %s WHERE call_id = %s AND success IS NULL
"""
# A question that stood: "no answer" is an answer, and so is a row.
_CLOSE_CONSENT = """
WITH unanswered AS (
  INSERT INTO public.call_consents (id, call_id, consent_text, consent_result, t)
  SELECT %s, c.id, c.metadata ->> 'consent_question', NULL, c.ended_at FROM public.voice_calls AS c
  WHERE c.id = %s AND c.metadata ->> 'consent_question' IS NOT NULL
    AND NOT EXISTS (SELECT FROM public.call_consents AS k WHERE k.call_id = c.id)
  RETURNING call_id, t
)
UPDATE public.voice_calls AS c SET consent_obtained = false, consent_recorded_at = u.t
FROM unanswered AS u WHERE c.id = u.call_id
"""
# What there is of it: more may have been said than was heard of.
_CLOSE_TRANSCRIPT = """
UPDATE public.voice_calls AS c SET
  transcript = (SELECT string_agg(t.role || ': ' || t.content, E'\n' ORDER BY t.t, t.sequence, t.id)
                FROM public.transcripts AS t WHERE t.call_id = c.id),
  transcript_locale = coalesce(c.locale, c.transcript_locale), transcript_status = 'failed'
WHERE c.id = %s
"""
# After whatever was told of the call.
_CALL_ENDED = """
INSERT INTO public.voice_events (id, call_id, type, t, payload)
SELECT %s, c.id, 'call_ended', greatest(c.ended_at, (
  SELECT max(e.t) + interval '1 microsecond' FROM public.voice_events AS e WHERE e.call_id = c.id)),
  jsonb_build_object('status', 'failed', 'outcome', %s::text)
FROM public.voice_calls AS c WHERE c.id = %s
"""


async def spent_since(dsn: str, since: datetime) -> list[tuple[str | None, float]]:
    """US dollars by the number we talked with, of calls that began since then."""
    async with connected(dsn, "sipua", dict_row) as connection:
        cursor = await connection.execute(_SPENT, (since,))
        return [(row["number"], float(row["usd"])) for row in await cursor.fetchall()]


async def dialled_since(dsn: str, number: str, since: datetime) -> int:
    """Calls to a number that began since then, answered or not."""
    async with connected(dsn, "sipua", dict_row) as connection:
        row = await (await connection.execute(_DIALLED, (number, since))).fetchone()
        return int(row["calls"]) if row is not None else 0


async def ping(dsn: str) -> None:
    """Connect and ask for nothing; ``DatabaseUnreachable`` or ``BadDsn`` says why it does not work."""
    async with connected(dsn, "sipua", dict_row) as connection:
        await connection.execute("SELECT 1")


async def call_rows(dsn: str, call_id: UUID) -> dict[str, list[dict[str, Any]]]:
    """All rows of a call by table; transcripts and events in order of ``t``."""
    async with connected(dsn, "sipua", dict_row) as connection, connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        rows: dict[str, list[dict[str, Any]]] = {}
        for table, query in _CALL_ROWS.items():
            cursor = await connection.execute(query.encode(), (call_id,))
            rows[table] = await cursor.fetchall()
        return rows


async def trunk_changes(dsn: str, limit: int) -> list[dict[str, Any]]:
    """The history of all trunks, the newest change first."""
    async with connected(dsn, "sipua", dict_row) as connection:
        return await (await connection.execute(_TRUNK_CHANGES.encode(), (limit,))).fetchall()


async def drill_runs(dsn: str, *, drill: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """The results of all drills or one, the newest first: to be compared over time."""
    async with connected(dsn, "sipua", dict_row) as connection:
        values = {"drill": drill, "limit": limit}
        return await (await connection.execute(_DRILL_RUNS, values)).fetchall()


async def close_orphans(
    dsn: str,
    *,
    node: str,
    worker: int,
    instance: UUID,
    now: datetime,
    outcome: str = LOST,
    dead: Iterable[UUID] = (),
    spared: Iterable[UUID] = (),
    lock_timeout_s: float = 0,
) -> list[UUID]:
    """Close the calls that earlier runs of this node and worker left open, with sessions, tools and an event each.

    So are those of the ``dead`` instances, and those that others hold if nothing was heard for ``TOLD_LEASE``. Calls
    of ``instance`` itself, of the ``spared`` ones and of other nodes or workers are not touched. Node and worker must
    therefore be unique among the processes alive on a database. Who holds the tables for longer than
    ``lock_timeout_s`` (0: however long) makes it a StoreError. Returns the ids of the calls
    closed.
    """
    values = {
        "node": node,
        "worker": str(worker),
        "now": now,
        "lost": outcome,
        "quiet": now - TOLD_LEASE,
        "dead": [str(each) for each in dead],
        "spared": [str(each) for each in (instance, *spared)],
    }
    async with connected(dsn, "sipua", dict_row) as connection, connection.transaction():
        await connection.execute(
            "SELECT set_config('lock_timeout', %s, true)", (f"{lock_timeout_s * 1000:.0f}",)
        )
        closed = await (await connection.execute(_CLOSE_CALLS, values)).fetchall()
        for row in closed:
            await connection.execute(_CLOSE_SESSIONS, (row["ended_at"], row["id"]))
            await connection.execute(_CLOSE_TOOLS, (outcome, row["id"]))
            await connection.execute(_CLOSE_CONSENT, (uuid4(), row["id"]))
            await connection.execute(_CLOSE_TRANSCRIPT, (row["id"],))
            await connection.execute(_CALL_ENDED, (uuid4(), outcome, row["id"]))
        await connection.execute(_CLOSE_PROCESSES, values)
    return [row["id"] for row in closed]
