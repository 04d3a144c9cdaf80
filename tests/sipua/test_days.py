"""Days on a clock that is put forward and back, and of the machine's own zone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.days import day_begins, day_of, days_of

KIGALI = ZoneInfo("Africa/Kigali")
ZONES = [
    ZoneInfo(name)
    for name in ("Africa/Kigali", "Europe/Berlin", "America/Havana", "Africa/Cairo", "Pacific/Apia", "UTC")
]


@pytest.mark.parametrize(
    ("zone", "day", "begins", "hours"),
    [
        ("Africa/Kigali", date(2026, 11, 23), "2026-11-22T22:00", 24),
        ("Europe/Berlin", date(2026, 3, 29), "2026-03-28T23:00", 23),
        ("Europe/Berlin", date(2026, 10, 25), "2026-10-24T22:00", 25),
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00", 25),  # 00:00 to 01:00 comes twice
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-23T22:00", 23),  # begins at 01:00
        ("America/Los_Angeles", date(2026, 11, 1), "2026-11-01T07:00", 25),
    ],
)
def test_a_day_begins_at_its_first_moment(zone: str, day: date, begins: str, hours: int) -> None:
    ((_, first, end),) = days_of(day, day, ZoneInfo(zone))
    assert first == datetime.fromisoformat(begins).replace(tzinfo=UTC)
    assert end - first == timedelta(hours=hours)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)), st.sampled_from(ZONES)
)
def test_every_moment_is_in_exactly_the_day_that_it_has(at: datetime, zone: ZoneInfo) -> None:
    day = day_of(at, zone)
    assert day_begins(day, zone) <= at < day_begins(day + timedelta(days=1), zone)


@pytest.fixture
def machine_in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("machine_in_berlin")
def test_the_machines_own_zone_changes_its_offset_within_a_day() -> None:
    noon = datetime(2026, 3, 29, 10, tzinfo=UTC)  # summer time since 03:00
    assert day_of(noon, None) == date(2026, 3, 29)
    assert day_begins(date(2026, 3, 29), None) == datetime(2026, 3, 28, 23, tzinfo=UTC)
