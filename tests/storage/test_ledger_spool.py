"""The writer with a spool against a real server: what an outage, a kill or a full disk leaves in the tables."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import psycopg
import pytest

from storage.desk_facts import (
    CallbackNotified,
    CallbackRequested,
    CallerSeen,
    CustomerReplied,
    Forgotten,
    MessageStatus,
    Remembered,
    ServiceRequested,
    ThreadBegun,
)
from storage.facts import (
    CallChanged,
    CallCreated,
    CallEnded,
    ConsentAnswered,
    Event,
    Fact,
    ProcessEnded,
    ProcessStarted,
    RecordingDeleted,
    RecordingKept,
    SessionEnded,
    SessionOpened,
    ToolCalled,
    ToolDone,
    Transcript,
)
from storage.migrate import migrate
from storage.spool import Spool, SpoolState
from storage.spool_file import RECORD_MAX
from storage.spool_folder import adopt, segment_files
from storage.trunk_facts import CallAttempt, CallCarried, DrillRun, TargetsWatched, TrunkChange, TrunkState
from storage.webhook_facts import WebhookCame
from storage.writer import LedgerWriter
from tests.storage.rows import rows, run
from tests.waiting import eventually

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOBODY = "postgresql://127.0.0.1:9/nobody"  # the discard port: refused at once


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def created(call: UUID, **more: Any) -> CallCreated:
    return CallCreated(call, "inbound", started_at=T0, **more)


@asynccontextmanager
async def writer(
    dsn: str, spools: Path, instance: UUID, *, max_bytes: int = 2**24, **options: Any
) -> AsyncIterator[LedgerWriter]:
    """As a process does it: what dead ones left comes first."""
    adopted = adopt(spools)
    ledger = LedgerWriter(
        dsn, batch_ms=5, instance=instance, spool=Spool(spools, instance, max_bytes=max_bytes),
        adopted=adopted.spools, **options,
    )  # fmt: skip
    ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close(0 if dsn == NOBODY else 5)


@pytest.fixture
def gate(database: str) -> Iterator[psycopg.Connection[Any]]:
    """Holds a lock that nothing gets past, until it rolls back."""
    with psycopg.connect(database) as connection:
        connection.execute("LOCK TABLE public.voice_calls IN ACCESS EXCLUSIVE MODE")
        yield connection


def left(spools: Path) -> list[Path]:
    return list(spools.iterdir())


def events_of(dsn: str, call: UUID) -> list[int]:
    found = rows(dsn, f"SELECT payload FROM voice_events WHERE call_id = '{call}'")
    return sorted(row["payload"]["n"] for row in found)


async def test_an_outage_longer_than_the_queue_loses_and_doubles_nothing(
    database: str, gate: psycopg.Connection[Any], tmp_path: Path
) -> None:
    me, call = uuid4(), uuid4()
    async with writer(database, tmp_path, me, queue_limit=100) as ledger:
        ledger.put((created(call),))
        for n in range(1500):
            ledger.put((Event(uuid4(), call, "error", at(n), {"n": n}),))
            if n % 100 == 0:
                await asyncio.sleep(0)
        assert not await ledger.flush(0.2)
        stats = ledger.stats
        assert (stats.queued, stats.dropped, stats.spool_state) == (1501, 0, SpoolState.OK)
        assert stats.spool_groups > 1000
        assert stats.lag_s > 0.1
        gate.rollback()
        assert await ledger.flush(30)
        stats = ledger.stats
        assert (stats.queued, stats.written, stats.spool_groups, stats.lag_s) == (0, 1501, 0, 0)
        (seen,) = rows(database, f"SELECT seq FROM sipua.writers WHERE instance = '{me}'")
        assert seen["seq"] == 1501
    assert events_of(database, call) == list(range(1500))
    assert left(tmp_path) == []


async def test_a_database_that_does_not_come_back_before_the_end_gets_it_from_the_next_start(
    database: str, tmp_path: Path
) -> None:
    first, call = uuid4(), uuid4()
    async with writer(NOBODY, tmp_path, first, queue_limit=100) as ledger:
        ledger.put((created(call), CallChanged(call, at(1), status="in_progress")))
        ledger.put((CallEnded(call, at(2), 2, "failed", "x"),))
        assert not await ledger.close(0.1)
    assert segment_files(tmp_path / str(first))
    async with writer(database, tmp_path, uuid4()) as ledger:
        ledger.put((CallEnded(call, at(9), 9, "completed", "late"),))  # of a later process: the order holds
        assert await ledger.flush(5)
        assert ledger.recovered.is_set()
        assert (ledger.dead, ledger.stats.replayed) == ([first], 2)
    (row,) = rows(database, "SELECT * FROM voice_calls")
    assert (row["status"], row["outcome"], row["ended_at"]) == ("failed", "x", at(2))
    assert left(tmp_path) == []


CHILD = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4
from storage.facts import CallCreated, Event
from storage.spool import Spool
from storage.writer import LedgerWriter

async def main(dsn, folder, instance, call):
    spool = Spool(Path(folder), UUID(instance), max_bytes=2**26)
    ledger = LedgerWriter(dsn, instance=UUID(instance), spool=spool, queue_limit=200)
    ledger.put((CallCreated(UUID(call), "inbound", started_at=datetime.now(UTC)),))
    n = 0
    while True:
        for _ in range(10):
            ledger.put((Event(uuid4(), UUID(call), "error", datetime.now(UTC), {"n": n}),))
            n += 1
        await asyncio.sleep(0.002)
        while spool.backlog_facts:
            pass
        print(n, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def killed_after(count: int, command: list[str]) -> int:
    """How many events it had put, by its last word."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        told = 0
        while told < count:
            told = int(child.stdout.readline())
        child.kill()
        return max([told, *map(int, child.stdout.read().split(b"\n")[:-1])])


