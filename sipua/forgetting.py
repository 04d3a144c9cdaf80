"""Everything that is known of one caller, deleted on request: recordings first, so that a store which refuses leaves
all to be found again; then the rows, all or none; then recordings that were being moved meanwhile.

What waits in a spool or is said in a call that is up comes later: it is told, and the request has to be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from pathlib import Path

from sipua.errors import ConfigError
from sipua.recording_store import delete_of
from sipua.settings import Settings
from sipua.trunks.numbers import Format, NumberError, NumberPlan, normalise
from storage import retention
from storage.retention import CallOf

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Rows by table and recordings; what has to come to its end before the rest can go."""

    counts: dict[str, int]
    calls_up: int
    waits_in_spool: bool

    @property
    def is_all(self) -> bool:
        return not self.calls_up and not self.waits_in_spool


def spellings_of(number: str) -> list[str]:
    """As it may stand in the database. ConfigError for what is no number with its country code."""
    try:
        e164 = normalise(NumberPlan("RW"), number, Format.PLUS_E164) if number.startswith("+") else ""
    except NumberError:
        e164 = ""
    if not e164:
        raise ConfigError(
            "--caller: expected a telephone number with + and its country code, such as +250788000123"
        )
    return [e164, e164[1:], f"00{e164[1:]}"]


async def forget_caller(dsn: str, settings: Settings, spellings: Sequence[str], *, dry: bool) -> Forgotten:
    """Raises StoreError and StoreRefused; nothing of the rows is deleted then."""
    calls = await retention.calls_of(dsn, spellings)
    over = [call for call in calls if call.ended_at is not None]
    ids, days = await retention.ids_of(dsn, [call.id for call in over]), set(_days(over))
    recordings = await delete_of(settings, ids, days, dry=dry)
    counts = await retention.forget(dsn, spellings, dry=dry, recordings=recordings)
    if not dry:
        counts["recordings"] += await delete_of(settings, ids, days, dry=False)
    spool = settings.spool_path
    waits = spool is not None and await asyncio.to_thread(_is_in, spool, spellings[1].encode())
    return Forgotten(counts, len(calls) - len(over), waits)


def _days(calls: Iterable[CallOf]) -> Iterator[date]:
    """On which recordings of these calls may have begun."""
    for call in calls:
        assert call.ended_at is not None
        first = call.started_at.astimezone(UTC).date() - timedelta(days=1)
        last = call.ended_at.astimezone(UTC).date() + timedelta(days=1)
        for number in range(min((last - first).days + 1, 32)):
            yield first + timedelta(days=number)


def _is_in(folder: Path, digits: bytes) -> bool:
    """Whether a number stands in what waits for the database: its records are JSON."""
    for path in folder.glob("*/*.log"):
        try:
            with path.open("rb") as file:
                end = b""
                while piece := file.read(READ_BYTES):
                    if digits in end + piece:
                        return True
                    end = piece[-len(digits) :]
        except FileNotFoundError:
            continue
    return False
