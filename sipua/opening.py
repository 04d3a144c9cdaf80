"""Opening hours: when somebody is there, and when next, in words for the model. A core: ``now`` is an argument."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
SEARCHED_DAYS = 60  # who is closed for longer has no next opening
_LINE = re.compile(r"([a-z]{3})(?:-([a-z]{3}))? (\d{2}):(\d{2})-(\d{2}):(\d{2})", re.IGNORECASE)
ALLOWED = 'allowed: such as "Mon-Fri 08:00-17:30" or "Sat 09:00-24:00"'


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a day, in minutes since midnight; ``ends`` is not in it."""

    days: frozenset[int]  # Monday is 0
    begins: int
    ends: int


def parse_span(text: str) -> Span:
    """``Mon-Fri 08:00-17:30``; ValueError says what is allowed. Over midnight takes two of them."""
    found = _LINE.fullmatch(text.strip())
    if found is None or not {day.lower() for day in found.group(1, 2) if day} <= set(DAYS):
        raise ValueError(f"{text!r}: {ALLOWED}")
    first = DAYS.index(found[1].lower())
    last = DAYS.index((found[2] or found[1]).lower())
    hour, minute, to_hour, to_minute = (int(each) for each in found.group(3, 4, 5, 6))
    begins, ends = 60 * hour + minute, 60 * to_hour + to_minute
    if minute > 59 or to_minute > 59 or not begins < ends <= 24 * 60:
        raise ValueError(f"{text!r}: ends before it begins, or is no time of day; {ALLOWED}")
    return Span(frozenset((first + n) % 7 for n in range((last - first) % 7 + 1)), begins, ends)


@dataclass(frozen=True, slots=True)
class Hours:
    """Of one department. Without spans somebody is always there, but on ``holidays``."""

    spans: tuple[Span, ...]
    zone: tzinfo | None  # None: the machine's
    holidays: frozenset[date] = frozenset()

    def is_open(self, now: datetime) -> bool:
        local = now.astimezone(self.zone)
        minute = 60 * local.hour + local.minute
        return any(each.begins <= minute < each.ends for each in self._of(local.date()))

    def next_opening(self, now: datetime) -> datetime | None:
        """The next time that somebody comes, where nobody is there."""
        local = now.astimezone(self.zone)
        for day in (local.date() + timedelta(days=n) for n in range(SEARCHED_DAYS)):
            begins = sorted(each.begins for each in self._of(day))
            for minute in begins:
                at = _at(day, minute, local.tzinfo if self.zone is None else self.zone)
                if at > local:
                    return at
        return None

    def told(self, now: datetime) -> str:
        """``next_opening`` in words; "" if there is none."""
        at = self.next_opening(now)
        if at is None:
            return ""
        away = (at.date() - now.astimezone(self.zone).date()).days
        if away < 2:
            day = ("today", "tomorrow")[away]
        else:
            day = f"on {NAMES[at.weekday()]}" + ("" if away < 7 else f", {at.day} {MONTHS[at.month - 1]}")
        return f"{day} at {at:%H:%M}"

    def _of(self, day: date) -> Iterable[Span]:
        if day in self.holidays:
            return ()
        spans = self.spans or (Span(frozenset(range(7)), 0, 24 * 60),)
        return tuple(each for each in spans if day.weekday() in each.days)


def _at(day: date, minute: int, zone: tzinfo | None) -> datetime:
    return datetime.combine(day, time(minute // 60, minute % 60), zone)
