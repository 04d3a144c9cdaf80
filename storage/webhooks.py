"""The rows of webhooks (``sipua.webhooks``), by which several processes know that one has been here."""

from __future__ import annotations

from datetime import datetime

from psycopg.rows import tuple_row

from storage.dsn import connected
from storage.webhook_facts import WebhookCame

# Its call's row may have been lost: it is a note, no reference.
_CAME = """
INSERT INTO sipua.webhooks AS w (id, source, type, object_id, call_id, outcome, received_at)
SELECT DISTINCT ON (r.id) r.id, r.source, r.type, r.object_id, r.call_id, r.outcome, r.at
FROM jsonb_to_recordset(%s::jsonb) AS r (
  id text, source text, type text, object_id text, call_id uuid, outcome text, at timestamptz)
ORDER BY r.id, r.outcome IS NULL, r.at
ON CONFLICT (id) DO UPDATE SET
  object_id = coalesce(w.object_id, excluded.object_id), call_id = coalesce(w.call_id, excluded.call_id),
  outcome = coalesce(w.outcome, excluded.outcome)
"""
_CLAIM = """
INSERT INTO sipua.webhooks (id, source, type, received_at) VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO NOTHING
"""

SQL = {WebhookCame.__name__: _CAME}


async def claim(dsn: str, id: str, source: str, type: str, at: datetime) -> bool:
    """Whether nobody had it before; it is ours then. Raises StoreError."""
    async with connected(dsn, "sipua-webhook", tuple_row) as connection:
        cursor = await connection.execute(_CLAIM, (id, source, type, at))
        return cursor.rowcount == 1
