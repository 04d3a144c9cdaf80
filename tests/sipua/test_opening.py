"""When somebody is there, and when next."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.opening import Hours, parse_span

KIGALI, BERLIN = ZoneInfo("Africa/Kigali"), ZoneInfo("Europe/Berlin")
OFFICE = tuple(map(parse_span, ("Mon-Fri 08:00-12:00", "Mon-Fri 13:00-17:30", "sat 09:00-12:00")))
HOLIDAYS = {date(2026, 12, 25): "Christmas Day"}  # a Friday
DESK = Hours(OFFICE, KIGALI, HOLIDAYS)


def at(text: str, zone: ZoneInfo = KIGALI) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "is_open", "told"),
    [
        ("2026-11-23T07:59:59", False, "today at 08:00"),
        ("2026-11-23T08:00", True, "today at 13:00"),
        ("2026-11-23T12:00", False, "today at 13:00"),
        ("2026-11-23T17:29:59", True, "tomorrow at 08:00"),
        ("2026-11-23T17:30", False, "tomorrow at 08:00"),
        ("2026-11-28T12:00", False, "on Monday at 08:00"),
        ("2026-12-25T10:00", False, "tomorrow at 09:00"),
        ("2026-12-24T18:00", False, "on Saturday at 09:00"),
    ],
)
def test_an_office(now: str, is_open: bool, told: str) -> None:
    assert (DESK.is_open(at(now)), DESK.told(at(now))) == (is_open, told)


def test_a_long_holiday_is_told_with_its_date() -> None:
    days = {date(2026, 12, 24) + timedelta(days=n): "" for n in range(10)}
    assert Hours(OFFICE, KIGALI, days).told(at("2026-12-24T09:00")) == "on Monday, 4 January at 08:00"


def test_a_department_without_hours_is_closed_on_holidays_only() -> None:
    always = Hours((), KIGALI, HOLIDAYS)
    assert always.is_open(at("2026-11-22T03:00"))
    assert not always.is_open(at("2026-12-25T12:00"))
    assert always.told(at("2026-12-25T12:00")) == "tomorrow at 00:00"


def test_who_never_opens_has_no_next_opening() -> None:
    days = {date(2026, 11, 22) + timedelta(days=n): "" for n in range(400)}
    assert Hours(OFFICE, KIGALI, days).told(at("2026-11-22T12:00")) == ""


def test_eight_is_eight_on_both_sides_of_a_clock_change() -> None:
    desk = Hours((parse_span("Mon-Sun 08:00-17:00"),), BERLIN)
    assert desk.next_opening(at("2026-10-24T20:00", BERLIN)) == at("2026-10-25T08:00", BERLIN)
    assert desk.is_open(datetime(2026, 10, 24, 6, 0, tzinfo=UTC))  # summer time
    assert not desk.is_open(datetime(2026, 10, 25, 6, 59, tzinfo=UTC))


NIGHT = Hours(
    tuple(map(parse_span, ("Fri-Sat 22:00-02:00", "Thu 18:00-24:00"))),
    KIGALI,
    {date(2026, 11, 28): "Umuganda"},
)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        ("2026-11-26T23:59", "open"),  # Thursday
        ("2026-11-27T00:00", "closed, opens today at 22:00"),
        ("2026-11-27T22:00", "open"),
        ("2026-11-28T01:59", "open"),  # what began the day before runs on into a holiday
        ("2026-11-28T02:00", "closed today (Umuganda), opens on Thursday at 18:00"),
        ("2026-11-28T23:00", "closed today (Umuganda), opens on Thursday at 18:00"),
        ("2026-11-29T01:00", "closed, opens on Thursday at 18:00"),  # nothing began on the holiday
        ("2026-12-06T01:59:59", "open"),
        ("2026-12-06T02:00", "closed, opens on Thursday at 18:00"),
    ],
)
def test_a_range_over_midnight_belongs_to_the_day_on_which_it_begins(now: str, state: str) -> None:
    assert NIGHT.state(at(now)) == state


def test_days_go_round_the_weekend_and_a_day_ends_at_24() -> None:
    assert parse_span("Fri-Mon 20:00-24:00").days == {4, 5, 6, 0}
    assert parse_span("Wed 00:00-24:00").ends == 1440


@pytest.mark.parametrize(
    "text", ["", "Mon", "Mon 8:00-12:00", "Mon 24:00-08:00", "Mon 08:00-08:00", "Mon 08:00-24:01", "Xyz 08:00-12:00",
             "Mon-Xyz 08:00-12:00", "Mon 08:75-12:00"]
)  # fmt: skip
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="Mon-Fri 08:00-17:30"):
        parse_span(text)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)), st.sampled_from([KIGALI, BERLIN]))
def test_the_next_opening_is_open_and_the_minute_before_is_not_of_its_span(
    when: datetime, zone: ZoneInfo
) -> None:
    hours, now = Hours(OFFICE, zone, HOLIDAYS), when.replace(tzinfo=UTC)
    opening = hours.next_opening(now)
    assert opening is not None
    assert opening > now
    assert hours.is_open(opening)
    assert not hours.is_open(opening - timedelta(minutes=1))
