"""When somebody may be called, on the clock where they are."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.calling_hours import CallingHours
from sipua.outbound_settings import parse_holiday

RWANDA, NEW_YORK, FRANCE = "+250788123456", "+12125550123", "+33612345678"
AUSTRALIA, SATELLITE = "+61491570156", "+88312345678"  # a mobile that may be anywhere there; nowhere
WEEKDAYS = ("Mon-Fri 08:00-20:00", "Sat 09:00-18:00")
HOLIDAYS = ("2026-12-25", "RW 2026-07-01")
HOURS = CallingHours.of(WEEKDAYS, HOLIDAYS, ZoneInfo("Africa/Nairobi"))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("number", "now", "opens"),
    [
        (RWANDA, "2026-11-23T05:59:59", "Monday, 23 November, 08:00"),  # UTC+2
        (RWANDA, "2026-11-23T06:00", ""),
        (RWANDA, "2026-11-23T17:59", ""),
        (RWANDA, "2026-11-23T18:00", "Tuesday, 24 November, 08:00"),
        (RWANDA, "2026-11-28T16:00", "Monday, 30 November, 08:00"),
        (RWANDA, "2026-12-25T10:00", "Saturday, 26 December, 09:00"),
        (RWANDA, "2026-07-01T10:00", "Thursday, 2 July, 08:00"),
        (FRANCE, "2026-07-01T10:00", ""),  # no holiday there
        (NEW_YORK, "2026-11-23T10:00", "Monday, 23 November, 08:00"),
        (NEW_YORK, "2026-11-23T13:00", ""),
        (AUSTRALIA, "2026-11-24T01:00", "Tuesday, 24 November, 08:00"),  # in Sydney and Perth it is time
        (AUSTRALIA, "2026-11-24T03:00", ""),
        (SATELLITE, "2026-11-23T05:00", ""),  # Nairobi is three hours ahead
        (SATELLITE, "2026-11-23T04:59", "Monday, 23 November, 08:00"),
    ],
)
def test_when(number: str, now: str, opens: str) -> None:
    why_not = HOURS.why_not(number, at(now))
    if not opens:
        assert why_not == ""
    else:
        assert why_not.endswith(f"open again on {opens}"), why_not


def test_the_refusal_names_zone_and_time() -> None:
    assert HOURS.why_not(RWANDA, at("2026-11-22T23:05")) == (
        "outside the calling hours (Africa/Kigali, where it is Monday, 23 November, 01:05); "
        "open again on Monday, 23 November, 08:00"
    )


def test_without_hours_only_holidays_count() -> None:
    hours = CallingHours.of((), HOLIDAYS, None)
    assert hours.why_not(RWANDA, at("2026-11-22T23:05")) == ""
    assert "open again on Saturday, 26 December, 00:00" in hours.why_not(RWANDA, at("2026-12-25T10:00"))


def test_hours_that_never_come() -> None:
    days = tuple(str(date(2026, 11, 1) + timedelta(days=n)) for n in range(90))
    assert (
        CallingHours.of(WEEKDAYS, days, None).why_not(RWANDA, at("2026-11-23T10:00")).endswith("never open")
    )


@given(
    st.sampled_from([RWANDA, NEW_YORK, FRANCE, AUSTRALIA, SATELLITE]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),
)
def test_what_is_told_comes_true(number: str, now: datetime) -> None:
    """The opening that is found is open in every zone, and not before now."""
    opens = HOURS._opens(HOURS._hours(number), now)
    assert opens is not None
    assert opens >= now
    assert HOURS.why_not(number, opens) == ""


def test_the_day_of_a_number_is_its_own() -> None:
    now = at("2026-11-22T23:05")
    assert (HOURS.today(RWANDA, now), HOURS.today(NEW_YORK, now)) == (date(2026, 11, 23), date(2026, 11, 22))
    assert HOURS.midnight(RWANDA, now) == at("2026-11-22T22:00")


@pytest.mark.parametrize("text", ["2026-13-01", "RW", "Rwanda 2026-07-01", "rw 2026-07-01", "2026-7-1"])
def test_what_is_no_holiday(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: a day such as"):
        parse_holiday(text)
