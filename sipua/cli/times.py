"""Points in time as people write them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

import typer

_AGO = re.compile(r"([0-9]{1,5})(min|h|d)")
_UNITS = {"min": "minutes", "h": "hours", "d": "days"}


def moment(text: str, option: str, zone: tzinfo | None) -> datetime | None:
    """``2026-11-01``, ``2026-11-01 14:00`` (in ``zone``, None: the machine's), one with an offset, or ``12h`` ago.

    "" is None, anything else wrong usage.
    """
    if not text:
        return None
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r}: allowed are 2026-11-01, '2026-11-01 14:00', 2026-11-01T14:00+02:00 and 30min, 12h, 7d ago",
            param_hint=option,
        ) from None
