"""Days on somebody's clock: which one a moment is in, and when it begins. No I/O.

A zone of None is the machine's. Its offset of now is not that of the whole day, and midnight may come twice (Havana) or
not at all (Cairo): the day begins at the first moment that has its date.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo


def day_of(at: datetime, zone: tzinfo | None) -> date:
    """The date there."""
    return at.astimezone(zone).date()


def day_begins(day: date, zone: tzinfo | None) -> datetime:
    """In UTC."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)  # fold=0: the first of two
    return midnight.astimezone(UTC)


def days_of(first: date, last: date, zone: tzinfo | None) -> list[tuple[date, datetime, datetime]]:
    """Each with its beginning and its end (not in it), in UTC."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 2)]
    begins = [day_begins(day, zone) for day in days]
    return list(zip(days, begins, begins[1:], strict=False))
