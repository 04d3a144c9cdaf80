"""What is remembered of callers, and when a person last wrote: read at the beginning of a call or by a tool."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from storage.dsn import connected

_MEMORY = "SELECT country, prefs, last_seen_at FROM public.voice_memories WHERE msisdn = %s LIMIT 1"
# Of calls from this number only: an index has it.
_CALLS = """
SELECT started_at, intent, outcome FROM public.voice_calls
WHERE from_e164 = %s AND direction = 'inbound' AND ended_at IS NOT NULL AND intent IS NOT NULL
ORDER BY started_at DESC LIMIT %s
"""
_REPLIED = "SELECT max(at) AS at FROM sipua.wa_messages WHERE msisdn = %s AND direction = 'in'"


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a caller who agreed to it."""

    prefs: dict[str, Any]
    country: str | None
    last_seen_at: datetime | None
    calls: tuple[dict[str, Any], ...]  # started_at, intent, outcome; the newest first


async def memory_of(dsn: str, msisdn: str, *, calls: int) -> Memory | None:
    """None: nothing is remembered, and then the last calls are nobody's business either."""
    async with connected(dsn, "sipua", dict_row) as connection:
        row = await (await connection.execute(_MEMORY, (msisdn,))).fetchone()
        if row is None:
            return None
        found = await (await connection.execute(_CALLS, (msisdn, calls))).fetchall()
    prefs = row["prefs"] if isinstance(row["prefs"], dict) else {}
    return Memory(prefs, row["country"], row["last_seen_at"], tuple(found))


async def replied_at(dsn: str, msisdn: str) -> datetime | None:
    """When this person last wrote to us on WhatsApp."""
    async with connected(dsn, "sipua", dict_row) as connection:
        row = await (await connection.execute(_REPLIED, (msisdn,))).fetchone()
    return None if row is None else row["at"]
