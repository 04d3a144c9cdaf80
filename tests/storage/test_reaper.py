"""Calls of dead processes are closed by proof: a lock, our own name, a lease."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from storage.errors import StoreError
from storage.facts import CallChanged, CallCreated, CallEnded, ProcessStarted
from storage.reaper import Reaper
from storage.spool import Spool
from storage.spool_folder import adopt
from storage.writer import LedgerWriter
from tests.storage.rows import rows, run

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOBODY = "postgresql://127.0.0.1:9/nobody"
ME, ALIVE, DEAD, ENDED = (UUID(int=n) for n in range(1, 5))


def begun(instance: UUID, node: str, call: UUID) -> tuple[Any, ...]:
    metadata = {"node": node, "worker": 0, "instance": str(instance)}
    return (
        ProcessStarted(instance, node, 0, T0),
        CallCreated(call, "inbound", started_at=T0, metadata=metadata),
    )


def is_open(dsn: str, call: UUID) -> bool:
    (row,) = rows(dsn, f"SELECT ended_at FROM voice_calls WHERE id = '{call}'")
    return row["ended_at"] is None


def reaper(dsn: str, spools: Path | None = None) -> Reaper:
    return Reaper(dsn, node="me", worker=0, instance=ME, spools=spools, lease_s=0.4, look_s=0.05)


async def test_a_lease_that_ran_out_closes_the_calls_and_a_living_one_does_not(database: str) -> None:
    calls = {instance: uuid4() for instance in (ALIVE, DEAD)}
    mine = LedgerWriter(database, batch_ms=1, instance=ME)
    alive = LedgerWriter(database, batch_ms=1, instance=ALIVE, beat_s=0.05)
    dead = LedgerWriter(database, batch_ms=1, instance=DEAD)
    mine.put((ProcessStarted(ME, "me", 0, T0),))
    alive.put(begun(ALIVE, "other", calls[ALIVE]))
    dead.put(begun(DEAD, "third", calls[DEAD]))
    assert await dead.close(5)
    reaping = asyncio.create_task(reaper(database).run(mine))
    async with asyncio.timeout(10):
        while is_open(database, calls[DEAD]):  # noqa: ASYNC110 - another connection's row
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.6)  # a lease and a half: the living one is let live
    assert is_open(database, calls[ALIVE])
    reaping.cancel()
    (row,) = rows(database, "SELECT status, outcome FROM voice_calls WHERE ended_at IS NOT NULL")
    assert (row["status"], row["outcome"]) == ("failed", "process_lost")
    found = rows(database, "SELECT instance, ended_at IS NULL AS lives FROM sipua.processes ORDER BY 1")
    assert [(row["instance"], row["lives"]) for row in found] == [(ME, True), (ALIVE, True), (DEAD, False)]
    await mine.close(5)
    await alive.close(5)


@pytest.mark.parametrize("node", ["me", "other"])
async def test_what_lies_in_a_dead_process_s_spool_counts_before_its_calls_are_closed(
    database: str, tmp_path: Path, node: str
) -> None:
    """One call had ended before the kill, one had not: the spool knows the first, the reaper has the second."""
    ended, cut_off = uuid4(), uuid4()
    at_kill = LedgerWriter(database, batch_ms=1, instance=DEAD)
    at_kill.put(begun(DEAD, node, ended))
    at_kill.put(begun(DEAD, node, cut_off)[1:])
    assert await at_kill.close(5)
    run(database, f"UPDATE sipua.writers SET seq = 0 WHERE instance = '{DEAD}'")
    spool = LedgerWriter(NOBODY, instance=DEAD, spool=Spool(tmp_path, DEAD, max_bytes=2**20))
    spool.put((CallEnded(ended, T0, 7, "completed", "caller_hangup"),))
    assert not await spool.close(0.1)
    await reaper(database, tmp_path).close()
    assert is_open(database, ended)  # its spool is still there
    mine = LedgerWriter(database, batch_ms=1, instance=ME, adopted=adopt(tmp_path).spools)
    mine.start()
    reaping = asyncio.create_task(reaper(database, tmp_path).run(mine))
    async with asyncio.timeout(10):
        while is_open(database, cut_off):  # noqa: ASYNC110 - another connection's row
            await asyncio.sleep(0.05)
    reaping.cancel()
    await mine.close(5)
    found = {row["id"]: row["outcome"] for row in rows(database, "SELECT id, outcome FROM voice_calls")}
    assert found == {ended: "caller_hangup", cut_off: "process_lost"}


async def test_nobody_is_declared_dead_while_somebody_holds_the_tables(database: str) -> None:
    """A migration that takes long keeps the living from speaking; afterwards they have a whole lease to do so."""
    call = uuid4()
    dead = LedgerWriter(database, batch_ms=1, instance=DEAD)
    dead.put(begun(DEAD, "third", call))
    assert await dead.close(5)
    with psycopg.connect(database) as gate:
        gate.execute("LOCK TABLE public.voice_calls IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError):
            await reaper(database).close([DEAD], lock_timeout_s=0.05)
    assert is_open(database, call)


async def test_calls_that_are_up_at_openai_are_told_of(database: str) -> None:
    """Those that it closes, and each once; what had ended, and who lives, is left alone."""
    left, over, alive = uuid4(), uuid4(), uuid4()
    writer = LedgerWriter(database, batch_ms=1, instance=DEAD)
    for instance, node, call in ((DEAD, "me", left), (DEAD, "me", over), (ALIVE, "other", alive)):
        writer.put((begun(instance, node, call)[1], CallChanged(call, T0, openai_call_id=f"rtc_{call}")))
    writer.put((CallEnded(over, T0, 7, "completed", "caller_hangup"), *begun(DEAD, "me", uuid4())[1:]))
    assert await writer.close(5)
    told: list[str] = []
    mine = Reaper(database, node="me", worker=0, instance=ME, spools=None, left_at_openai=told.extend)
    await mine.close()
    await mine.close()
    assert told == [f"rtc_{left}"]
