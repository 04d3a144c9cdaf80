"""Which calls are wanted, as values and as SQL. No I/O.

A page ends with a mark, ``started_at~id`` of its last call, and the next one begins behind it: calls that come
meanwhile neither shift nor repeat a row. Everything is a parameter; texts are compared, never matched as patterns but
for the last digits of a number, and those are digits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from storage.words import Direction, Status, one_of

MOST_ROWS = 200
LEAST_DIGITS = 3  # of a number's end: fewer are most numbers
TEXT_MAX = 255

_DIGITS = re.compile(rf"[0-9]{{{LEAST_DIGITS},20}}")
_CONDITIONS = {
    "status": "c.status = %(status)s",
    "direction": "c.direction = %(direction)s",
    "trunk": "c.trunk = %(trunk)s",
    "provider": "c.provider = %(provider)s",
    "channel": "c.channel = %(channel)s",
    "language": "c.locale = %(language)s",
    "from_number": "c.from_e164 = ANY (%(from_number)s)",
    "to_number": "c.to_e164 = ANY (%(to_number)s)",
    "since": "c.started_at >= %(since)s",
    "until": "c.started_at < %(until)s",
    "digits": "(reverse(c.from_e164) LIKE %(digits)s OR reverse(c.to_e164) LIKE %(digits)s)",
}
_LIVE = {None: (), True: ("c.ended_at IS NULL",), False: ("c.ended_at IS NOT NULL",)}


@dataclass(frozen=True, slots=True)
class CallFilter:
    """None and "" leave open. ``digits`` are the last ones of either number. ValueError says what is allowed."""

    status: Status | None = None
    direction: Direction | None = None
    trunk: str | None = None
    provider: str | None = None
    channel: str | None = None
    language: str | None = None
    from_number: str | None = None
    to_number: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    is_live: bool | None = None
    digits: str | None = None

    def __post_init__(self) -> None:
        one_of(self.status or None, Status, "status")
        one_of(self.direction or None, Direction, "direction")
        for name in ("trunk", "provider", "channel", "language", "from_number", "to_number"):
            value = getattr(self, name)
            if value and (len(value) > TEXT_MAX or not value.isprintable()):
                raise ValueError(f"{name}: allowed are up to {TEXT_MAX} printable characters")
        for name in ("since", "until"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name} {moment.isoformat()}: needs its offset from UTC, or Z")
        if self.since and self.until and self.since >= self.until:
            raise ValueError(f"until {self.until.isoformat()}: must be later than since")
        if self.digits and not _DIGITS.fullmatch(self.digits):
            raise ValueError(f"digits: allowed are the last {LEAST_DIGITS} to 20 digits of a number")

    def conditions(self) -> tuple[list[str], dict[str, Any]]:
        """SQL on ``c`` to be joined by AND, and its values."""
        values: dict[str, Any] = {name: value for name in _CONDITIONS if (value := getattr(self, name))}
        for name in ("from_number", "to_number"):
            if name in values:
                values[name] = spellings(values[name])
        if self.digits:
            values["digits"] = self.digits[::-1] + "%"
        return [*(_CONDITIONS[name] for name in values), *_LIVE[self.is_live]], values


def spellings(number: str) -> list[str]:
    """As it may stand in a row: separators off, with and without the plus of an international number."""
    bare = re.sub(r"[\s().-]", "", number)
    return [bare, bare.removeprefix("+") if bare.startswith("+") else f"+{bare}"]


def mark_of(row: Mapping[str, Any]) -> str:
    """Where the page that ends with this row ends: safe in a URL."""
    return f"{row['started_at']}~{row['id']}"


def read_mark(mark: str) -> tuple[datetime, UUID]:
    """Raises ValueError."""
    try:
        when, id = mark.split("~")
        started_at = datetime.fromisoformat(when)
        if started_at.tzinfo is None:
            raise ValueError
        return started_at.astimezone(UTC), UUID(id)
    except (ValueError, OverflowError):
        raise ValueError("after: allowed is the `next` of an earlier page") from None
