"""Services, orders and memories as the model uses them, on a real database, a dead one and one that never answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from sipua.clock import SystemClock
from sipua.desk import Desk
from sipua.memory import MemorySettings, PastCall, Recollection, fault_of
from sipua.tools.memory import Forget, Remember
from sipua.tools.registry import Registry
from sipua.tools.services import REFERENCE_CHARS, BookTransport, SearchServices, reference_of
from storage.catalogue import CATALOGUE, import_rows
from storage.desk_statements import PREFS_MAX
from storage.facts import CallCreated
from storage.writer import LedgerWriter
from tests.sipua.test_ledger import OPENING
from tests.tools import calls
from tests.tools.calls import context

T0 = datetime(2026, 1, 2, 23, 30, tzinfo=UTC)
RIDE = {
    "vehicle_type": "car",
    "pickup_location": "Kimironko market",
    "dropoff_location": "Remera",
    "passengers": 3,
}

READS = MemorySettings()
Scene = tuple[calls.Desk, Desk, LedgerWriter]


@asynccontextmanager
async def desk_on(
    dsn: str, memory: MemorySettings = READS
) -> AsyncIterator[tuple[calls.Desk, Desk, LedgerWriter]]:
    """A call with the tools, what is behind them, and the ledger's queue."""
    writer = LedgerWriter(dsn, batch_ms=5)
    clock = SystemClock()
    desk = Desk(dsn, writer, memory, clock)
    registry = Registry()
    registry.add(SearchServices(desk), BookTransport(desk, clock), Remember(desk, clock), Forget(desk, clock))
    try:
        yield calls.Desk(registry), desk, writer
    finally:
        await writer.close(1)


async def test_what_is_in_the_catalogue_is_told_and_nothing_else(database: str) -> None:
    row = {
        "key": "a",
        "name": "Moto Amahoro",
        "category": "transport",
        "location": "Kimironko",
        "text_rw": "Moto",
    }
    await import_rows(
        database,
        "catalogue",
        [{column: row.get(column) for column in CATALOGUE}],
        replace=False,
        dry_run=False,
    )
    async with desk_on(database) as (call, _, _):
        found = await call.use("search_services", {"query": "moto", "location": "Remera"})
        assert found["results"] == [
            {"name": "Moto Amahoro", "category": "transport", "location": "Kimironko", "text": "Moto"}
        ]
        assert "Remera" in found["note"]
        assert (await call.use("search_services", {"query": "helicopter"}))["results"] == []
        assert "error" in await call.use("search_services", {"query": "x", "category": "astrology"})


async def test_an_order_is_a_row_with_the_reference_that_was_read_out(database: str) -> None:
    async with desk_on(database) as (call, _, writer):
        writer.put((CallCreated(id=OPENING.id, direction="inbound"),))
        booked = await call.use("book_transport", RIDE)
        assert await writer.flush(5)
    with psycopg.connect(database, row_factory=dict_row) as connection:
        [row] = connection.execute("SELECT * FROM sipua.service_requests").fetchall()
    assert booked["reference"] == row["reference"] == reference_of(call.called[0].id)
    assert booked["say"].replace(", ", "") == row["reference"]
    assert (row["kind"], row["details"], row["caller"], row["locale"]) == (
        "transport",
        RIDE,
        "+250788123456",
        "rw",
    )


async def test_a_motorcycle_takes_one(database: str) -> None:
    async with desk_on(database) as (call, _, writer):
        refused = await call.use("book_transport", RIDE | {"vehicle_type": "moto", "passengers": 2})
        assert "larger vehicle" in refused["error"]
        assert writer.stats.queued + writer.stats.written == 0


def test_a_reference_is_readable_and_differs() -> None:
    references = [reference_of(UUID(int=n)) for n in range(2000)]
    assert len(set(references)) == 2000
    assert set("".join(references)) == set(REFERENCE_CHARS)
    assert {len(reference) for reference in references} == {6}
    assert not set("01IO") & set(REFERENCE_CHARS)


async def test_a_preference_is_remembered_in_the_next_call_until_it_is_forgotten(database: str) -> None:
    async with desk_on(database) as (call, desk, writer):
        assert await desk.recall(OPENING) is None
        refused = await call.use("remember", {"topic": "vehicle", "value": "moto", "agreed": False})
        assert "yes" in refused["error"]
        await call.use("remember", {"topic": "Home area", "value": "Kimironko", "agreed": True})
        await call.use("remember", {"topic": "vehicle", "value": "moto", "agreed": True})
        assert await writer.flush(5)
        known = await desk.recall(OPENING)
        assert known is not None
        assert (known.prefs, known.country, known.locale) == (
            {"language": "rw", "home_area": "Kimironko", "vehicle": "moto"}, "RW", "rw",
        )  # fmt: skip
        outbound = replace(
            OPENING, direction="outbound", from_number="+12025550100", to_number=OPENING.from_number
        )
        assert await desk.recall(outbound) == known
        await call.use("forget", {"topic": "vehicle"})
        assert await writer.flush(5)
        less = await desk.recall(OPENING)
        assert less is not None
        assert "vehicle" not in less.prefs
        await call.use("forget")
        assert await writer.flush(5)
        assert await desk.recall(OPENING) is None


