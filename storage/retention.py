"""Rows that are old enough to go, and those of one caller: through functions of the database that do no more than that
(``migrations/20261123080000_retention.sql``), so that the agent's login needs no right to delete.

A batch is a transaction of its own; two processes never delete at once, and rows that somebody holds are left for the
next time. A table's lock is waited for no longer than ``LOCK_TIMEOUT``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row, tuple_row
from psycopg.types.json import Jsonb

from storage.dsn import connected

BATCH_ROWS = 500
CALLS_ROWS = 20  # each takes all its other rows with it
PAUSE_S = 0.1  # between batches: who writes comes first
LOCK_TIMEOUT, STATEMENT_TIMEOUT = "2s", "60s"

# Those with days of their own, children before what they belong to; and what goes with them.
TABLES = (
    "transcripts", "voice_events", "mcp_tool_calls", "call_consents", "openai_sessions", "wa_messages", "wa_threads",
    "voice_memories", "service_requests", "callback_requests", "call_attempts", "voice_calls", "trunk_changes",
    "drill_runs", "webhooks", "processes",
)  # fmt: skip
_WITH = {"transcripts": ("voice_calls.transcript",), "processes": ("writers",)}

_LAST = "SELECT max(at) AS at FROM sipua.purges WHERE kind = 'retention'"


@dataclass(frozen=True, slots=True)
class CallOf:
    """A call of one caller; ``ended_at`` None: it is up."""

    id: UUID
    started_at: datetime
    ended_at: datetime | None


async def purge(
    dsn: str,
    table: str,
    before: datetime,
    *,
    dry: bool = False,
    batch: int = BATCH_ROWS,
    pause_s: float = PAUSE_S,
) -> int | None:
    """How many rows of a table are older, or were deleted; None: another process is at it. Raises StoreError."""
    total = 0
    async with connected(dsn, "sipua-purge", tuple_row) as connection:
        for name in (*_WITH.get(table, ()), table):
            rows = 0 if dry else min(batch, CALLS_ROWS) if name == "voice_calls" else batch
            while True:
                async with connection.transaction():
                    await connection.execute(
                        "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)",
                        (LOCK_TIMEOUT, STATEMENT_TIMEOUT),
                    )
                    found = await connection.execute("SELECT sipua.purge(%s, %s, %s)", (name, before, rows))
                    row = await found.fetchone()
                if row is None or row[0] is None:
                    return None
                total += int(row[0]) if name == table else 0
                if int(row[0]) < rows or dry:
                    break
                await asyncio.sleep(pause_s)
    return total


async def last_purge(dsn: str) -> datetime | None:
    """When rows were last deleted for their age."""
    async with connected(dsn, "sipua-purge", dict_row) as connection:
        row = await (await connection.execute(_LAST)).fetchone()
    return None if row is None else row["at"]


async def purged(dsn: str, counts: Mapping[str, int]) -> None:
    """Notes a run."""
    async with connected(dsn, "sipua-purge", dict_row) as connection:
        await connection.execute(
            "INSERT INTO sipua.purges (kind, counts) VALUES ('retention', %s)", (Jsonb(dict(counts)),)
        )


async def calls_of(dsn: str, spellings: Sequence[str]) -> list[CallOf]:
    """Of one caller, the oldest first."""
    async with connected(dsn, "sipua-purge", dict_row) as connection:
        found = await connection.execute(
            "SELECT id, started_at, ended_at FROM sipua.calls_of(%s) ORDER BY started_at, id",
            (list(spellings),),
        )
        return [CallOf(**row) for row in await found.fetchall()]


async def ids_of(dsn: str, calls: Sequence[UUID]) -> set[UUID]:
    """Under which these calls are known, to recordings too."""
    async with connected(dsn, "sipua-purge", tuple_row) as connection:
        found = await connection.execute(
            "SELECT id FROM sipua.call_aliases WHERE call_id = ANY (%s)", (list(calls),)
        )
        return {*calls, *(row[0] for row in await found.fetchall())}


async def forget(dsn: str, spellings: Sequence[str], *, dry: bool, recordings: int) -> dict[str, int]:
    """How many rows of which table are of this caller, or were deleted or made nobody's: all or none."""
    async with connected(dsn, "sipua-purge", dict_row) as connection:
        found: Any = await connection.execute(
            "SELECT sipua.forget(%s, %s, %s) AS counts", (list(spellings), dry, recordings)
        )
        row = await found.fetchone()
    return {str(name): int(count) for name, count in row["counts"].items()}
