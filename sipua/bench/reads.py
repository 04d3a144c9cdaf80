"""``sipua bench reads``: how soon what operators look at is there, with so many calls in the database.

The embedded PostgreSQL in a folder of its own (fsync off while it is filled and read: nothing is written that must
last), filled with made-up calls, read through the pool that ``serve`` has, and removed. A 20 ms ticker on the same loop
says whether reading holds it up.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import storage.errors as store
from sipua.bench.figures import machine, percentile
from sipua.bench.ledger import TICK_S, Ticker
from sipua.errors import LocalError, Stopped, StoreError
from storage.call_filter import CallFilter
from storage.call_reads import list_calls, live_calls, per_day
from storage.call_story import call_story
from storage.embedded import EmbeddedPostgres
from storage.made_up import BYTES_A_CALL, TALK_EVERY, call_id, make_up, sip_session_id
from storage.migrate import migrate
from storage.reading import ReadPool
from storage.rehearsal import Rehearsal

SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "1GB", "autovacuum": "off"}
WARM_UP = 3
CONTROL_S = 2.0
TARGETS_MS = {"live": 50.0, "detail": 50.0, "detail_by_sip_call_id": 50.0}  # p95
MAX_CALLS = 10_000_000

Say = Callable[[str], None]
Read = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class ReadsOptions:
    """So many calls in the table, each read so often."""

    calls: int = 1_000_000
    repeats: int = 200


async def run_reads(options: ReadsOptions, stop: asyncio.Event, say: Say) -> dict[str, Any]:
    """Measures; the document of ``sipua bench reads --json``. LocalError where the disk is too small."""
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="sipua-bench-") as name:
        folder = Path(name)
        await asyncio.to_thread(folder.chmod, 0o755)  # the server may be another user
        _refuse_small(folder, options.calls)
        server = EmbeddedPostgres(folder / "postgres", settings=SETTINGS)
        try:
            database = Rehearsal(await server.astart(), "bench")
            await database.make()
            await migrate(database.dsn)
            began = time.monotonic()
            await asyncio.to_thread(make_up, database.dsn, options.calls, _tells(options.calls, stop, say))
            filled = time.monotonic() - began
            reads = await _measured(database.dsn, options, stop, say)
        except store.StoreError as error:
            raise StoreError(str(error)) from error
        finally:
            await server.astop()
    return {
        "calls": options.calls,
        "filled_s": round(filled, 1),
        **reads,
        "targets_ms": TARGETS_MS,
        "machine": facts,
    }


def _tells(calls: int, stop: asyncio.Event, say: Say) -> Callable[[int], None]:
    """Of a thread."""

    def made(count: int) -> None:
        say(f"{count} of {calls} calls made up")
        if stop.is_set():
            raise Stopped("stopped")

    return made


async def _measured(dsn: str, options: ReadsOptions, stop: asyncio.Event, say: Say) -> dict[str, Any]:
    chance = random.Random(1)
    figures: dict[str, dict[str, float]] = {}
    async with ReadPool(dsn) as pool:
        deep = await _deep_page(pool)
        ticker = Ticker()
        await asyncio.sleep(min(CONTROL_S, options.repeats * TICK_S))
        control = await ticker.stop()
        ticker = Ticker()
        for name, read in _reads(pool, options.calls, deep, chance).items():
            say(f"{name}, {options.repeats} times")
            figures[name] = await _timed(read, options.repeats, stop)
        late = await ticker.stop()
    return {"reads_ms": figures, "control_tick_late_ms": control, "tick_late_ms": late}


def _reads(pool: ReadPool, calls: int, deep: str | None, chance: random.Random) -> dict[str, Read]:
    """What is measured, by name. Calls with everything in them are looked at, not empty ones."""
    now = datetime.now(UTC)

    def talk() -> int:
        return chance.randrange(1, max(2, calls // TALK_EVERY)) * TALK_EVERY

    def page(wanted: CallFilter, after: str | None = None) -> Read:
        return lambda _: list_calls(pool, wanted, after)

    return {
        "live": lambda _: live_calls(pool),
        "detail": lambda _: call_story(pool, call_id(talk())),
        "detail_by_sip_call_id": lambda _: call_story(pool, sip_session_id(talk())),
        "list": page(CallFilter()),
        "list_a_month_ago": page(CallFilter(), deep),
        "list_by_status": page(CallFilter(status="busy")),
        "list_by_trunk_and_status": page(CallFilter(trunk="mtn", status="failed")),
        "list_of_a_caller": lambda _: list_calls(pool, CallFilter(from_number=_caller(chance))),
        "list_by_last_digits": lambda _: list_calls(pool, CallFilter(digits=_caller(chance)[-5:])),
        "list_that_finds_nothing": page(CallFilter(language="xx")),
        "list_of_a_day": page(
            CallFilter(since=now - timedelta(days=9), until=now - timedelta(days=8), language="sw")
        ),
        "per_day_30": lambda _: per_day(pool, "Africa/Kigali", 30, now.date()),
    }


def _caller(chance: random.Random) -> str:
    return f"+25078{chance.randrange(1_000_000, 1_050_000):07d}"


async def _deep_page(pool: ReadPool) -> str | None:
    """The mark of a page a month ago."""
    month_ago = datetime.now(UTC) - timedelta(days=30)
    return (await list_calls(pool, CallFilter(until=month_ago), None, 1)).next


async def _timed(read: Read, repeats: int, stop: asyncio.Event) -> dict[str, float]:
    taken = []
    for turn in range(WARM_UP + repeats):
        if stop.is_set():
            raise Stopped("stopped")
        began = time.perf_counter()
        await read(turn)
        if turn >= WARM_UP:
            taken.append(time.perf_counter() - began)
    return {f"p{each}": round(percentile(taken, each) * 1000, 2) for each in (50, 95, 99)}


def _refuse_small(folder: Path, calls: int) -> None:
    free, needed = shutil.disk_usage(folder).free, calls * BYTES_A_CALL + 2**30
    if free < needed:
        raise LocalError(
            f"{folder}: {free / 2**30:.1f} GiB free, {calls} calls need {needed / 2**30:.1f}; TMPDIR names another"
        )