async def test_what_there_is_no_room_for_is_not_said_to_be_remembered(database: str) -> None:
    """Of the forty, one is the language."""
    async with desk_on(database) as (call, desk, writer):
        assert await desk.recall(OPENING) is None

        async def remembered(topic: str) -> bool:
            return "error" not in await call.use("remember", {"topic": topic, "value": "x", "agreed": True})

        names = [f"topic_{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(PREFS_MAX)]
        assert [name for name in names if not await remembered(name)] == names[-1:]
        assert await writer.flush(5)
        known = await desk.recall(OPENING)  # in the next call
        assert known is not None
        assert len(known.prefs) == PREFS_MAX
        assert not await remembered(names[-1])
        assert await remembered(names[0])  # anew
        await call.use("forget", {"topic": names[0]})
        assert await remembered(names[-1])


async def test_who_withholds_the_number_is_nobody(database: str) -> None:
    async with desk_on(database) as (call, desk, _):
        assert await desk.recall(replace(OPENING, from_number=None)) is None
        nobody = replace(context(call), caller=None)
        tool = Remember(desk, SystemClock())
        with pytest.raises(Exception, match="withheld"):
            await tool.run(tool.Arguments(topic="a", value="b", agreed=True), nobody)


@pytest.fixture(params=["refused", "silent"])
def no_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Nobody listens there, or somebody who never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listener.listen()
        yield f"postgresql://u@127.0.0.1:{listener.getsockname()[1]}/d"


async def test_without_a_database_a_call_goes_on(no_database: str) -> None:
    async with desk_on(no_database, MemorySettings(read_timeout_s=0.05)) as (call, desk, writer):
        async with asyncio.timeout(2):
            assert await desk.recall(OPENING) is None
        booked = await call.use("book_transport", RIDE)
        assert len(booked["reference"]) == 6
        assert writer.stats.queued == 1
        assert writer.stats.dropped == 0


@asynccontextmanager
async def stalling(database: str) -> AsyncIterator[str]:
    """On the way to the database nothing goes on once the memory is asked for, and nothing is closed."""
    real = psycopg.conninfo.conninfo_to_dict(database)
    ends: list[asyncio.StreamWriter] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(writer)
        with contextlib.suppress(ConnectionError):
            while (data := await reader.read(65536)) and b"voice_memories" not in data:
                writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_unix_connection(f"{real['host']}/.s.PGSQL.{real['port']}")
        await asyncio.gather(pass_on(reader, ours), pass_on(theirs, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"postgresql://{real['user']}@127.0.0.1:{port}/{real['dbname']}?sslmode=disable"
    finally:
        for writer in ends:
            writer.close()
        server.close()


async def test_a_database_that_stalls_amid_a_query_does_not_let_it_ring(database: str) -> None:
    """psycopg takes ten seconds to give up a query that a silent server does not let go of."""
    async with stalling(database) as dsn, desk_on(dsn, MemorySettings(read_timeout_s=0.2)) as (_, desk, _):
        async with asyncio.timeout(2):
            assert await desk.recall(OPENING) is None


async def test_a_catalogue_that_is_away_is_said_to_be() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        async with desk_on(f"postgresql://u@127.0.0.1:{listener.getsockname()[1]}/d") as (call, _, _):
            told = await call.use("search_services", {"query": "taxi"})
    assert told["error"].startswith("the catalogue cannot be read")


def test_a_memory_is_told_in_lines() -> None:
    known = Recollection(
        {"vehicle": "moto", "vip": True, "nested": {"a": 1}, "n": 3, "nothing": None},
        "RW",
        [PastCall(T0, "book a taxi", "booked"), PastCall(T0 - timedelta(days=1), "prices", "")],
    )
    assert known.lines(UTC).splitlines() == [
        "vehicle: moto", "vip: yes", "n: 3", "country: RW",
        "Called on 2026-01-02: book a taxi (booked)", "Called on 2026-01-01: prices (outcome unknown)",
    ]  # fmt: skip
    assert known.locale is None


@pytest.mark.parametrize(
    ("topic", "value", "is_kept"),
    [
        ("vehicle", "moto", True),
        ("house", "number 12, second floor", True),
        ("card", "4111 1111 1111 1111", False),
        ("id", "1199080012345", False),
        ("Vehicle!", "moto", False),
    ],
)
def test_numbers_of_cards_and_papers_are_not_kept(topic: str, value: str, is_kept: bool) -> None:
    assert (fault_of(topic, value) == "") is is_kept
