"""For benchmarks of the ledger: a database of its own, taken away for a while, and what is in it afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg import conninfo, sql
from psycopg.rows import class_row, tuple_row

from storage.dsn import connected

_COUNT = "SELECT count(*), count(DISTINCT payload ->> 'n') FROM public.voice_events"

# what was said is "talk number words", and its item "talk_number"
_TOLD = """
WITH said(talk, kind, n) AS (
  SELECT split_part(content, ' ', 1), 'transcript', split_part(content, ' ', 2)::int
    FROM public.transcripts WHERE role IN ('user', 'caller')
  UNION ALL
  SELECT split_part(payload ->> 'item_id', '_', 1), type, split_part(payload ->> 'item_id', '_', 2)::int
    FROM public.voice_events
    WHERE type IN ('transcript_segment', 'openai_conversation_item_created') AND payload ->> 'role' = 'user'
)
SELECT talk, kind, count(*) AS rows, count(DISTINCT n) AS different, max(n) AS last FROM said GROUP BY 1, 2
"""
_NEWEST = "SELECT max(t) FROM public.transcripts"
_ENDINGS = """
SELECT status, ended_at IS NOT NULL AND duration_seconds IS NOT NULL
  AND EXISTS (SELECT FROM public.voice_events e WHERE e.call_id = c.id AND e.type = 'call_ended')
FROM public.voice_calls c
"""


@dataclass(frozen=True, slots=True)
class Told:
    """One kind of rows of one talk: how many there are, of how many utterances, and the last one's number."""

    talk: str
    kind: str
    rows: int
    different: int
    last: int


async def told(dsn: str) -> list[Told]:
    """What the calls of ``sipua bench outage`` have said."""
    async with connected(dsn, "sipua-bench", class_row(Told)) as connection:
        return await (await connection.execute(_TOLD)).fetchall()


async def newest(dsn: str) -> datetime | None:
    """When the last utterance was said that is there."""
    async with connected(dsn, "sipua-bench", tuple_row) as connection:
        row = await (await connection.execute(_NEWEST)).fetchone()
    return None if row is None else row[0]


async def endings(dsn: str) -> list[tuple[str, bool]]:
    """Status of each call, and whether its row is closed in full."""
    async with connected(dsn, "sipua-bench", tuple_row) as connection:
        return await (await connection.execute(_ENDINGS)).fetchall()


class Rehearsal:
    """``dsn`` is of a server's own database; a new one is made beside it."""

    def __init__(self, dsn: str, name: str) -> None:
        self._server = dsn
        self._name = sql.Identifier(name)
        self.dsn = conninfo.make_conninfo(dsn, dbname=name)

    async def make(self) -> None:
        await self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(self._name))
        await self._run(sql.SQL("CREATE DATABASE {}").format(self._name))

    async def take_away(self) -> None:
        """Nobody gets in, and who is in is thrown out."""
        await self._run(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(self._name))
        ours = sql.Literal(conninfo.conninfo_to_dict(self.dsn)["dbname"])
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}"
        await self._run(sql.SQL(query).format(ours))

    async def give_back(self) -> None:
        await self._run(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(self._name))

    async def events(self) -> tuple[int, int]:
        """Rows of ``voice_events``, and how many different ``n`` they have."""
        async with connected(self.dsn, "sipua-bench", tuple_row) as connection:
            row = await (await connection.execute(_COUNT)).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    async def _run(self, query: sql.Composed) -> None:
        async with connected(self._server, "sipua-bench", tuple_row) as connection:
            await connection.execute(query)
