"""How a call went: what is kept of its media and its answers, and how a long call stays small."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sipua.course import MOST, Course, Point, Turn


def figures(heard: int, lost: int, jitter_ms: float | None = 1.26) -> dict[str, Any]:
    quality = {"delay_ms": 60.0} if heard else None
    return {"buffer": {"get": heard, "lost": lost}, "quality": quality, "jitter_ms": jitter_ms}


def test_a_step_tells_its_own_loss() -> None:
    course = Course()
    assert not course.is_due(4.9)
    assert course.is_due(5.0)
    course.measured(5.0, figures(250, 0))
    assert not course.is_due(9.9)
    course.measured(10.0, figures(475, 25))
    course.measured(15.0, figures(725, 25, 3.04))
    assert [(point.loss_percent, point.jitter_ms) for point in course.points] == [
        (0, 1.3),
        (10, 1.3),
        (0, 3.0),
    ]
    clear, bad, clear_again = (point.mos for point in course.points)
    assert clear == clear_again
    assert clear is not None
    assert bad is not None
    assert clear > 4.3 > 3.5 > bad


def test_what_was_not_measured_is_none() -> None:
    course = Course()
    course.measured(5.0, figures(0, 0, None))
    assert course.points == [Point(5.0, None, None, None)]
    course.measured(10.0, figures(250, 0))
    course.measured(15.0, figures(250, 0))  # a held call
    assert [point.mos is None for point in course.points] == [True, False, True]


def test_the_worst_of_a_long_call_stays() -> None:
    course = Course()
    at_s, heard, lost = 0.0, 0, 0
    while at_s < 4 * 3600:
        at_s += 0.5
        if course.is_due(at_s):
            heard, lost = heard + 240, lost + (60 if 7200 < at_s < 7300 else 0)
            course.measured(at_s, figures(heard, lost))
    assert MOST / 2 <= len(course.points) <= MOST
    assert max(point.loss_percent or 0 for point in course.points) > 5
    times = [point.at_s for point in course.points]
    assert times == sorted(times)
    assert times[-1] > 4 * 3600 - 2 * (times[-1] - times[-2])


def test_an_answer_is_timed_from_the_last_stop() -> None:
    course = Course()
    assert course.answered(1.0) is None  # the greeting
    course.caller_stopped(3.0)
    course.caller_spoke()  # it was a pause
    course.caller_stopped(5.0)
    assert course.answered(5.62) == Turn(5.6, 620)
    assert course.answered(5.64) is None  # the same answer goes on
    course.caller_stopped(6.0)
    assert course.answered(120.0) is None  # the far end was silent: nobody waited
    assert course.as_dict() == {"turns": [{"at_s": 5.6, "ms": 620}]}


@given(st.lists(st.integers(0, 5000), max_size=400))
def test_the_slowest_answer_stays(delays_ms: list[int]) -> None:
    course = Course()
    for number, ms in enumerate(delays_ms):
        course.caller_stopped(number * 10.0)
        course.answered(number * 10.0 + ms / 1000)
    assert len(course.turns) <= MOST
    if len(delays_ms) <= MOST:
        assert [turn.ms for turn in course.turns] == delays_ms
    else:
        assert max(turn.ms for turn in course.turns) == max(delays_ms)


def test_empty_is_nothing() -> None:
    assert Course().as_dict() == {}
