"""Times of a call's rows strictly increase, whatever the wall clock does meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sipua.call_times import RECENT_MAX, TICK, CallTimes
from sipua.clock import CallClock
from sipua.outcome import CALLER_HUNG_UP
from sipua.ports import Moment
from sipua.transcript import Segment
from storage.facts import CallEnded, Event
from tests.sipua.test_ledger import OPENING, Book

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Jumping:
    """A clock whose wall time somebody sets."""

    def __init__(self) -> None:
        self.monotonic, self.wall = 100.0, START

    def passes(self, seconds: float, jump_s: float = 0.0) -> None:
        self.monotonic += seconds
        self.wall += timedelta(seconds=seconds + jump_s)

    def now(self) -> Moment:
        return Moment(self.monotonic, self.wall)


def test_events_of_one_moment_come_in_the_order_in_which_they_were_told() -> None:
    times = CallTimes(START)
    assert [times.event(START) for _ in range(3)] == [START, START + TICK, START + 2 * TICK]
    assert times.end(START) == START + 2 * TICK


def test_a_word_that_was_spoken_earlier_keeps_its_time() -> None:
    times = CallTimes(START)
    later = START + timedelta(seconds=5)
    times.event(later)
    assert times.event(START + timedelta(seconds=1)) == START + timedelta(seconds=1)
    assert times.end(later) == later


@given(st.lists(st.integers(-5, 5), max_size=60))
def test_no_two_events_share_a_time_and_the_end_is_last(microseconds: list[int]) -> None:
    times = CallTimes(START)
    told = [times.event(START + timedelta(microseconds=each)) for each in microseconds]
    assert len(set(told)) == len(told)
    assert all(START <= t <= times.end(START) for t in told)


def test_a_long_call_costs_no_more_memory() -> None:
    times = CallTimes(START)
    for number in range(3 * RECENT_MAX):
        times.event(START + timedelta(seconds=number))
    assert len(times._taken) == RECENT_MAX


@given(st.lists(st.tuples(st.floats(0, 3600), st.floats(-86_400, 86_400)), max_size=20))
def test_a_clock_that_is_set_moves_no_row_of_a_call_that_runs(steps: list[tuple[float, float]]) -> None:
    clock = Jumping()
    calls = CallClock(clock)
    before = calls.now()
    for seconds, jump_s in steps:
        clock.passes(seconds, jump_s)
        now = calls.now()
        assert now.monotonic == clock.monotonic
        gone = timedelta(seconds=now.monotonic - before.monotonic)
        assert abs(now.wall - before.wall - gone) <= 2 * TICK
        before = now
    assert CallClock(clock).now() == clock.now()  # the next call has the new time


def test_whatever_the_clock_does_a_call_ends_after_it_began() -> None:
    """Also where somebody hands in moments of a clock that was set back by an hour, twice the same."""
    book, clock = Book(), Jumping()
    record = book.ledger.open(OPENING, clock.now())
    record.ringing(clock.now())
    clock.passes(1)
    record.answered(clock.now(), "PCMU")
    record.error(clock.now(), "a", "b")
    record.transcript(Segment(1, "user", "x", clock.now().wall, "i"), None)
    clock.passes(2, jump_s=-3600)
    record.error(clock.now(), "c", "d")
    record.ended(clock.now(), CALLER_HUNG_UP, {})
    facts = [fact for group in book.groups for fact in group]
    events = [fact for fact in facts if isinstance(fact, Event)]
    (end,) = (fact for fact in facts if isinstance(fact, CallEnded))
    assert len({event.t for event in events}) == len(events) == 7
    assert all(event.t >= START for event in events)
    assert events[-1].type == "call_ended"
    assert events[-1].t == max(event.t for event in events)
    assert end.ended_at >= START
    assert end.duration_seconds == 2
