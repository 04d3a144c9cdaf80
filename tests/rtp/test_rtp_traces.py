"""Traces are what they are called, and a file is one too."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from rtp.errors import TraceError
from rtp.traces import (
    Trace,
    both,
    bursts,
    gamma,
    make,
    one_lost_of,
    queued,
    read,
    spikes,
    standard,
    strays,
    uniform,
    with_duplicates,
    with_new_ssrc,
    with_timestamp_jump,
    write,
)


def delays_ms(trace: Trace) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([(min(p.arrivals) - p.sent_s) * 1000 - 30 for p in trace.packets if p.arrivals])


def lost(trace: Trace) -> list[int]:
    return [index for index, packet in enumerate(trace.packets) if not packet.arrivals]


def test_the_same_seed_makes_the_same_traces_and_another_one_others() -> None:
    first, again, other = (standard(seed, 5) for seed in (1, 1, 2))
    assert first == again
    assert [trace.name for trace in first] == [trace.name for trace in other]
    assert first != other
    assert len({trace.name for trace in first}) == len(first)


@pytest.mark.parametrize("fraction", [0.01, 0.03, 0.05, 0.10])
def test_loss_in_bursts_of_one_to_four(fraction: float) -> None:
    missing = lost(make("loss", 1, bursts(fraction), seconds=2000))
    assert len(missing) / 100_000 == pytest.approx(fraction, rel=0.1)
    runs = np.split(np.array(missing), np.flatnonzero(np.diff(missing) > 1) + 1)
    lengths = [len(run) for run in runs]
    assert {1, 2, 3, 4} <= set(lengths)
    assert np.mean(lengths) == pytest.approx(2.5, rel=0.15)  # two bursts may touch


@pytest.mark.parametrize("width", [5, 20, 50])
def test_uniform_jitter_is_as_wide_as_it_says(width: float) -> None:
    delays = delays_ms(make("uniform", 1, uniform(width)))
    assert delays.min() == pytest.approx(0, abs=0.5)
    assert delays.max() == pytest.approx(2 * width, rel=0.02)


def test_a_queue_keeps_the_order() -> None:
    traces = [make("queue", 1, impairment) for impairment in (queued(gamma(2, 10)), spikes(5, 100, 300))]
    for trace in traces:
        assert [index for _, index in trace.arrivals()] == list(range(len(trace.packets)))
    delays = delays_ms(traces[-1])
    assert 250 < delays.max() < 320
    assert (delays > 1).mean() < 0.15


def test_strays_are_overtaken() -> None:
    order = [index for _, index in make("strays", 1, strays(0.01, 25, 60)).arrivals()]
    assert 30 <= sum(a > b for a, b in pairwise(order)) <= 90


def test_one_of_sixty_is_lost() -> None:
    assert lost(make("sixty", 1, one_lost_of(60), seconds=4)) == [59, 119, 179]


def test_duplicates_come_later_and_say_the_same() -> None:
    trace = with_duplicates(make("duplicates", 1), 1, 0.05, 60)
    doubled = [packet for packet in trace.packets if len(packet.arrivals) == 2]
    assert len(doubled) == pytest.approx(300, rel=0.2)
    assert all(0 <= packet.arrivals[1] - packet.arrivals[0] <= 0.06 for packet in doubled)


@pytest.mark.parametrize("ppm", [-300, 300])
def test_a_skewed_clock_is_off_by_so_much_in_the_end(ppm: float) -> None:
    packets = make("skew", 1, skew_ppm=ppm, seconds=100).packets
    assert packets[-1].sent_s == pytest.approx(100 * (1 + ppm / 1e6))
    assert packets[-1].timestamp - packets[0].timestamp == 4999 * 160


def test_packet_times_change_and_the_clock_goes_on() -> None:
    packets = make("ptime", 1, ptimes_ms=(20, 60, 10), seconds=6).packets
    assert {packet.samples for packet in packets} == {160, 480, 80}
    for packet, following in pairwise(packets):
        assert following.timestamp == packet.timestamp + packet.samples
        assert following.sent_s - packet.sent_s == pytest.approx(following.samples / 8000)


def test_wraps_jumps_and_new_sources() -> None:
    by_name = {trace.name: trace for trace in standard(1, 30)}
    wrap = by_name["wrap"].packets
    assert wrap[-1].sequence_number < wrap[0].sequence_number
    assert wrap[-1].timestamp < wrap[0].timestamp
    plain = make("plain", 1, seconds=2)
    assert [packet.ssrc for packet in with_new_ssrc(plain).packets] == [1] * 50 + [2] * 50
    jumped = with_timestamp_jump(plain).packets
    assert jumped[50].timestamp - jumped[49].timestamp == 123_456_789 + 160
    assert jumped[50].sequence_number - jumped[49].sequence_number == 1


def test_talk_spurts_last_as_p59_says() -> None:
    spurts = make("spurts", 1, seconds=2000).packets[-1].spurt
    assert 2000 / spurts == pytest.approx(2.35, rel=0.15)


def test_a_file_is_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "line.txt"
    path.write_text("0 20.5\nL 3\n")
    trace = read(path)
    assert trace.name == "line"
    assert trace.has_jitter
    assert lost(trace) == [2]
    assert list(delays_ms(trace)) == pytest.approx([0, 20.5, 3])


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "line.txt"
    trace = with_duplicates(make("both", 5, both(uniform(50), bursts(0.1)), seconds=20), 5, 0.1, 60)
    write(trace, path)
    again = read(path)
    assert [len(packet.arrivals) for packet in again.packets] == [len(p.arrivals) for p in trace.packets]
    for packet, original in zip(again.packets, trace.packets, strict=True):
        assert packet.arrivals == pytest.approx(original.arrivals, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no packet arrives"),
        ("L L", "no packet arrives"),
        ("1 -2", "entry 2 is '-2'"),
        ("1 x", "entry 2 is 'x'"),
        ("nan", "entry 1 is 'nan'"),
        ("1+", "entry 1 is '1\\+'"),
        ("1+L", "entry 1 is '1\\+L'"),
        ("1e9", "allowed: milliseconds from 0 to 60000"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(TraceError, match=words):
        read(path)
    with pytest.raises(TraceError, match="missing"):
        read(tmp_path / "missing.txt")
