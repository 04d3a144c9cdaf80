"""Where a recording is, for who may fetch it."""

from __future__ import annotations

from uuid import UUID

from storage.reading import ReadPool, Row, rows

_RECORDING = """
SELECT k.id, k.call_id, k.consent_result, k.audio_url, k.t FROM public.call_consents AS k WHERE k.id = %(id)s
"""


async def recording_of(pool: ReadPool, consent_id: UUID) -> Row | None:
    """The answer that allowed it; ``audio_url`` is None where nothing is kept (any more). StoreError."""
    found = await pool.read(lambda connection: rows(connection, _RECORDING, {"id": consent_id}))
    return found[0] if found else None
