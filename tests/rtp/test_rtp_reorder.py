"""The reorder core as tables (seq, arrival ms, ts → what comes out) and as properties."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.reorder import Frame, Gap, ReorderBuffer

PTIME = 160


@dataclass(frozen=True)
class Arrival:
    at_ms: float
    seq: int
    ts: int | None = None  # default: 160 per packet
    samples: int = PTIME


def shown(out: list[Frame | Gap]) -> list[str]:
    """'5' for a frame, '-320/2' for a gap of 320 samples and two packets."""
    return [
        f"-{each.samples}/{each.packets}" if isinstance(each, Gap) else str(each.sequence & 0xFFFF)
        for each in out
    ]


def run(arrivals: list[Arrival], buffer: ReorderBuffer) -> str:
    """Drive the buffer as the stream does: timers ring exactly at the deadline."""
    words: list[str] = []
    for arrival in arrivals:
        now = arrival.at_ms / 1000
        while (deadline := buffer.deadline()) is not None and deadline <= now:
            words += [f"@{deadline * 1000:.0f}", *shown(buffer.expire(deadline))]
        ts = arrival.seq * PTIME if arrival.ts is None else arrival.ts
        words += shown(buffer.put(arrival.seq, ts & 0xFFFFFFFF, bytes(arrival.samples), now))
    while (deadline := buffer.deadline()) is not None:
        words += [f"@{deadline * 1000:.0f}", *shown(buffer.expire(deadline))]
    return " ".join(words)


A = Arrival
TABLE: dict[str, tuple[list[Arrival], str, dict[str, int]]] = {
    "in order": ([A(0, 1), A(20, 2), A(40, 3)], "1 2 3", {"put": 3, "get": 3}),
    "swapped": ([A(0, 1), A(20, 3), A(21, 2), A(60, 4)], "1 2 3 4", {"put": 4, "ooo": 1, "lost": 0}),
    "one lost": (
        [A(0, 1), A(40, 3), A(60, 4), A(80, 5), A(120, 6)],
        "1 @100 -160/1 3 4 5 6",
        {"lost": 1, "late": 0, "get": 5},
    ),
    "two gaps wait apart": (
        [A(0, 1), A(40, 3), A(80, 5)],
        "1 @100 -160/1 3 @140 -160/1 5",
        {"lost": 2},
    ),
    "the second gap closes": ([A(0, 1), A(40, 3), A(80, 5), A(90, 4)], "1 @100 -160/1 3 4 5", {"ooo": 1}),
    "late": ([A(0, 1), A(40, 3), A(120, 2), A(121, 4)], "1 @100 -160/1 3 4", {"late": 1, "lost": 1}),
    "comes exactly at the deadline's call": (
        [A(0, 1), A(40, 3), A(99, 2)],
        "1 2 3",
        {"late": 0, "lost": 0},
    ),
    "duplicates": (
        [A(0, 1), A(1, 1), A(20, 3), A(21, 3), A(25, 2), A(26, 2)],
        "1 2 3",
        {"dup": 3, "put": 3, "late": 0},
    ),
    "sequence wrap": (
        [A(0, 65534, 0), A(20, 65535, 160), A(40, 0, 320), A(60, 1, 480)],
        "65534 65535 0 1",
        {"restarts": 0},
    ),
    "lost at the wrap": ([A(0, 65535, 0), A(40, 1, 320)], "65535 @100 -160/1 1", {"lost": 1}),
    "timestamp wrap": (
        [A(0, 1, 2**32 - 160), A(20, 2, 0), A(60, 4, 320)],
        "1 2 @120 -160/1 4",
        {"lost": 1},
    ),
    "sender was silent": ([A(0, 1, 0), A(520, 2, 4160)], "1 -4000/0 2", {"lost": 0}),
    "timestamp jumps": ([A(0, 1, 0), A(20, 2, 3_000_000), A(40, 3, 3_000_160)], "1 2 3", {"lost": 0}),
    "timestamp jumps back": ([A(0, 1, 9_000_000), A(20, 2, 0), A(40, 3, 160)], "1 2 3", {"lost": 0}),
    "timestamp jumps over a loss": ([A(0, 1, 0), A(40, 3, 3_000_000)], "1 @100 -160/1 3", {"lost": 1}),
    "sequence jumps": ([A(0, 1), A(20, 2501), A(40, 2502)], "1 @80 -8160/2499 2501 2502", {"lost": 2499}),
    "sequence and timestamp jump": (
        [A(0, 1, 0), A(20, 2501, 3_000_000), A(40, 2502, 3_000_160)],
        "1 @80 -8160/2499 2501 2502",
        {"lost": 2499},
    ),
    "as much was lost as time passed": ([A(0, 1), A(50_000, 2501)], "1 @50002 -399840/2499 2501", {}),
    "ptime grows": (
        [A(0, 1, 0), A(20, 2, 160, 480), A(120, 4, 1120, 480)],
        "1 2 @180 -480/1 4",
        {"lost": 1},
    ),
    "sequence restarts": (
        [A(0, 40000, 0), A(20, 100, 77), A(40, 101, 237), A(60, 102, 397)],
        "40000 100 101 102",
        {"restarts": 1, "lost": 0, "late": 0},
    ),
    "one stray sequence number": (
        [A(0, 1), A(20, 30000), A(21, 2), A(40, 3)],
        "1 2 3",
        {"restarts": 0, "lost": 0},
    ),
    "telephone events fill the sequence": (
        [A(0, 1, 0), A(20, 2, 160, 0), A(40, 3, 160, 0), A(60, 4, 480)],
        "1 2 3 -320/0 4",
        {"lost": 0},
    ),
    "events beside the sound": (
        [A(0, 1, 0), A(20, 2, 160, 0), A(20, 3, 160), A(40, 4, 320)],
        "1 2 3 4",
        {"lost": 0},
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str) -> None:
    arrivals, expected, counters = TABLE[name]
    buffer = ReorderBuffer(max_wait_ms=60)
    assert run(arrivals, buffer) == expected
    assert {key: getattr(buffer.counters, key) for key in counters} == counters


def test_a_full_buffer_gives_up_the_gap() -> None:
    buffer = ReorderBuffer(max_wait_ms=60, capacity=4)
    out: list[Frame | Gap] = []
    for seq in (0, 2, 3, 4, 5, 6):
        out += buffer.put(seq, seq * PTIME, bytes(PTIME), 0.0)
    assert shown(out) == ["0", "-160/1", "2", "3", "4", "5", "6"]
    assert buffer.counters.overflow == 1


def test_a_held_packet_older_than_what_filled_its_gap_is_no_negative_gap() -> None:
    """The loop stood still for three seconds between the two; the gap closes before its time-out is seen."""
    buffer = ReorderBuffer()
    out = buffer.put(1, 160, bytes(PTIME), 0.0)
    out += buffer.put(3, 480, bytes(PTIME), 0.04)
    out += buffer.put(2, 320, bytes(PTIME), 3.0)
    assert shown(out) == ["1", "2", "3"]


def test_restart_hands_on_what_is_held() -> None:
    buffer = ReorderBuffer()
    assert shown(buffer.put(1, 160, bytes(PTIME), 0.0)) == ["1"]
    assert buffer.put(3, 480, bytes(PTIME), 0.0) == []
    assert shown(buffer.restart()) == ["-160/1", "3"]
    assert buffer.deadline() is None
    assert shown(buffer.put(9000, 5, bytes(PTIME), 0.0)) == ["9000"]
    assert buffer.counters.flush == 1


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 120),
    loss=st.floats(0, 0.5),
    duplication=st.floats(0, 0.5),
    jitter_ms=st.floats(0, 200),
    first_seq=st.integers(0, 65535),
    first_ts=st.integers(0, 2**32 - 1),
)
def test_no_duplicate_no_disorder_and_the_right_length(
    seed: int, count: int, loss: float, duplication: float, jitter_ms: float, first_seq: int, first_ts: int
) -> None:
    """Any loss, duplication and permutation by jitter: what comes out is as long as what was sent."""
    chance = random.Random(seed)
    arrivals = [Arrival(0, first_seq, first_ts)]  # the first arrives first: it defines the beginning
    for n in range(1, count):
        packet = (first_seq + n) & 0xFFFF, first_ts + n * PTIME
        if n < count - 1 and chance.random() < loss:  # the last arrives: it defines the end
            continue
        for _ in range(1 + (chance.random() < duplication)):
            arrivals.append(Arrival(n * 20 + chance.random() * jitter_ms, *packet))
    arrivals.sort(key=lambda arrival: arrival.at_ms)
    buffer = ReorderBuffer()
    out: list[Frame | Gap] = []
    accepted: set[int] = set()
    duplicates = 0
    for arrival in arrivals:
        now = arrival.at_ms / 1000
        assert arrival.ts is not None
        duplicates += arrival.seq in accepted
        put = buffer.counters.put
        out += buffer.put(arrival.seq, arrival.ts & 0xFFFFFFFF, bytes(PTIME), now)
        if buffer.counters.put > put:
            accepted.add(arrival.seq)
        assert len(buffer) <= buffer.capacity
    while (deadline := buffer.deadline()) is not None:
        out += buffer.expire(deadline)
    sequences = [each.sequence for each in out if isinstance(each, Frame)]
    assert sequences == sorted(set(sequences))
    assert sum(each.samples for each in out) == count * PTIME
    counters = buffer.counters
    assert counters.put + counters.dup + counters.late == len(arrivals)
    assert counters.dup == duplicates
    assert counters.get == counters.put == len(sequences)
    assert counters.lost == sum(each.packets for each in out if isinstance(each, Gap))


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 2**32 - 1), st.floats(0, 0.3)), max_size=80))
def test_arbitrary_numbers_never_raise_and_stay_bounded(steps: list[tuple[int, int, float]]) -> None:
    buffer = ReorderBuffer(capacity=8)
    now = 0.0
    last = -1
    for seq, ts, wait in steps:
        now += wait
        restarts = buffer.counters.restarts
        for each in [*buffer.expire(now), *buffer.put(seq, ts, b"x" * PTIME, now)]:
            if isinstance(each, Frame):
                assert each.sequence > last or buffer.counters.restarts > restarts
                last = each.sequence
            else:
                assert 0 <= each.samples <= (now + 1) * 8000
        assert len(buffer) <= 8


def test_a_stream_of_nonsense_makes_no_more_sound_than_time_passed() -> None:
    """Sequence numbers in disorder under a timestamp that goes on: each gap alone could be believed."""
    chance = random.Random(1)
    buffer = ReorderBuffer()
    samples = 0
    for n in range(5000):
        out = buffer.put((n + chance.randrange(90)) & 0xFFFF, n * PTIME, bytes(PTIME), n / 5000)
        samples += sum(each.samples for each in out if isinstance(each, Gap))
    assert samples <= (1 + 5 + 1) * 8000


@pytest.mark.parametrize("ppm", [-300, 300])
def test_a_skewed_clock_is_believed_for_hours(ppm: float) -> None:
    """Eight hours: 8.6 s of skew; every thousandth packet is lost and its gap has its length."""
    buffer = ReorderBuffer()
    out: list[Frame | Gap] = []
    for n in range(480_000):  # 60 ms each
        if n % 1000 != 999:
            now = n * 0.06 * (1 - ppm / 1e6)
            given = buffer.put(n & 0xFFFF, (n * 480) & 0xFFFFFFFF, b"x" * 480, now)
            given += buffer.expire(now + 0.059)
            out += [each for each in given if isinstance(each, Gap)]
    assert [each.samples for each in out] == [480] * 479


def test_an_hour_through_many_wraps() -> None:
    """A simulated call of 200,000 packets: sequence and timestamp wrap, nothing held, nothing lost."""
    buffer = ReorderBuffer()
    for n in range(200_000):
        (frame,) = buffer.put(n & 0xFFFF, (2**32 - 500 + n * PTIME) & 0xFFFFFFFF, b"x" * PTIME, n * 0.02)
        assert isinstance(frame, Frame)
        assert frame.sequence == n
    assert buffer.counters.lost == buffer.counters.restarts == 0
