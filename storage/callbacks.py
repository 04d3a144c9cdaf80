"""Who wants to be called back: read and ticked off by people (``sipua callbacks``)."""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row

from storage.dsn import connected

_LIST = """
SELECT * FROM sipua.callback_requests WHERE NOT %(new)s OR status = 'new'
ORDER BY created_at DESC, id LIMIT %(limit)s
"""
# A reference may be given twice (1 in 10^9): of two that are open the older one is meant.
_DONE = """
UPDATE sipua.callback_requests SET status = 'done', updated_at = now() WHERE id = (
  SELECT id FROM sipua.callback_requests WHERE reference = %s AND status = 'new' ORDER BY created_at, id LIMIT 1
) RETURNING *
"""
_KNOWN = "SELECT * FROM sipua.callback_requests WHERE reference = %s ORDER BY updated_at DESC LIMIT 1"


async def callback_requests(dsn: str, *, only_new: bool, limit: int) -> list[dict[str, Any]]:
    """The newest first."""
    async with connected(dsn, "sipua", dict_row) as connection:
        return await (await connection.execute(_LIST, {"new": only_new, "limit": limit})).fetchall()


async def callback_done(dsn: str, reference: str) -> dict[str, Any] | None:
    """The row, done now or before; None if nobody was told that reference."""
    async with connected(dsn, "sipua", dict_row) as connection:
        done = await (await connection.execute(_DONE, (reference,))).fetchone()
        return done or await (await connection.execute(_KNOWN, (reference,))).fetchone()


# What a process that lives is still telling is its own; one of the same name is dead (``sipua.sole``).
_UNTOLD = """
SELECT r.* FROM sipua.callback_requests r LEFT JOIN public.voice_calls c ON c.id = r.call_id
WHERE r.status = 'new' AND r.notified_at IS NULL AND r.call_id IS NOT NULL AND r.created_at > now() - interval '7 days'
AND NOT EXISTS (
  SELECT FROM sipua.processes p JOIN sipua.writers w ON w.instance = p.instance
  WHERE p.instance::text = c.metadata ->> 'instance' AND p.ended_at IS NULL
  AND w.seen_at > now() - interval '60 s' AND (p.node, p.worker) IS DISTINCT FROM (%(node)s::text, %(worker)s::integer)
)
ORDER BY r.created_at, r.id LIMIT %(limit)s
"""


async def callbacks_untold(dsn: str, node: str, worker: int, limit: int) -> list[dict[str, Any]]:
    """The oldest first: what ended processes, and earlier ones of this name, could tell nobody."""
    async with connected(dsn, "sipua", dict_row) as connection:
        values = {"node": node, "worker": worker, "limit": limit}
        return await (await connection.execute(_UNTOLD, values)).fetchall()
