"""What is being said and done on calls now, over all processes that write here. No clock: the database's counts.

Calls that go on, or that began or ended a moment ago, are looked at again and again; rows are found by their calls, so
no table is read from end to end. A row is told once. Looks must come more often than every ``LATE_S``; what belongs to
a time ``AGE`` ago (a spool that was replayed) is not told.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from storage.reading import Connection, ReadPool, Row, fetched

LATE_S = 10
AGE = "15 minutes"
MOST_CALLS = 500
MOST_ROWS = 2000  # of either table, of one look
REMEMBERED = 50_000  # rows that were told
LOOKS = 20  # at a call that goes on no more: its last rows may come yet

_CALLS = f"""
(SELECT id FROM public.voice_calls WHERE ended_at IS NULL ORDER BY started_at DESC LIMIT {MOST_CALLS})
UNION (SELECT id FROM public.voice_calls WHERE started_at > now() - interval '{LATE_S} s'
       ORDER BY started_at DESC LIMIT {MOST_CALLS})
"""
_NEW = f"""
SELECT x.* FROM unnest(%(calls)s::uuid[]) AS c (id) CROSS JOIN LATERAL (
  SELECT {{columns}} FROM {{table}} AS r
  WHERE r.call_id = c.id AND (%(whole)s OR (r.t > now() - interval '{AGE}'
    AND r.created_at > now() - interval '{LATE_S} s'))
  ORDER BY r.t DESC LIMIT {MOST_ROWS}
) AS x ORDER BY x.t LIMIT {MOST_ROWS}
"""
_EVENTS = _NEW.format(columns="id, call_id, type, payload, t", table="public.voice_events")
_SAID = _NEW.format(
    columns="id, call_id, role, left(content, 4000) AS content, lang, t", table="public.transcripts"
)
_STATE = "SELECT ended_at IS NOT NULL AS is_over FROM public.voice_calls WHERE id = %(id)s"


@dataclass(slots=True)
class Tail:
    """``call``: of that one alone, from its beginning."""

    call: UUID | None = None
    is_over: bool = False  # the one call has ended, and everything of it was told
    _told: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _known: set[str] = field(default_factory=set)
    _lately: dict[UUID, int] = field(default_factory=dict)  # calls: looks that they are worth yet

    async def look(self, pool: ReadPool) -> list[Row]:
        """What is new, by time. StoreError; the next look then tells it."""
        found = await pool.read(self._look)
        news = [row for row in found if row["id"] not in self._known]
        for row in news:
            if len(self._told) == REMEMBERED:
                self._known.discard(self._told[0])
            self._told.append(row["id"])
            self._known.add(row["id"])
        return news

    def _look(self, connection: Connection) -> list[Row]:
        is_over = False
        if self.call is not None:
            state = connection.execute(_STATE, {"id": self.call}).fetchone()
            is_over = state is None or bool(state["is_over"])
            calls = [self.call]
        else:
            calls = self._calls(connection)
        values: dict[str, Any] = {"calls": calls, "whole": self.call is not None}
        events = connection.execute(_EVENTS.encode(), values)
        said = connection.execute(_SAID.encode(), values)
        rows = [row | {"table": "events"} for row in fetched(events)]
        rows += [row | {"table": "transcripts"} for row in fetched(said)]
        self.is_over = is_over
        return sorted(rows, key=lambda row: row["t"] or "")

    def _calls(self, connection: Connection) -> list[UUID]:
        now = [row["id"] for row in connection.execute(_CALLS.encode()).fetchall()]
        left = {id: looks - 1 for id, looks in self._lately.items() if looks > 1}
        self._lately = left | dict.fromkeys(now, LOOKS)
        return list(self._lately)
