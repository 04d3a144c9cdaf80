"""What the ledger has of a call that somebody tells us about, by any id that means it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.reading import Connection, ReadPool

_KNOWN = """
SELECT c.id, c.started_at, c.ended_at, c.duration_seconds, coalesce(c.status, 'initiated') AS status,
  coalesce(c.locale, '') AS locale, coalesce(c.metadata ? 'instance', false) AS has_leg, c.openai_call_id,
  c.last_transcript_segment_at AS last_segment_at,
  ARRAY(SELECT a.id FROM sipua.call_aliases a WHERE a.call_id = c.id LIMIT 16) AS aliases,
  ARRAY(SELECT s.id FROM public.openai_sessions s WHERE s.call_id = c.id AND s.ended_at IS NULL LIMIT 16) AS sessions
FROM public.voice_calls c
WHERE c.id = %(id)s OR c.id = (SELECT call_id FROM sipua.call_aliases WHERE id = %(id)s)
ORDER BY c.id <> %(id)s LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class ToldCall:
    """``id`` is its row's; ``ids`` are all that mean it; ``has_leg``: a SIP leg of ours. ``sessions`` are open ones."""

    id: UUID
    ids: tuple[UUID, ...]
    started_at: datetime
    ended_at: datetime | None
    duration_seconds: int | None
    status: str
    locale: str
    has_leg: bool
    openai_call_id: str | None
    last_segment_at: datetime | None
    sessions: tuple[UUID, ...]


async def told_call(pool: ReadPool, id: UUID) -> ToldCall | None:
    """None: there is none. StoreError."""
    return await pool.read(lambda connection: _told(connection, id))


def _told(connection: Connection, id: UUID) -> ToldCall | None:
    row = connection.execute(_KNOWN, {"id": id}).fetchone()
    if row is None:
        return None
    found = dict(row)
    ids = (found["id"], *found.pop("aliases"))
    return ToldCall(ids=ids, sessions=tuple(found.pop("sessions")), **found)