@pytest.mark.parametrize("reached", [True, False])
async def test_a_killed_process_has_lost_nothing_that_it_put(
    database: str, tmp_path: Path, reached: bool
) -> None:
    """Killed while it writes to the database, and while that is gone."""
    dead, call = uuid4(), uuid4()
    command = [
        sys.executable,
        "-c",
        CHILD,
        database if reached else NOBODY,
        str(tmp_path),
        str(dead),
        str(call),
    ]
    told = await asyncio.to_thread(killed_after, 3000, command)
    async with writer(database, tmp_path, uuid4()) as ledger:
        await asyncio.wait_for(ledger.recovered.wait(), 20)
        assert ledger.dead == [dead]
        assert ledger.stats.poisoned == 0
    found = events_of(database, call)
    assert found == list(range(len(found)))
    assert len(found) >= told


async def test_a_spool_written_a_second_time_does_not_undo_what_others_did_since(
    database: str, tmp_path: Path
) -> None:
    """Killed between the commit and its deletion: the database knows how far it had come."""
    dead, number = uuid4(), "+250788123456"
    ledger = LedgerWriter(NOBODY, instance=dead, spool=Spool(tmp_path / "one", dead, max_bytes=2**20))
    ledger.put((Forgotten(number),))
    ledger.put((Remembered(number, at(1), {"name": "old"}),))
    assert not await ledger.close(0.1)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    async with writer(database, tmp_path / "one", uuid4()) as ledger:
        ledger.put((Remembered(number, at(5), {"name": "new"}),))
        assert await ledger.flush(5)
        assert ledger.stats.replayed == 2
    async with writer(database, tmp_path / "two", uuid4()) as ledger:
        await asyncio.wait_for(ledger.recovered.wait(), 5)
    (row,) = rows(database, "SELECT prefs, last_seen_at FROM voice_memories")
    assert row["prefs"] == {"name": "new"}


