"""From what is seen to what is told: the table of the core, flapping, restarts, bounds."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.alerts.incident import INCIDENTS_MAX, KEEP_S, Incidents, Patience, Phase, Trouble
from sipua.alerts.state_file import FILE_NAME, dump, load, save
from sipua.ports import Moment
from tests.alerts.parts import PATIENCE, START, look, trouble, words

DOWN: list[Trouble] = [trouble()]
UP: list[Trouble] = []

# (what is seen at which second, what is told by then)
COURSES = {
    "a short fault is not told": ([(0, DOWN), (29, DOWN), (30, UP), (90, UP)], []),
    "a fault is told once": ([(0, DOWN), (30, DOWN), (31, DOWN), (5000, DOWN)], ["opened"]),
    "and its recovery": ([(0, DOWN), (30, DOWN), (40, UP), (99, UP), (100, UP)], ["opened", "recovered"]),
    "not before it is steady": ([(0, DOWN), (30, DOWN), (40, UP), (99, UP)], ["opened"]),
    "what flaps is one incident": (
        [(0, DOWN), (30, DOWN), (40, UP), (90, DOWN), (100, UP), (150, DOWN), (160, UP), (220, UP)],
        ["opened", "recovered"],
    ),
    "which is not over while it flaps": (
        [(0, DOWN), (30, DOWN), (40, UP), (90, DOWN), (91, UP), (110, UP), (150, UP)],
        ["opened"],
    ),
    "what flaps from the start is told too": (
        [(0, DOWN), (2, UP), (20, DOWN), (22, UP), (40, DOWN)],
        ["opened"],
    ),
    "after the recovery it is another": (
        [(0, DOWN), (30, DOWN), (40, UP), (100, UP), (101, DOWN), (131, DOWN)],
        ["opened", "recovered", "opened"],
    ),
}


@pytest.mark.parametrize(("seen", "told"), COURSES.values(), ids=COURSES)
def test_courses(seen: list[tuple[float, list[Trouble]]], told: list[str]) -> None:
    incidents, said = Incidents(["log"]), []
    for at_s, troubles in seen:
        look(incidents, at_s, troubles)
        said += words(incidents)
    assert said == told


def test_each_subject_is_an_incident_and_other_kinds_are_left_alone() -> None:
    incidents = Incidents(["log"])
    now = Patience()
    look(incidents, 0, [trouble("mtn"), trouble("twilio")], now)
    incidents.seen("disk", [], now, START.at(1001.0))
    assert words(incidents) == ["opened", "opened"]
    look(incidents, 2, [trouble("twilio")], now)
    assert words(incidents) == ["recovered"]
    assert [each.subject for each in incidents.all] == ["twilio"]


def test_the_latest_reason_is_told_and_since_when_it_is_so() -> None:
    incidents = Incidents(["log"])
    look(incidents, 0, [trouble(what="first")])
    look(incidents, 30, [trouble(what="second")])
    ((incident, _),) = [found for found in [incidents.next_for("log")] if found]
    assert (incident.what, incident.since) == ("second", START.wall)
    look(incidents, 40, UP)
    look(incidents, 100, UP)
    assert incident.until == START.wall + timedelta(seconds=40)


def test_reminders_are_told_by_setting_and_the_newest_only() -> None:
    incidents = Incidents(["log", "mail"], remind_s=3600)
    for hour in range(4):
        look(incidents, hour * 3600, DOWN, Patience())
    assert words(incidents) == ["opened", "reminder"]  # the log was asked at the end only
    look(incidents, 4 * 3600, UP, Patience())
    assert words(incidents) == ["recovered"]
    assert words(incidents, "mail") == ["opened", "recovered"]  # no reminder of what is over
    assert not incidents.all


def test_a_restart_tells_nothing_twice_and_the_recovery(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    before = Incidents(["log", "mail"])
    look(before, 0, DOWN)
    look(before, 30, DOWN)
    assert words(before) == ["opened"]  # the mail server does not answer
    save(file, dump(before.all))

    after = Incidents(["log", "mail"], known=load(file))
    assert (words(after), words(after, "mail")) == ([], ["opened"])
    look(after, 5, DOWN)  # another boot: its clock begins anew
    look(after, 6, UP)
    look(after, 66, UP)
    assert (words(after), words(after, "mail")) == (["recovered"], ["recovered"])
    assert not after.all


def test_a_recovery_that_nobody_takes_is_given_up_after_a_day() -> None:
    incidents = Incidents(["mail"])
    look(incidents, 0, DOWN, Patience())
    look(incidents, 1, UP, Patience())
    look(incidents, KEEP_S, UP, Patience())
    assert incidents.waiting() == 2
    look(incidents, KEEP_S + 2, UP, Patience())
    assert incidents.waiting() == 0


def test_without_channels_nothing_is_kept() -> None:
    incidents = Incidents([])
    look(incidents, 0, DOWN, Patience())
    look(incidents, 1, UP, Patience())
    assert (incidents.all, incidents.waiting()) == ([], 0)


def test_more_than_can_be_told_are_counted() -> None:
    incidents = Incidents(["log"])
    look(incidents, 0, [trouble(str(n)) for n in range(INCIDENTS_MAX + 5)], Patience())
    assert (len(incidents.all), incidents.overlooked) == (INCIDENTS_MAX, 5)


def test_a_wall_clock_that_jumps_back_changes_nothing() -> None:
    incidents = Incidents(["log"])
    look(incidents, 0, DOWN)
    back = START.wall - timedelta(days=400)
    incidents.seen("trunk", DOWN, PATIENCE, Moment(1030.0, back))
    incidents.seen("trunk", UP, PATIENCE, Moment(1031.0, back))
    incidents.seen("trunk", UP, PATIENCE, Moment(1091.0, back))
    assert words(incidents) == ["opened", "recovered"]


@given(st.lists(st.tuples(st.floats(0.1, 100), st.booleans(), st.booleans()), max_size=40))
def test_whatever_is_seen_openings_and_recoveries_alternate(course: list[tuple[float, bool, bool]]) -> None:
    """With a restart now and then."""
    incidents, at_s, said = Incidents(["log"]), 0.0, list[str]()
    for wait_s, is_down, restarts in course:
        at_s += wait_s
        look(incidents, at_s, DOWN if is_down else UP)
        said += words(incidents)
        if restarts:
            incidents = Incidents(["log"], known=incidents.all)
    assert said == (["opened", "recovered"] * len(said))[: len(said)]
    assert any(each.phase is not Phase.RECOVERED for each in incidents.all) == (len(said) % 2 == 1)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"version": 2, "incidents": []}', b'{"version": 1, "incidents": [{}]}', b"\xff"],
)
def test_a_file_that_cannot_be_read_is_taken_for_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert load(tmp_path / FILE_NAME) == []
