"""Connections to read with: off the loop, bounded, and what a database that is slow, stopped or away does to a read."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from storage.embedded import EmbeddedPostgres
from storage.errors import DatabaseUnreachable, StoreError
from storage.reading import MOST_CONNECTIONS, MOST_WAITING, Connection, ReadPool, TooBusy, plain, rows
from tests.postgres import FAST, scratch_dir
from tests.waiting import eventually


async def test_reads_wait_in_threads_and_never_hold_the_loop(database: str) -> None:
    """Three at once, the rest behind them; each in a thread, with a connection of its own."""
    threads: set[str] = set()
    backends: set[int] = set()

    def work(connection: Connection) -> None:
        threads.add(threading.current_thread().name)
        backends.add(connection.info.backend_pid)
        connection.execute("SELECT pg_sleep(0.02)").fetchone()

    async with ReadPool(database) as pool:
        await asyncio.gather(*(pool.read(work) for _ in range(12)))
    assert threading.current_thread().name not in threads
    assert len(threads) <= MOST_CONNECTIONS
    assert len(backends) <= MOST_CONNECTIONS


async def test_one_too_many_is_refused(database: str) -> None:
    async with ReadPool(database) as pool:
        waiting = [
            asyncio.create_task(pool.read(lambda c: c.execute("SELECT pg_sleep(0.01)")))
            for _ in range(MOST_WAITING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooBusy, match="64 reads wait already") as caught:
            await pool.read(lambda connection: None)
        assert caught.value.retryable
        assert (pool.waiting, pool.refused) == (MOST_WAITING, 1)
        await asyncio.gather(*waiting)
        assert pool.waiting == 0
        assert pool.took.cumulative()[-1][1] == MOST_WAITING
        await pool.read(lambda connection: connection.execute("SELECT 1"))


async def test_a_slow_statement_is_given_up_by_the_server(database: str) -> None:
    async with ReadPool(database, statement_s=0.05) as pool:
        with pytest.raises(TooBusy, match=r"no result within 0\.05 s; ask for less"):
            await pool.read(lambda connection: connection.execute("SELECT pg_sleep(5)").fetchone())
        (row,) = await pool.read(
            lambda connection: rows(connection, "SELECT current_setting('timezone') AS zone", {})
        )
        assert row == {"zone": "UTC"}


async def test_nothing_can_be_written(database: str) -> None:
    async with ReadPool(database) as pool:
        with pytest.raises(StoreError, match="read-only transaction"):
            await pool.read(
                lambda connection: rows(connection, "DELETE FROM public.voice_calls RETURNING id", {})
            )


async def test_one_snapshot(database: str) -> None:
    """What is written between two queries of a read is not seen by it."""

    def work(connection: Connection) -> list[int]:
        count = "SELECT count(*) AS n FROM public.voice_calls"
        first = rows(connection, count, {})
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("INSERT INTO public.voice_calls (direction) VALUES ('inbound')")
        return [first[0]["n"], rows(connection, count, {})[0]["n"]]

    async with ReadPool(database) as pool:
        assert await pool.read(work) == [0, 0]
        assert (await pool.read(work))[0] == 1


async def test_a_connection_that_was_cut_is_replaced(database: str, postgres_server: str) -> None:
    """As by a restart of the server between two reads."""
    name = str(conninfo.conninfo_to_dict(database)["dbname"])
    async with ReadPool(database) as pool:
        await pool.read(lambda connection: connection.execute("SELECT 1"))
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            query = sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}")
            connection.execute(query.format(sql.Literal(name)))
        assert await pool.read(lambda connection: rows(connection, "SELECT 1 AS one", {})) == [{"one": 1}]


async def test_a_database_that_is_away_costs_the_reads_not_the_pool(tmp_path: Path) -> None:
    dsn = conninfo.make_conninfo(host=str(tmp_path), dbname="none")
    async with ReadPool(dsn, connect_s=0.2) as pool:
        with pytest.raises(DatabaseUnreachable) as caught:
            await pool.read(lambda connection: None)
    assert caught.value.retryable


async def test_a_refused_connection_is_not_waited_for(tmp_path: Path) -> None:
    """However long one would wait for a silent server: the test's own limit is far below. So for all that wait."""
    dsn = conninfo.make_conninfo(host=str(tmp_path), dbname="none")
    async with ReadPool(dsn, connect_s=3600.0) as pool:
        for _ in range(2):  # and once more: nothing is remembered of the first time
            reads = [pool.read(lambda connection: None) for _ in range(MOST_CONNECTIONS + 1)]
            found = await asyncio.gather(*reads, return_exceptions=True)
            assert [type(each) for each in found] == [DatabaseUnreachable] * len(reads)


async def test_a_connection_that_another_read_holds_is_waited_for(
    database: str, postgres_server: str
) -> None:
    """The server gives us one connection and no more: reads take turns."""
    name = str(conninfo.conninfo_to_dict(database)["dbname"])
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE IF EXISTS lonely; CREATE ROLE lonely LOGIN CONNECTION LIMIT 1"))
    dsn = conninfo.make_conninfo(database, user="lonely")
    held, release = threading.Event(), threading.Event()

    def hold(_: Connection) -> str:
        held.set()
        assert release.wait(10)
        return name

    async with ReadPool(dsn) as pool:
        first = asyncio.create_task(pool.read(hold))
        assert await asyncio.to_thread(held.wait, 10)
        second = asyncio.create_task(pool.read(lambda connection: connection.info.dbname))
        await asyncio.to_thread(eventually, lambda: pool.failures > 0, "a second connection is refused")
        release.set()
        assert [await first, await second] == [name, name]


@pytest.fixture
def own_server() -> Iterator[str]:
    """Of this test alone."""
    folder = scratch_dir()
    with EmbeddedPostgres(folder, settings=FAST) as server:
        yield server.dsn


async def test_a_server_that_stands_still_is_not_waited_for(own_server: str) -> None:
    """SIGSTOP in the middle of a read: the read ends, its thread too, and the pool can be closed and used."""
    stopped: list[int] = []

    def work(connection: Connection) -> None:
        connection.execute("SELECT 1").fetchone()
        stopped.append(connection.info.backend_pid)
        os.kill(stopped[0], signal.SIGSTOP)
        connection.execute("SELECT 2").fetchone()

    try:
        async with ReadPool(own_server, statement_s=0.1, patience_s=0.1, connect_s=1.0) as pool:
            with pytest.raises(DatabaseUnreachable):
                await pool.read(work)
            (row,) = await pool.read(lambda connection: rows(connection, "SELECT 1 AS one", {}))
            assert row == {"one": 1}
    finally:
        os.kill(stopped[0], signal.SIGCONT)
    readers = [thread for thread in threading.enumerate() if thread.name.startswith("read_")]
    for thread in readers:
        thread.join(5)
    assert not [thread for thread in readers if thread.is_alive()]


def test_json_types() -> None:
    moment = datetime(2026, 11, 23, 4, 0, 0, 5, tzinfo=UTC)
    assert plain(moment) == "2026-11-23T04:00:00.000005Z"
    assert plain(moment.date()) == "2026-11-23"