async def test_the_part_of_a_batch_that_is_there_is_not_written_again(database: str, tmp_path: Path) -> None:
    me, call = uuid4(), uuid4()
    run(database, f"INSERT INTO sipua.writers (instance, seq) VALUES ('{me}', 2)")
    run(database, f"INSERT INTO public.voice_calls (id, direction) VALUES ('{call}', 'inbound')")
    async with writer(database, tmp_path, me) as ledger:
        for n in range(4):
            ledger.put((Event(uuid4(), call, "error", at(n), {"n": n}),))
        assert await ledger.flush(5)
        assert ledger.stats.poisoned == 0
    assert events_of(database, call) == [2, 3]


async def test_with_a_full_disk_the_queue_is_what_is_left(
    database: str, gate: psycopg.Connection[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live, refused = uuid4(), uuid4()
    async with writer(database, tmp_path, uuid4(), max_bytes=300, queue_limit=20) as ledger:
        ledger.put((created(live),))
        eventually(lambda: ledger.stats.spool_groups == 1, "it is on disk")
        ledger.put((Event(uuid4(), live, "error", T0, {"n": 0, "long": "x" * 300}),))
        eventually(lambda: ledger.stats.spool_state is SpoolState.CAPPED, "it is full")
        for n in range(1, 25):
            ledger.put((Event(uuid4(), live, "error", at(n), {"n": n}),))
        assert ledger.stats.dropped == 5
        ledger.put((created(refused), CallEnded(refused, T0, 0, "failed")))
        assert ledger.stats.dropped == 7
        ledger.put((CallEnded(live, at(99), 9, "completed"),))  # has a reserve
        assert ledger.stats.dropped == 7
        assert "ledger.spool_max_mb" in caplog.text
        gate.rollback()
        assert await ledger.flush(10)
        ledger.put((CallChanged(live, at(100), intent="x"),))
        eventually(lambda: ledger.stats.spool_state is SpoolState.OK, "it takes again")
    assert events_of(database, live) == list(range(20))
    (row,) = rows(database, "SELECT * FROM voice_calls")
    assert (row["status"], row["intent"]) == ("completed", "x")


async def test_damaged_records_cost_only_themselves(database: str, tmp_path: Path) -> None:
    dead, call = uuid4(), uuid4()
    ledger = LedgerWriter(NOBODY, instance=dead, spool=Spool(tmp_path, dead, max_bytes=2**20))
    ledger.put((created(call),))
    for n in range(5):
        ledger.put((Event(uuid4(), call, "error", at(n), {"n": n}),))
    assert not await ledger.close(0.1)
    (path,) = segment_files(tmp_path / str(dead))
    data = bytearray(path.read_bytes())
    data[data.index(b'"n":2')] ^= 1
    path.write_bytes(data[:-7])
    async with writer(database, tmp_path, uuid4()) as ledger:
        await asyncio.wait_for(ledger.recovered.wait(), 5)
    assert events_of(database, call) == [0, 1, 3]
    assert left(tmp_path) == []


async def test_an_idle_process_is_seen_to_live(database: str, tmp_path: Path) -> None:
    me = uuid4()
    async with writer(database, tmp_path, me, beat_s=0.02):
        async with asyncio.timeout(10):
            while not rows(database, "SELECT 1 FROM sipua.writers"):  # noqa: ASYNC110 - another process's event
                await asyncio.sleep(0.02)
    (row,) = rows(database, "SELECT instance, seq FROM sipua.writers")
    assert (row["instance"], row["seq"]) == (me, 0)


async def test_several_processes_have_a_spool_each(database: str, tmp_path: Path) -> None:
    calls = [uuid4() for _ in range(3)]
    async with (
        writer(NOBODY, tmp_path, uuid4()) as gone,
        writer(database, tmp_path, uuid4()) as first,
        writer(database, tmp_path, uuid4()) as second,
    ):
        for ledger, call in zip((gone, first, second), calls, strict=True):
            ledger.put((created(call),))
        assert await first.flush(5)
        assert await second.flush(5)
        assert gone.stats.spool_groups == 1
        assert first.dead == second.dead == []
        assert not await gone.close(0.1)
    found = {row["id"] for row in rows(database, "SELECT id FROM voice_calls")}
    assert found == set(calls[1:])


# ---- every statement -------------------------------------------------------------------------------------

ME, CALL, SESSION, TOOL, CONSENT, OTHER, THREAD, CALLBACK = (UUID(int=n) for n in range(1, 9))
STATE: dict[str, Any] = {"node": "n", "worker": 0, "instance": ME, "trunk": "t", "target": "a"}
STORY: tuple[Fact, ...] = (
    ProcessStarted(ME, "n", 0, T0),
    TrunkState(**STATE, what="breaker", state="closed", seen_at=T0),
    created(CALL, twilio_call_sid="CA1", from_e164="+250788123456"),
    created(OTHER, twilio_call_sid="CA1"),
    CallCarried(CALL, "t", "mtn", "abc", mtn_call_sid="M1"),
    CallAttempt(UUID(int=20), CALL, 1, "t", "a", 200, "answered", 5, "answered", T0),
    CallChanged(CALL, at(1), status="in_progress", metadata={"a": 1}, first_time_to_assistant_seconds=0.5),
    SessionOpened(SESSION, CALL, "s", started_at=at(1)),
    SessionOpened(UUID(int=21), CALL, "s", started_at=at(2)),
    Transcript(UUID(int=22), CALL, 1, "user", "x", t=at(2)),
    Event(UUID(int=23), CALL, "error", at(2)),
    ToolCalled(TOOL, CALL, "sipua", "book", {}, at(3)),
    ToolDone(TOOL, CALL, True, {"b": 1}),
    ToolDone(TOOL, CALL, False, None, "late"),
    ConsentAnswered(CONSENT, CALL, at(3), "May we?", True, "voice"),
    RecordingKept(CONSENT, "file:///x"),
    RecordingDeleted(CONSENT),
    ServiceRequested(UUID(int=24), "R1", "moto", {}, "+250788123456", CALL, "rw", at(3)),
    CallbackRequested(CALLBACK, "+250788123456", CALL, at(3)),
    CallbackNotified(CALLBACK, at(4)),
    Remembered("+250788123456", at(3), {"name": "Ann"}),
    Forgotten("+250788123457"),
    CallerSeen("+250788123456", at(9)),
    ThreadBegun(THREAD, CALL, "+250788123456", "wamid.1", at(4)),
    MessageStatus("wamid.1", "delivered", at(5)),
    CustomerReplied("wamid.2", "+250788123456", at(6)),
    TargetsWatched("n", 0, "t", ("", "a")),
    TrunkChange(UUID(int=25), at(1), **STATE, what="breaker", before="closed", after="open", why="x"),
    TrunkState(**STATE, what="breaker", state="open", seen_at=at(2), why="x", changed_at=at(1)),
    DrillRun(UUID(int=26), UUID(int=27), "d", True, 1, 0, "1", "n", T0, at(1)),
    SessionEnded(SESSION, CALL, at(9)),
    CallEnded(CALL, at(9), 8, "failed", "x", {"c": 1}),
    CallEnded(CALL, at(10), 9, "completed"),
    CallChanged(CALL, at(11), status="completed", intent="late"),
    WebhookCame("wh_1", "openai", "realtime.call.incoming", at(1), "rtc_1", CALL, "accepted"),
    WebhookCame("wh_1", "openai", "realtime.call.incoming", at(2), "rtc_1", CALL, "noted"),
    ProcessEnded(ME, at(12)),
)
TABLES = (
    "public.voice_calls",
    "public.openai_sessions",
    "public.transcripts",
    "public.voice_events",
    "public.mcp_tool_calls",
    "public.call_consents",
    "public.wa_threads",
    "public.voice_memories",
    "sipua.processes",
    "sipua.call_attempts",
    "sipua.trunk_states",
    "sipua.trunk_changes",
    "sipua.drill_runs",
    "sipua.service_requests",
    "sipua.callback_requests",
    "sipua.wa_messages",
    "sipua.webhooks",
)  # fmt: skip


CHOSEN = ("created_at", "updated_at")  # by the database
LEFT_OUT = {"public.voice_memories": (*CHOSEN, "id")}


def everything(dsn: str) -> dict[str, list[Any]]:
    return {
        table: [
            {name: value for name, value in row["r"].items() if name not in LEFT_OUT.get(table, CHOSEN)}
            for row in rows(
                dsn, f"SELECT to_jsonb(each) AS r FROM {table} AS each ORDER BY to_jsonb(each)::text"
            )
        ]
        for table in TABLES
    }


async def written(dsn: str, facts: tuple[Fact, ...], batch_rows: int) -> None:
    ledger = LedgerWriter(dsn, batch_ms=1, batch_rows=batch_rows)
    for fact in facts:
        ledger.put((fact,))
    assert await ledger.close(20)
    assert ledger.stats.poisoned == 0


def test_the_story_has_every_kind() -> None:
    assert {type(fact) for fact in STORY} == set(get_args(Fact))


@pytest.mark.parametrize("batch_rows", [1, 7, 200])
async def test_every_statement_may_be_repeated(database: str, batch_rows: int) -> None:
    """Without the sequence of a process too: the same story once more, cut otherwise, changes nothing."""
    await written(database, STORY, batch_rows)
    once = everything(database)
    assert all(once.values())
    await written(database, STORY, 5)
    assert everything(database) == once


@pytest.mark.parametrize("cut", range(0, len(STORY), 4))
async def test_a_story_cut_anywhere_and_gone_on_with_is_the_same(
    database: str, empty_database: str, tmp_path: Path, cut: int
) -> None:
    """The first part is written twice, the second by the process that adopts it."""
    await written(database, STORY, 200)
    await migrate(empty_database)
    ledger = LedgerWriter(NOBODY, instance=ME, spool=Spool(tmp_path, ME, max_bytes=2**20))
    for fact in STORY:
        ledger.put((fact,))
    assert not await ledger.close(0.01)
    await written(empty_database, STORY[:cut], 200)  # what had got through, and nobody heard
    async with writer(empty_database, tmp_path, uuid4()) as ledger:
        await asyncio.wait_for(ledger.recovered.wait(), 10)
    assert everything(empty_database) == everything(database)


async def test_a_server_that_stands_still_is_waited_for_and_nothing_is_doubled(
    database: str, tmp_path: Path
) -> None:
    """SIGSTOP of the backend in the middle of a batch: it goes on after we have given it up and written anew."""
    me, call = uuid4(), uuid4()
    async with writer(database, tmp_path, me, write_timeout_s=0.3) as ledger:
        ledger.put((created(call),))
        assert await ledger.flush(5)
        backend, *_ = rows(  # one that was given up before may not have ended yet
            database,
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'sipua-ledger' "
            "AND datname = current_database() ORDER BY backend_start DESC",
        )
        os.kill(backend["pid"], signal.SIGSTOP)
        try:
            for n in range(50):
                ledger.put((Event(uuid4(), call, "error", at(n), {"n": n}),))
            eventually_written = await ledger.flush(5)  # over another connection
        finally:
            os.kill(backend["pid"], signal.SIGCONT)
        assert eventually_written
        ledger.put((CallEnded(call, at(60), 60, "completed"),))
        assert await ledger.flush(10)
        assert ledger.stats.poisoned == 0
    assert events_of(database, call) == list(range(50))


async def test_a_group_that_no_file_can_hold_costs_itself(database: str, tmp_path: Path) -> None:
    call = uuid4()
    async with writer(database, tmp_path, uuid4()) as ledger:
        ledger.put(
            (created(call), Event(uuid4(), call, "error", T0, {"n": 0, "long": "x" * (RECORD_MAX + 1)}))
        )
        assert ledger.stats.poisoned == 2
        ledger.put((created(call),))
        assert await ledger.flush(5)
    assert len(rows(database, "SELECT 1 FROM voice_calls")) == 1
