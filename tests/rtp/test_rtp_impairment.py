"""What a bad line does to the n-th packet, by table: (sent at, fate) → what arrives when."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.impairment import MAX_HELD, Counts, Fate, Impairment, fates_of
from rtp.traces import both, bursts, make, uniform, with_duplicates

LOST: Fate = ()
Arrivals = list[tuple[float, str]]


def arrivals_of(line: Impairment, packets: list[tuple[float, str]]) -> Arrivals:
    """Time and packet of every arrival, with the line asked exactly when it says."""
    found: Arrivals = []

    def until(limit: float) -> None:
        while (at := line.next_at) is not None and at <= limit:
            found.extend((round(at, 6), packet.decode()) for packet in line.due(at))

    for sent, packet in packets:
        until(sent)
        line.push(packet.encode(), sent)
    until(float("inf"))
    return found


ROWS: dict[str, tuple[list[Fate], list[tuple[float, str]], Arrivals, Counts]] = {
    "at-once": ([(0.0,)], [(1, "a"), (2, "b")], [(1, "a"), (2, "b")], Counts(sent=2, arrived=2)),
    "delayed": ([(0.5,)], [(1, "a"), (2, "b")], [(1.5, "a"), (2.5, "b")], Counts(sent=2, arrived=2)),
    "lost": ([(0.0,), LOST], [(1, "a"), (2, "b")], [(1, "a")], Counts(sent=2, arrived=1, lost=1)),
    "overtaken": (
        [(1.5,), (0.0,)], [(1, "a"), (2, "b")], [(2, "b"), (2.5, "a")], Counts(sent=2, arrived=2, reordered=1),
    ),
    "twice": (
        [(0.1, 0.3)], [(1, "a"), (1.1, "b")], [(1.1, "a"), (1.2, "b"), (1.3, "a"), (1.4, "b")],
        Counts(sent=2, arrived=4, repeated=2),
    ),
    "the-trace-begins-anew": (
        [(0.0,), LOST], [(1, "a"), (2, "b"), (3, "c"), (4, "d")], [(1, "a"), (3, "c")],
        Counts(sent=4, arrived=2, lost=2),
    ),
    "at-the-same-time-in-the-order-sent": (
        [(0.2,), (0.1,)], [(1.0, "a"), (1.1, "b")], [(1.2, "a"), (1.2, "b")], Counts(sent=2, arrived=2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_what_happens_to_each_packet(name: str) -> None:
    fates, packets, expected, counts = ROWS[name]
    line = Impairment(fates)
    assert arrivals_of(line, packets) == expected
    assert line.counts == counts
    assert line.next_at is None


def test_nothing_arrives_before_its_time() -> None:
    line = Impairment([(0.5,)])
    line.push(b"a", 1.0)
    assert line.due(1.499) == []
    assert line.next_at == 1.5
    assert line.due(9.0) == [b"a"]  # asked late: late


def test_too_many_on_the_way_are_lost_and_counted() -> None:
    line = Impairment([(60.0,)])
    for number in range(MAX_HELD + 3):
        line.push(b"", number / 1e6)
    assert line.counts.overflow == 3
    assert len(line.due(61.0)) == MAX_HELD


def test_a_trace_gives_its_fates_without_the_delay_of_all() -> None:
    trace = with_duplicates(make("both", 3, both(uniform(50), bursts(0.1)), seconds=20), 3, 0.1, 60)
    fates = fates_of(trace)
    assert [len(fate) for fate in fates] == [len(packet.arrivals) for packet in trace.packets]
    delays = [delay for fate in fates for delay in fate[:1]]
    assert 0 <= min(delays) < 0.01
    assert 0.09 < max(delays) < 0.1


@given(
    fates=st.lists(st.lists(st.floats(0, 1), max_size=3).map(tuple), min_size=1, max_size=20),
    count=st.integers(0, 60),
)
def test_every_packet_arrives_as_often_as_its_fate_says(fates: list[Fate], count: int) -> None:
    line = Impairment(fates)
    names = [str(number) for number in range(count)]
    arrived = arrivals_of(line, [(number * 0.02, name) for number, name in enumerate(names)])
    assert [at for at, _ in arrived] == sorted(at for at, _ in arrived)
    for number, name in enumerate(names):
        due = sorted(number * 0.02 + delay for delay in fates[number % len(fates)])
        assert [at for at, packet in arrived if packet == name] == pytest.approx(due, abs=1e-5)
    counts = dataclasses.asdict(line.counts)
    assert counts["arrived"] == len(arrived) == counts["sent"] - counts["lost"] + counts["repeated"]
