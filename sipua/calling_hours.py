"""When somebody may be called, on the clock where they are. A core: ``now`` is an argument.

The time zone comes from the number (``phonenumbers``). A number that may be in several (mobiles of Australia, 800 of
North America) is called when it is time in all of them; one that is nowhere has the configured zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

from sipua.days import day_begins, day_of
from sipua.locale import country_of, zones_of
from sipua.opening import DAY_NAMES, MONTHS, Hours, Span, parse_span
from sipua.outbound_settings import parse_holiday

STEPS_MAX = 64  # from one zone's opening to the next; who is never open in all of them is never called


@dataclass(frozen=True, slots=True)
class CallingHours:
    """``otherwise``: the zone of numbers without one; None: the machine's. ``holidays``: with their country, or ""."""

    spans: tuple[Span, ...] = ()
    holidays: tuple[tuple[str, date], ...] = ()
    otherwise: tzinfo | None = None

    @classmethod
    def of(cls, spans: Iterable[str], holidays: Iterable[str], otherwise: tzinfo | None) -> CallingHours:
        """From the settings' words."""
        return cls(tuple(map(parse_span, spans)), tuple(map(parse_holiday, holidays)), otherwise)

    def today(self, number: str, now: datetime) -> date:
        """The day where the number is; the earliest of several."""
        return min(day_of(now, zone) for zone in self._zones(number))

    def midnight(self, number: str, now: datetime) -> datetime:
        """When that day began."""
        zones = self._zones(number)
        return min(day_begins(day_of(now, zone), zone) for zone in zones)

    def why_not(self, number: str, now: datetime) -> str:
        """Why the number is not called now, and when it may be; "" if it may."""
        hours = self._hours(number)
        closed = [each for each in hours if not each.is_open(now)]
        if not closed:
            return ""
        local = self._local(closed[0].zone, now)
        place = getattr(closed[0].zone, "key", None) or "the configured time zone"
        opens = self._opens(hours, now)
        when = f"open again on {_told(opens.astimezone(closed[0].zone))}" if opens else "never open"
        return f"outside the calling hours ({place}, where it is {_told(local)}); {when}"

    def _opens(self, hours: Sequence[Hours], now: datetime) -> datetime | None:
        at = now
        for _ in range(STEPS_MAX):
            closed = next((each for each in hours if not each.is_open(at)), None)
            if closed is None:
                return at
            following = closed.next_opening(at)
            if following is None:
                return None
            at = following
        return None

    def _hours(self, number: str) -> tuple[Hours, ...]:
        country = country_of(number)
        days = {day: "" for where, day in self.holidays if where in ("", country)}
        return tuple(Hours(self.spans, zone, days) for zone in self._zones(number))

    def _zones(self, number: str) -> tuple[tzinfo | None, ...]:
        return zones_of(number) or (self.otherwise,)

    def _local(self, zone: tzinfo | None, now: datetime) -> datetime:
        return now.astimezone(zone)


def _told(at: datetime) -> str:
    return f"{DAY_NAMES[at.weekday()]}, {at.day} {MONTHS[at.month - 1]}, {at:%H:%M}"
