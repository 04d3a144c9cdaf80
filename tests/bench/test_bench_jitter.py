"""The jitter bench drives the agent's own class, and its figures are what they are called."""

from __future__ import annotations

import asyncio
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rtp.codec import CODECS
from rtp.pacer import Pacer
from rtp.ports import PortAllocator
from rtp.traces import Trace, TracePacket, bursts, make, one_lost_of, strays, uniform
from sipua.bench.jitter import buffers, ours
from sipua.bench.jitter.optimum import best_fixed, optimum
from sipua.bench.jitter.outcome import Outcome
from sipua.bench.jitter.run import FIXED, OPTIMUM, OTHERS, OURS, Row, judge, measure
from sipua.cli.bench import app
from sipua.media import MediaLeg
from sipua.media_ports import MediaPorts


def trace_of(delays_ms: list[float | None], spurts: list[int] | None = None) -> Trace:
    """A packet every 20 ms with these delays; None: lost."""
    packets = tuple(
        TracePacket(
            n * 0.02, n, n * 160, 1, 160, spurts[n] if spurts else 0,
            () if delay is None else (n * 0.02 + delay / 1000,),
        )
        for n, delay in enumerate(delays_ms)
    )  # fmt: skip
    return Trace("made", packets, True)


def test_it_drives_the_class_that_serve_runs_with_the_same_settings() -> None:
    async def of_a_call() -> None:
        ports = PortAllocator(0, 0)
        leg = MediaLeg(ports.open_pair("127.0.0.1"), MediaPorts(ports), Pacer(), CODECS["PCMU"])
        try:
            served, driven = leg._stream, ours.new_stream()
            assert type(served) is type(driven)
            assert type(served.uplink) is type(driven.uplink)
            assert type(served.uplink.reorder) is type(driven.uplink.reorder)
            assert served._max_wait_ms == driven._max_wait_ms
            assert served.uplink.reorder.capacity == driven.uplink.reorder.capacity
        finally:
            leg.close()

    asyncio.run(of_a_call())


def test_the_figures_of_an_outcome() -> None:
    nan = float("nan")
    arrived = np.array([0.0, nan, 0.040, 0.060, 0.080, 0.100])
    handed_over = np.array([0.0, nan, 0.062, 0.062, nan, 0.110])
    outcome = Outcome(handed_over, arrived)
    assert outcome.late_count == 1
    assert outcome.late_fraction == pytest.approx(1 / 5)  # of those that arrived
    assert list(outcome.added_ms()) == pytest.approx([0, 22, 2, 10])
    assert list(outcome.added_outside_gaps_ms()) == pytest.approx([0, 10])


def test_ours_hands_over_at_once_and_waits_for_what_is_overtaken() -> None:
    outcome = ours.play(trace_of([0, 0, 35, 0, 0, 0]))
    assert list(outcome.added_ms()) == pytest.approx([0, 0, 0, 15, 0, 0])
    assert outcome.late_count == 0


def test_what_a_loss_costs_ours_is_over_with_the_gap() -> None:
    outcome = ours.play(make("lost", 1, one_lost_of(60)))
    assert outcome.late_count == 0
    assert outcome.added_outside_gaps_ms().max() == 0
    assert outcome.added_ms().mean() < 0.1


def are_distinct(delays: list[float | None]) -> bool:
    """Of two equal delays the optimum may leave out one, which no playout can: it is a bound then."""
    known = [delay for delay in delays if delay is not None]
    return 0 < len(known) == len(set(known))


delays = st.lists(st.one_of(st.none(), st.integers(0, 200).map(float)), min_size=1, max_size=6).filter(
    are_distinct
)


