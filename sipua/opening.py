"""Opening hours: when somebody is there, and when next, in words for the model. A core: ``now`` is an argument.

A range belongs to the day on which it begins: one over midnight runs on into a holiday, and none begins on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
SEARCHED_DAYS = 60  # who is closed for longer has no next opening
_LINE = re.compile(r"([a-z]{3})(?:-([a-z]{3}))? (\d{2}):(\d{2})-(\d{2}):(\d{2})", re.IGNORECASE)
ALLOWED = 'allowed: such as "Mon-Fri 08:00-17:30", "Sat 09:00-24:00" or, over midnight, "Fri 22:00-02:00"'
DAY = 24 * 60  # minutes


@dataclass(frozen=True, slots=True)
class Span:
    """In minutes since the midnight of the day on which it begins; ``ends`` is not in it."""

    days: frozenset[int]  # on which it begins; Monday is 0
    begins: int
    ends: int  # beyond DAY: on the next day


def parse_span(text: str) -> Span:
    """``Mon-Fri 08:00-17:30``; one that ends before it begins ends on the next day. ValueError says what is allowed."""
    found = _LINE.fullmatch(text.strip())
    if found is None or not {day.lower() for day in found.group(1, 2) if day} <= set(DAYS):
        raise ValueError(f"{text!r}: {ALLOWED}")
    first = DAYS.index(found[1].lower())
    last = DAYS.index((found[2] or found[1]).lower())
    hour, minute, to_hour, to_minute = (int(each) for each in found.group(3, 4, 5, 6))
    begins, ends = 60 * hour + minute, 60 * to_hour + to_minute
    if minute > 59 or to_minute > 59 or begins >= DAY or ends > DAY or begins == ends:
        raise ValueError(f"{text!r}: ends when it begins, or is no time of day; {ALLOWED}")
    if ends < begins:
        ends += DAY
    return Span(frozenset((first + n) % 7 for n in range((last - first) % 7 + 1)), begins, ends)


@dataclass(frozen=True, slots=True)
class Hours:
    """Of one department or line. Without spans somebody is always there, but on ``holidays``."""

    spans: tuple[Span, ...]
    zone: tzinfo | None  # None: the machine's
    holidays: Mapping[date, str] = field(default_factory=dict)  # with their names, "" where they have none

    def is_open(self, now: datetime) -> bool:
        local = now.astimezone(self.zone)
        today, minute = local.date(), 60 * local.hour + local.minute
        return any(each.begins <= minute < each.ends for each in self._of(today)) or any(
            minute + DAY < each.ends for each in self._of(today - timedelta(days=1))
        )

    def holiday(self, now: datetime) -> str:
        """The name of today's, "" if there is none or it has none."""
        return self.holidays.get(now.astimezone(self.zone).date(), "")

    def next_opening(self, now: datetime) -> datetime | None:
        """The next time that somebody comes, where nobody is there."""
        local = now.astimezone(self.zone)
        for day in (local.date() + timedelta(days=n) for n in range(SEARCHED_DAYS)):
            begins = sorted(each.begins for each in self._of(day))
            for minute in begins:
                at = datetime.combine(day, time(minute // 60, minute % 60), self.zone)
                at = (
                    at.astimezone() if self.zone is None else at
                )  # the machine's has another offset on other days
                if at.astimezone(UTC) > now:
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
            day = f"on {DAY_NAMES[at.weekday()]}" + ("" if away < 7 else f", {at.day} {MONTHS[at.month - 1]}")
        return f"{day} at {at:%H:%M}"

    def state(self, now: datetime) -> str:
        """``open``, or ``closed`` with why and until when."""
        if self.is_open(now):
            return "open"
        holiday, told = self.holiday(now), self.told(now)
        return f"closed{f' today ({holiday})' if holiday else ''}{f', opens {told}' if told else ''}"

    def _of(self, day: date) -> Iterable[Span]:
        if day in self.holidays:
            return ()
        spans = self.spans or (Span(frozenset(range(7)), 0, DAY),)
        return tuple(each for each in spans if day.weekday() in each.days)
