"""Starts the processes, asks them in turn, and judges what they tell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from sipua.bench.agent import passing_directory
from sipua.bench.code import encode_item
from sipua.bench.egress import agent, far_end, ticker
from sipua.bench.egress.agent import CUTS_PER_S, Measured
from sipua.bench.egress.far_end import Arrival
from sipua.bench.egress.gaps import LONG_MS, Gap, figures, gaps_of, long_ones, unexplained
from sipua.bench.egress.tshark import tshark_figures
from sipua.bench.egress.worker import Worker
from sipua.bench.figures import machine, percentile
from sipua.bench.path import until_stopped
from sipua.bench.quiet import no_collection
from sipua.children import Child, agent_environment
from sipua.errors import LocalError
from sipua.resources import shipped_conf
from storage.embedded import EmbeddedPostgres

CALLS = 50
DEFAULT_SECONDS = 8.0
MAX_SECONDS = 600.0
COST_LEGS = (10, 50, 100)
COST_S = 1.0
WARM_UP_S = 1.0
SETTLE_S = 0.2  # for what is under way
GAP_P99_MS, COST_PERCENT, BARGE_IN_MS = 22.0, 0.15, 20.0
OTHERS_PERCENT = (
    10.0  # of the agent's core: who uses more empties its caches, and a packet costs half as much again
)
ITEM_FRAMES = 25  # of a coded item, 0.5 s: always cut off

Show = Callable[[str], None]


async def run_egress(seconds: float, stop: asyncio.Event, show: Show) -> dict[str, Any]:
    """The document of ``sipua bench egress --json``. LocalError if something it needs does not start."""
    return await until_stopped(_measured(seconds, show), stop)


async def _measured(seconds: float, show: Show) -> dict[str, Any]:
    facts = machine()
    cpus = sorted(os.sched_getaffinity(0))
    core, others = {cpus[-1]}, set(cpus[:-1]) or set(cpus)
    os.sched_setaffinity(0, others)  # database and voice service inherit it
    items = [encode_item(number, ITEM_FRAMES) for number in range(1, round(seconds * CUTS_PER_S) + 1)]
    try:
        with no_collection():
            async with _workers(core, others) as (calls, phones, control):  # which start up while these do
                show("starting database and voice service")
                async with _surroundings() as (dsn, base_url, spools):
                    alone_s = min(COST_S, seconds / 4)
                    show(f"media alone: {', '.join(map(str, COST_LEGS))} legs for {alone_s:g} s each")
                    costs = [(legs, await _alone(calls, phones, legs, alone_s)) for legs in COST_LEGS]
                    show(f"{CALLS} calls for {seconds:g} s")
                    remotes = await phones.ask("open", CALLS)
                    await phones.ask("talk", await calls.ask("calls", remotes, base_url, dsn, spools))
                    await asyncio.sleep(WARM_UP_S)
                    await phones.ask("arrivals")
                    await control.ask()
                    measured: Measured = await calls.ask("measure", seconds, items)
                    await asyncio.sleep(SETTLE_S)
                    with tempfile.TemporaryDirectory(prefix="sipua-bench-") as folder:
                        capture = Path(folder) / "heard.pcap"
                        heard: list[list[Arrival]] = await phones.ask("arrivals", capture)
                        woken: list[float] = await control.ask()
                        judged = await asyncio.to_thread(tshark_figures, capture)
                    await calls.ask("close")
    finally:
        os.sched_setaffinity(0, cpus)
    return document(costs, measured, heard, woken) | {
        "tshark": judged, "machine": facts, "one_core_for_all": len(cpus) == 1,
    }  # fmt: skip


async def _alone(calls: Worker, phones: Worker, legs: int, seconds: float) -> Measured:
    """So many media legs with nobody behind them."""
    remotes = await phones.ask("open", legs)
    await phones.ask("talk", await calls.ask("bare", remotes))
    await calls.ask("measure", SETTLE_S)
    found: Measured = await calls.ask("measure", seconds)
    await calls.ask("close")
    await phones.ask("open", 0)
    return found


@contextlib.asynccontextmanager
async def _workers(core: set[int], others: set[int]) -> AsyncIterator[tuple[Worker, Worker, Worker]]:
    workers = [
        Worker("the agent's calls", agent.main, core),
        Worker("the telephones", far_end.main, others),
        Worker("the control", ticker.main, core),
    ]
    try:
        yield workers[0], workers[1], workers[2]
    finally:
        for worker in workers:
            worker.end()


@contextlib.asynccontextmanager
async def _surroundings() -> AsyncIterator[tuple[str, str, str]]:
    """An embedded database and the emulator of the voice service: DSN, base URL, and where spools may be."""
    with passing_directory() as directory:
        server = EmbeddedPostgres(directory / "database")
        dsn = await server.astart()
        try:
            env = agent_environment(shipped_conf(), directory / "state", "bench")
            voice = await Child.start(
                "the voice service", ["emulate", "realtime"], env=env, log=Path(directory) / "voice.log"
            )
            try:
                yield dsn, str(voice.ready["base_url"]), str(directory / "spool")
            finally:
                await voice.end()
        finally:
            await server.astop()


def document(
    costs: Sequence[tuple[int, Measured]],
    measured: Measured,
    heard: Sequence[Sequence[Arrival]],
    woken: Sequence[float],
) -> dict[str, Any]:
    """What was measured, and which promises were kept. LocalError if too little came."""
    gaps = [gap for phone in heard for gap in gaps_of([at for at, _ in phone])]
    control = gaps_of(woken)
    barge_in = [last_after(heard, item, at) * 1000 for item, at in measured.cuts.items()]
    if not gaps or not control or not barge_in:
        raise LocalError("the telephones heard nothing of the agent")
    alien, gap_ms = unexplained(gaps, control), {"egress": figures(gaps), "control": figures(control)}
    late_ms = {
        "p50": round(percentile(barge_in, 50), 2), "max": round(max(barge_in), 2), "count": len(barge_in),
    }  # fmt: skip
    told = [
        {
            "legs": legs,
            "percent_of_a_core_per_call": round(each.percent / legs, 4),
            "others_percent_of_the_core": round(each.others_percent, 1),
        }
        for legs, each in costs
    ]
    return {
        "calls": len(heard),
        "seconds": round(measured.seconds, 2),
        "packets": sum(len(phone) for phone in heard),
        "gap_ms": gap_ms,
        "long_gaps": {
            "egress": _told(long_ones(gaps)), "control": _told(long_ones(control)), "unexplained": _told(alien),
        },
        "barge_in_ms": late_ms,
        "cost": told,
        "busy": {
            "percent_of_the_core": round(measured.percent, 1),
            "others_percent_of_the_core": round(measured.others_percent, 1),
            "facts_written": measured.facts_written,
        },
        "promises": [
            {"promise": text, "is_kept": kept}
            for text, kept in judged(gap_ms, not alien, late_ms["max"], told).items()
        ],
    }  # fmt: skip


def judged(
    gap_ms: Mapping[str, Mapping[str, float]],
    are_long_gaps_explained: bool,
    longest_late_ms: float,
    costs: Sequence[Mapping[str, float]],
) -> dict[str, bool | None]:
    """Each promise; None: not kept, but the machine is too busy to tell whose fault it is."""
    worst = max(
        (each for each in costs if each["legs"] >= CALLS), key=lambda each: each["percent_of_a_core_per_call"]
    )
    is_paced = gap_ms["egress"]["p99"] <= GAP_P99_MS
    is_cheap = worst["percent_of_a_core_per_call"] <= COST_PERCENT
    may_blame_us_for_gaps = gap_ms["control"]["p99"] <= GAP_P99_MS
    may_blame_us_for_cost = worst["others_percent_of_the_core"] <= OTHERS_PERCENT
    return {
        f"egress gap p99 ≤ {GAP_P99_MS:g} ms": is_paced or (False if may_blame_us_for_gaps else None),
        f"no gap > {LONG_MS:g} ms in a second in which the control has none": are_long_gaps_explained,
        f"last packet after a flush ≤ {BARGE_IN_MS:g} ms": longest_late_ms <= BARGE_IN_MS,
        f"media layer ≤ {COST_PERCENT:g} % of a core per call ({CALLS} or more)":
            is_cheap or (False if may_blame_us_for_cost else None),
    }  # fmt: skip


def last_after(heard: Sequence[Sequence[Arrival]], item: int, cut: float) -> float:
    """Seconds from the flush to the last packet with sound of the item; 0 if none came after it."""
    return max(
        (at - cut for phone in heard for at, found in phone if found == item and at > cut), default=0.0
    )


def _told(gaps: Sequence[Gap]) -> list[dict[str, Any]]:
    """By second: how many there were and the longest."""
    return [
        {"second": second, "count": len(found), "longest_ms": round(max(gap.ms for gap in found), 1)}
        for second, each in groupby(gaps, key=lambda gap: int(gap.at))
        if (found := list(each))
    ]
