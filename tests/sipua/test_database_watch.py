"""Starts while the database is away, hangs, or does not fit any more when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from psycopg import conninfo

from sipua.clock import SystemClock
from sipua.database import ledger_waits, ledger_writer, unready
from sipua.database_watch import KNOWN, may_wait, open_when_fit
from sipua.errors import StoreError
from sipua.feed import Feed
from sipua.identity import Identity
from sipua.ledger import Ledger
from sipua.outcome import CALLER_HUNG_UP
from sipua.readings import ledger_readings
from sipua.settings import Settings
from storage import errors as store
from storage.gate import Gate
from storage.rehearsal import Rehearsal
from storage.writer import LedgerWriter
from tests.sipua.test_ledger import OPENING
from tests.storage.rows import rows, run

now = SystemClock().now


def settings_of(folder: Path, database: str) -> Settings:
    return Settings.model_validate({"state_dir": str(folder), "database_url": database})


@asynccontextmanager
async def serving(folder: Path, database: str) -> AsyncIterator[LedgerWriter]:
    async with ledger_writer(database, settings_of(folder, database), Identity("n", 0)) as writer:
        yield writer


def call(writer: LedgerWriter) -> UUID:
    """A whole one."""
    id = uuid4()
    record = Ledger(writer, Feed(), {"node": "n", "worker": 0}).open(replace(OPENING, id=id), now())
    record.answered(now(), "PCMU")
    record.ended(now(), CALLER_HUNG_UP, {})
    return id


def statuses(database: str) -> dict[UUID, str]:
    return {row["id"]: row["status"] for row in rows(database, "SELECT id, status FROM voice_calls")}


@pytest.fixture
def away(database: str, postgres_server: str) -> Rehearsal:
    return Rehearsal(postgres_server, str(conninfo.conninfo_to_dict(database)["dbname"]))


async def test_a_database_that_was_never_seen_is_refused(
    database: str, tmp_path: Path, away: Rehearsal
) -> None:
    await away.take_away()
    with pytest.raises(StoreError):
        async with serving(tmp_path, database):
            pass
    await away.give_back()


async def test_calls_of_a_start_without_it_are_written_when_it_is_back(
    database: str, tmp_path: Path, away: Rehearsal
) -> None:
    async with serving(tmp_path, database) as writer:
        before = call(writer)
    await away.take_away()
    async with serving(tmp_path, database) as writer:
        ids = [call(writer) for _ in range(3)]
        is_held = ledger_readings(writer, settings_of(tmp_path, database))["sipua_ledger_held"]
        assert is_held()
        assert await unready(database, writer) != ""
        assert ledger_waits(writer) == writer.gate.why != ""
        assert not await writer.flush(0.2)
        await away.give_back()
        async with asyncio.timeout(20):
            await writer.gate.wait()
            assert await writer.flush(15)
        assert await unready(database, writer) == ""
        assert not is_held()
    assert statuses(database) == dict.fromkeys([before, *ids], "completed")


async def test_a_second_start_without_it_brings_what_the_first_left(
    database: str, tmp_path: Path, away: Rehearsal
) -> None:
    async with serving(tmp_path, database):
        pass
    await away.take_away()
    ids = []
    for _ in range(2):
        async with serving(tmp_path, database) as writer:
            ids.append(call(writer))
    await away.give_back()
    async with serving(tmp_path, database) as writer:
        async with asyncio.timeout(20):
            await writer.recovered.wait()
    assert statuses(database) == dict.fromkeys(ids, "completed")


async def test_one_that_does_not_fit_any_more_gets_nothing_and_is_said(
    database: str, tmp_path: Path, away: Rehearsal
) -> None:
    async with serving(tmp_path, database):
        pass
    await away.take_away()
    async with serving(tmp_path, database) as writer:
        id = call(writer)
        await away.give_back()
        run(
            database,
            "ALTER TABLE voice_events DROP CONSTRAINT voice_events_type_check, ALTER type TYPE bytea USING NULL",
        )
        async with asyncio.timeout(20):
            while "voice_events.type is of type bytea" not in await unready(database, writer):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert statuses(database) == {}
        run(database, "ALTER TABLE voice_events ALTER type TYPE text USING 'error'")
        async with asyncio.timeout(40):
            await writer.gate.wait()
            assert await writer.flush(15)
    assert statuses(database) == {id: "completed"}


REFUSED = (
    store.DatabaseUnreachable("password", retryable=False),
    store.MigrationError("x", retryable=True),
    store.BadDsn("x"),
)


@pytest.mark.parametrize("error", REFUSED)
def test_what_time_does_not_mend_is_refused(error: store.StoreError, tmp_path: Path) -> None:
    dsn = "postgresql://u:secret@127.0.0.1:9/x"
    settings = settings_of(tmp_path, dsn)
    (tmp_path / KNOWN).write_text("postgresql://u@127.0.0.1:9/x\n")
    assert may_wait(settings, dsn, store.DatabaseUnreachable("refused"))
    assert not may_wait(settings, dsn, error)
    assert not may_wait(settings, dsn.replace("/x", "/y"), store.DatabaseUnreachable("refused"))


async def test_the_gate_opens_once_it_fits() -> None:
    gate, left = Gate("away"), iter(["misfit", "misfit"])

    async def look() -> None:
        if why := next(left, ""):
            raise store.StoreError(why)

    await open_when_fit(gate, look, pause_s=0)
    await gate.wait()
    assert gate.why == ""