@given(delays=delays, spurt_size=st.integers(2, 4), max_late=st.integers(0, 3), added=st.booleans())
def test_no_choice_of_delays_is_better_than_the_optimum(
    delays: list[float | None], spurt_size: int, max_late: int, added: bool
) -> None:
    """Against all choices of one delay per talk spurt."""
    spurts = [n // spurt_size for n in range(len(delays))]
    trace = trace_of(delays, spurts)
    known = [delay for delay in delays if delay is not None]
    least = float("inf")
    for playout in product([*known, -1.0], repeat=spurts[-1] + 1):
        played = [
            (playout[spurt], delay)
            for delay, spurt in zip(delays, spurts, strict=True)
            if delay is not None and delay <= playout[spurt]
        ]
        if len(known) - len(played) <= max_late and played:
            least = min(least, sum(at - (delay if added else 0) for at, delay in played) / len(played))
    found = optimum(trace, max_late, added=added)
    assert found.late_count <= max_late
    cost = (
        found.added_ms()
        if added
        else found.added_ms()
        + [
            delay
            for delay, at in zip(delays, found.handed_over, strict=True)
            if delay is not None and at == at
        ]
    )
    if len(known) > max_late:
        assert cost.mean() == pytest.approx(least, abs=1e-6)
    if len(known) > max_late:
        fixed = best_fixed(trace, max_late)
        assert fixed.late_count <= max_late
        assert optimum(trace, fixed.late_count).added_ms().mean() <= fixed.added_ms().mean() + 1e-6


def test_models_of_other_buffers_on_a_constant_line() -> None:
    trace = make("constant", 1, seconds=20)
    added = {name: play(trace).added_ms() for name, play in OTHERS.items()}
    assert added["fixed 200 ms"] == pytest.approx(200)
    assert added["fixed 60 ms"] == pytest.approx(60)
    assert added["aiortc"] == pytest.approx(80)  # it keeps four frames
    assert added["Asterisk-like"][-1] == pytest.approx(40)
    assert added["NetEQ-like"][0] == pytest.approx(20, abs=70)
    assert added["NetEQ-like"][-1] == pytest.approx(20)


def test_models_of_other_buffers_adapt() -> None:
    trace = make("jitter", 1, uniform(50), seconds=30)
    neteq, asterisk = buffers.neteq(trace), buffers.asterisk_adaptive(trace)
    assert 80 < (neteq.handed_over - [packet.sent_s for packet in trace.packets])[-100:].min() * 1000 < 160
    assert neteq.late_fraction < 0.02
    assert asterisk.late_fraction < 0.01
    assert asterisk.added_ms().mean() > neteq.added_ms().mean()
    assert buffers.fixed(60)(trace).late_fraction == pytest.approx(0.4, abs=0.05)


def test_aiortcs_buffer_throws_away_what_is_behind_a_loss() -> None:
    assert buffers.aiortc(make("lost", 1, one_lost_of(60))).late_fraction > 0.05


def test_promises_are_kept_on_short_traces_too() -> None:
    traces = [
        make("constant", 1, seconds=10),
        make("loss", 1, bursts(0.05), seconds=20),
        make("jitter", 1, uniform(50), seconds=20, has_jitter=True),
        make("overtaken", 1, strays(0.01, 25, 60), seconds=60, has_jitter=True),
    ]
    verdicts = judge(traces, measure(traces, lambda name: None))
    assert [verdict for verdict in verdicts if not verdict.is_kept] == []
    assert {verdict.trace for verdict in verdicts} == {trace.name for trace in traces}


@pytest.mark.parametrize(
    ("name", "has_jitter", "mine", "broken"),
    [
        ("jitter", True, {"added_ms_mean": 6.0}, ["≤ ½ of the best fixed buffer (10.00 ms)"]),
        ("jitter", True, {"added_ms_mean": 4.5}, ["below the off-line optimum (4.00 ms)"]),
        ("jitter", True, {"added_ms_mean": 3.0}, []),
        ("loss", False, {"outside_gaps_ms_mean": 1.5}, ["≤ 1 ms outside the gaps"]),
        ("loss", False, {"late_fraction": 0.001}, ["nothing that arrived is thrown away"]),
        ("constant", False, {"added_ms_p50": 0.1, "added_ms_p99": 1.0}, ["p50 0 ms", "p99 < 1 ms"]),
    ],
)
def test_a_broken_promise_is_seen(
    name: str, has_jitter: bool, mine: dict[str, float], broken: list[str]
) -> None:
    trace = Trace(name, (), has_jitter)
    nothing = dict.fromkeys(Row.__slots__[2:], 0.0)
    rows = [
        Row(name, OURS, **(nothing | mine)),
        Row(name, FIXED, **(nothing | {"added_ms_mean": 10.0})),
        Row(name, OPTIMUM, **(nothing | {"added_ms_mean": 7.0 if mine.get("added_ms_mean") == 6.0 else 4.0})),
    ]
    assert [each.promise for each in judge([trace], rows) if not each.is_kept] == broken


def test_the_command_prints_rows_and_draws_them(tmp_path: Path) -> None:
    line, picture = tmp_path / "line.txt", tmp_path / "line.png"
    line.write_text("0 0 45 0 L 0 0 12.5 0 0 " * 20)
    result = CliRunner().invoke(app, ["jitter", "--trace", str(line), "--plot", str(picture), "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert {row["policy"] for row in document["rows"]} == {OURS, FIXED, OPTIMUM, *OTHERS}
    keys = ["trace", "policy", "late_fraction", "added_ms_mean", "added_ms_p99"]
    assert all(list(row) == keys for row in document["rows"])
    assert document["rows"][0]["trace"] == "line"
    assert list(document["promises"][0]) == ["trace", "promise", "measured", "is_kept"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = CliRunner().invoke(app, ["jitter", "--trace", str(line)])
    assert "promises kept" in shown.stdout
    assert "best fixed" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seconds", "0.5"], "--seconds 0.5: allowed are 1 to 1000"),
        (["--seed", "-1"], "--seed -1"),
        (["--trace", "/nowhere/line.txt"], "/nowhere/line.txt"),
        (["--seconds", "1", "--plot", "/nowhere/line.png"], "--plot /nowhere/line.png"),
    ],
)
def test_what_cannot_be_is_refused_by_name(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["jitter", *arguments])
    assert result.exit_code != 0
    assert words in str(result.exception)
