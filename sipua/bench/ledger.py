"""``sipua bench ledger``: what a row costs the event loop, rows per second, and an outage of the database.

The embedded PostgreSQL as it is by default (fsync on), in a folder of its own, and a spool beside it. The calls of the
outage live on this process's loop, as they do in ``serve``, with a 20 ms ticker beside them: what it is late by is what
RTP would have been. Its lateness without any ledger is the control.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sipua.bench.figures import machine, percentile
from sipua.bench.quiet import no_collection
from sipua.errors import LocalError, Stopped
from storage.embedded import EmbeddedPostgres
from storage.facts import CallCreated, Event, Group, Transcript
from storage.migrate import migrate
from storage.rehearsal import Rehearsal
from storage.spool import Spool
from storage.writer import LedgerWriter

TICK_S = 0.020
APPENDS = 5_000  # at most
MAX_OUTAGE_S = 600.0
CATCH_UP_TIMEOUT_S = 300.0

Say = Callable[[str], None]


class Ticker:
    """How late a 20 ms tick of this loop is."""

    def __init__(self) -> None:
        self.late_s: list[float] = []
        self._task = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        due = time.monotonic()
        while True:
            due += TICK_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            late = time.monotonic() - due
            self.late_s.append(late)
            if late > TICK_S:
                due = time.monotonic()

    async def stop(self) -> dict[str, float]:
        """After one tick at least: a short run may have none."""
        if not self.late_s:
            await asyncio.sleep(2 * TICK_S)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        return {f"p{each}": round(percentile(self.late_s, each) * 1000, 2) for each in (50, 99, 100)}


class Rows:
    """Groups as calls make them: an utterance with its event (two rows), or an event."""

    def __init__(self) -> None:
        self.calls: list[UUID] = []
        self.events = 0

    def call(self) -> Group:
        self.calls.append(uuid4())
        return (CallCreated(self.calls[-1], "inbound", started_at=datetime.now(UTC)),)

    def next(self, call: UUID) -> Group:
        self.events += 1
        now = datetime.now(UTC)
        event = Event(uuid4(), call, "transcript_segment", now, {"n": self.events, "role": "user"})
        if self.events % 2:
            return (event,)
        said = "Muraho, ndashaka moto kuri Kimironko saa tatu n'igice."
        return Transcript(uuid4(), call, self.events, "user", said, "rw", 0.9, now), event


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """The database is gone for ``outage_s``, while ``calls`` make ``rows_per_s`` each; ``rows`` as fast as they go."""

    outage_s: float = 60
    calls: int = 20
    rows_per_s: float = 50
    rows: int = 60_000


async def run_ledger(options: LedgerOptions, stop: asyncio.Event, say: Say) -> dict[str, Any]:
    """Measures; the document of ``sipua bench ledger --json``."""
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="sipua-bench-") as name:
        folder = Path(name)
        await asyncio.to_thread(folder.chmod, 0o755)  # the server may be another user
        server = EmbeddedPostgres(folder / "postgres")
        database = Rehearsal(await server.astart(), "bench")
        try:
            await database.make()
            await migrate(database.dsn)
            with no_collection():
                measured = await _measured(database, folder / "spool", options, stop, say)
                return measured | {"machine": facts}
        finally:
            await server.astop()


async def _measured(
    database: Rehearsal, spools: Path, options: LedgerOptions, stop: asyncio.Event, say: Say
) -> dict[str, Any]:
    rows = Rows()
    ticker = Ticker()
    await _sleep(min(2, options.outage_s), stop)
    control = await ticker.stop()
    document: dict[str, Any] = {"control_tick_late_ms": control}
    for spooled in (False, True):
        name = "with_spool" if spooled else "without_spool"
        say(f"what an append costs, {name.replace('_', ' ')}")
        document[name] = await _appends(_writer(database, spools if spooled else None), rows, options, stop)
    say(f"{options.rows} rows as fast as they go")
    document["flat_out"] = await _flat_out(_writer(database, spools), rows, options, stop)
    say(f"{options.calls} calls, the database gone for {options.outage_s:g} s")
    writer = _writer(database, spools)
    document["outage"] = await _outage(writer, database, rows, options, stop)
    await writer.close(5)
    stored, different = await database.events()
    document["outage"] |= {"lost": rows.events - different, "doubled": stored - different}
    return document


def _writer(database: Rehearsal, spools: Path | None) -> LedgerWriter:
    instance = uuid4()
    spool = Spool(spools, instance, max_bytes=2**30) if spools is not None else None
    return LedgerWriter(database.dsn, queue_limit=10_000, instance=instance, spool=spool)


async def _appends(
    writer: LedgerWriter, rows: Rows, options: LedgerOptions, stop: asyncio.Event
) -> dict[str, float]:
    """A thousand a second, as they come: one at a time, the loop idle in between."""
    writer.put(rows.call())
    costs = []
    for _ in range(min(APPENDS, options.rows)):
        group = rows.next(rows.calls[-1])
        began = time.perf_counter()
        writer.put(group)
        costs.append(time.perf_counter() - began)
        await _sleep(0.001, stop)
    await _written(writer)
    await writer.close(5)
    return {f"append_us_p{each}": round(percentile(costs, each) * 1e6, 1) for each in (50, 99)}


async def _flat_out(
    writer: LedgerWriter, rows: Rows, options: LedgerOptions, stop: asyncio.Event
) -> dict[str, Any]:
    writer.put(rows.call())
    ticker = Ticker()
    began = time.monotonic()
    put = 0
    while put < options.rows:
        for _ in range(100):
            group = rows.next(rows.calls[-1])
            writer.put(group)
            put += len(group)
        while writer.stats.queued > 20_000:
            await _sleep(0.005, stop)
        await _sleep(0, stop)
    await _written(writer)
    rate = put / (time.monotonic() - began)
    await writer.close(5)
    return {"rows": put, "rows_per_s": round(rate), "tick_late_ms": await ticker.stop()}


async def _outage(
    writer: LedgerWriter, database: Rehearsal, rows: Rows, options: LedgerOptions, stop: asyncio.Event
) -> dict[str, Any]:
    ours = []
    for _ in range(options.calls):
        writer.put(rows.call())
        ours.append(asyncio.create_task(_talk(writer, rows, rows.calls[-1], options.rows_per_s)))
    try:
        await _sleep(1, stop)
        ticker = Ticker()
        await database.take_away()
        await _sleep(options.outage_s, stop)
        waiting = writer.stats
        gone = await ticker.stop()
        ticker = Ticker()
        began = time.monotonic()
        await database.give_back()
        while writer.stats.lag_s > 1:  # the calls go on meanwhile
            if time.monotonic() - began > CATCH_UP_TIMEOUT_S:
                raise LocalError(f"not caught up after {CATCH_UP_TIMEOUT_S:g} s")
            await _sleep(0.02, stop)
        caught_up = time.monotonic() - began
        back = await ticker.stop()
    finally:
        for task in ours:
            task.cancel()
        await asyncio.wait(ours)
    await _written(writer)
    return {
        "seconds": options.outage_s,
        "calls": options.calls,
        "rows_per_s": options.calls * options.rows_per_s,
        "waiting_rows": waiting.queued,
        "spool_bytes": waiting.spool_bytes,
        "dropped": writer.stats.dropped,
        "catch_up_s": round(caught_up, 2),
        "tick_late_ms": {"gone": gone, "back": back},
    }


async def _talk(writer: LedgerWriter, rows: Rows, call: UUID, rows_per_s: float) -> None:
    due, put = time.monotonic(), 0
    while True:
        group = rows.next(call)
        writer.put(group)
        put += len(group)
        await asyncio.sleep(max(0.0, due + put / rows_per_s - time.monotonic()))


async def _written(writer: LedgerWriter) -> None:
    if not await writer.flush(CATCH_UP_TIMEOUT_S):
        raise LocalError(f"not everything is written after {CATCH_UP_TIMEOUT_S:g} s")


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    if stop.is_set():
        raise Stopped("stopped")
    await asyncio.sleep(seconds)
