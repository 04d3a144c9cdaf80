"""The telephone numbers of one call, in full, for who asks for them on purpose."""

from __future__ import annotations

from uuid import UUID

from storage.reading import ReadPool, Row, rows

_NUMBERS = "SELECT from_e164, to_e164 FROM public.voice_calls WHERE id = %(id)s"


async def numbers_of(pool: ReadPool, id: UUID) -> Row | None:
    """None: there is no such call. StoreError."""
    found = await pool.read(lambda connection: rows(connection, _NUMBERS, {"id": id}))
    return found[0] if found else None
