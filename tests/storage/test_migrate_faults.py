"""Migrations while things go wrong: connections lost, tables in use, columns of another type."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import cast

import psycopg
import pytest
from psycopg import conninfo

from storage.errors import DatabaseUnreachable, MigrationError
from storage.migrate import APPLICATION, check, load, migrate, misfits
from tests.storage import shapes
from tests.storage.debian import end_sessions
from tests.storage.rows import catalogue, rows, run

# A sequence counts over rollbacks: the second file loses its connection that often.
LOSING = "SELECT CASE WHEN nextval('tries') <= {} THEN pg_terminate_backend(pg_backend_pid()) END"


def three(folder: Path, second: str) -> list[str]:
    create = "CREATE {} IF NOT EXISTS"
    texts = [
        f"{create.format('SEQUENCE')} tries; {create.format('TABLE')} one ()",
        f"{create.format('TABLE')} two (); {second}",
        f"{create.format('TABLE')} three ()",
    ]
    for number, text in enumerate(texts, 1):
        (folder / f"2026010{number}000000_f.sql").write_text(text)
    return [migration.file for migration in load(folder)]


async def test_a_lost_connection_is_tried_again(
    empty_database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = three(tmp_path, LOSING.format(2))
    with caplog.at_level(logging.WARNING):
        report = await migrate(empty_database, folder=tmp_path)
    assert report.applied == tuple(files)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all(f"done: {files[0]}; left: {files[1]}, {files[2]}; again in" in each for each in said)
    assert rows(empty_database, "SELECT count(*) AS n FROM supabase_migrations.schema_migrations") == [
        {"n": 3}
    ]


class Wire:
    """A TCP way to a server's Unix socket that breaks when the answer to the ``nth`` COMMIT is under way."""

    def __init__(self, dsn: str, nth: int) -> None:
        params = conninfo.conninfo_to_dict(dsn)
        self._path = f"{params['host']}/.s.PGSQL.{params['port']}"
        self._dsn = dsn
        self._left = nth

    async def __aenter__(self) -> str:
        self._ends: list[asyncio.Task[None]] = []
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return conninfo.make_conninfo(self._dsn, host="127.0.0.1", port=port)

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._ends)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._ends.append(cast("asyncio.Task[None]", asyncio.current_task()))
        server, to_server = await asyncio.open_unix_connection(self._path)
        answers = asyncio.create_task(self._answer(server, to_client))
        while data := await client.read(65536):
            self._left -= b"COMMIT" in data
            to_server.write(data)
        await answers
        for writer in (to_client, to_server):
            writer.close()
            await writer.wait_closed()

    async def _answer(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while data := await server.read(65536):
            if self._left == 0:
                self._left = -1
                break
            to_client.write(data)
        to_client.close()


async def test_a_file_whose_commit_was_not_heard_counts_as_done(empty_database: str, tmp_path: Path) -> None:
    """The history tables are the first transaction, then come the files."""
    files = three(tmp_path, "SELECT nextval('tries')")
    async with Wire(empty_database, 3) as dsn:
        report = await migrate(dsn, folder=tmp_path)
    assert report.applied == tuple(files)
    assert rows(empty_database, "SELECT last_value::int AS n FROM tries") == [{"n": 1}]  # not run again


async def test_what_is_applied_again_is_run_again_after_a_loss(empty_database: str, tmp_path: Path) -> None:
    files = three(tmp_path, LOSING.format(0))
    await migrate(empty_database, folder=tmp_path)
    run(empty_database, "SELECT setval('tries', 1, false)")
    run(empty_database, "DELETE FROM sipua.migrations")
    three(tmp_path, LOSING.format(1))
    report = await migrate(empty_database, folder=tmp_path, again=True)
    assert report.applied == tuple(files)
    assert rows(empty_database, "SELECT last_value::int AS n FROM tries") == [{"n": 2}]


async def test_patience_ends_and_says_what_is_done_and_left(empty_database: str, tmp_path: Path) -> None:
    first, *left = three(tmp_path, LOSING.format(1000))
    with pytest.raises(
        MigrationError, match=f"terminating connection.*; done: {first}; left: {left[0]}, {left[1]}"
    ) as e:
        await migrate(empty_database, folder=tmp_path, patience_s=0.5)
    assert e.value.retryable
    tables = "SELECT to_regclass('one') IS NOT NULL AS one, to_regclass('two') IS NOT NULL AS two"
    assert rows(empty_database, tables) == [{"one": True, "two": False}]
    run(empty_database, "SELECT setval('tries', 1000)")
    assert (await migrate(empty_database, folder=tmp_path)).applied == tuple(left)


async def test_what_is_wrong_in_a_file_is_not_tried_again(empty_database: str, tmp_path: Path) -> None:
    first, *left = three(tmp_path, "SELECT nextval('tries'); SELECT 1/0")
    with pytest.raises(
        MigrationError, match=f"division by zero; nothing of it was kept; done: {first}; left: {left[0]}"
    ):
        await migrate(empty_database, folder=tmp_path)
    assert rows(empty_database, "SELECT last_value::int AS n FROM tries") == [{"n": 1}]


async def test_the_server_ends_every_session_meanwhile(empty_database: str) -> None:
    """Wherever it strikes, the database ends as if nothing had happened."""
    run(empty_database, shapes.seed("october"))
    task = asyncio.create_task(migrate(empty_database))
    struck = 0
    while struck < 3 and not task.done():
        struck += await asyncio.to_thread(end_sessions, empty_database, APPLICATION)
        await asyncio.sleep(0.05)
    try:
        report = await task
    except DatabaseUnreachable:  # it struck while the first connection was made: nothing was begun
        report = await migrate(empty_database)
    assert set(report.applied) | set(report.already) == {migration.file for migration in load()}
    assert await check(empty_database) == []
    history = rows(empty_database, "SELECT version FROM supabase_migrations.schema_migrations ORDER BY 1")
    assert [row["version"] for row in history] == [migration.version for migration in load()]


async def test_a_table_in_use_is_waited_for(empty_database: str, tmp_path: Path) -> None:
    """Not for ever: live traffic queues behind us."""
    run(empty_database, "CREATE TABLE busy ()")
    three(tmp_path, "SET LOCAL lock_timeout = '50ms'; ALTER TABLE busy ADD COLUMN x int")
    with psycopg.connect(empty_database) as holder:
        holder.execute("LOCK TABLE busy IN ACCESS SHARE MODE")
        task = asyncio.create_task(migrate(empty_database, folder=tmp_path))
        done, _ = await asyncio.wait([task], timeout=1)  # some tries fail
        assert not done
    assert len((await task).applied) == 3


OTHER_TYPES = [
    ("duration_seconds", "text", "text"),
    ("started_at", "timestamp", "timestamp without time zone"),
    ("metadata", "json", "json"),
    ("from_e164", "varchar(16)", "character varying(16)"),
    ("handoff", "text", "text"),
    ("status", "call_status", "call_status"),
]


@pytest.mark.parametrize(("column", "kind", "named"), OTHER_TYPES)
async def test_a_column_of_another_type_is_named_before_anything_is_done(
    empty_database: str, column: str, kind: str, named: str
) -> None:
    run(empty_database, "CREATE TYPE call_status AS ENUM ('started')")
    run(empty_database, shapes.seed("october") + f"ALTER TABLE voice_calls DROP COLUMN {column} CASCADE")
    run(empty_database, f"ALTER TABLE voice_calls ADD COLUMN {column} {kind}")
    before = catalogue(empty_database)
    said = f"column public.voice_calls.{column} is of type {named}, not "
    with pytest.raises(MigrationError, match="nothing was changed") as caught:
        await migrate(empty_database)
    assert said in str(caught.value)
    assert catalogue(empty_database) == before
    assert any(line.startswith(said) for line in await check(empty_database))


async def test_a_type_that_holds_more_will_do(empty_database: str) -> None:
    run(empty_database, shapes.seed("v1"))
    run(
        empty_database,
        "ALTER TABLE voice_calls ALTER duration_seconds TYPE bigint, ALTER from_e164 TYPE varchar;"
        "ALTER TABLE transcripts ALTER confidence TYPE double precision",
    )
    await migrate(empty_database)
    assert await check(empty_database) == []


MISFITS = [
    ("ALTER TABLE voice_calls DROP COLUMN trunk CASCADE", "column public.voice_calls.trunk"),
    (
        "ALTER TABLE transcripts ALTER confidence TYPE text",
        "column public.transcripts.confidence is of type text",
    ),
    ("DROP TABLE wa_threads CASCADE", "table public.wa_threads"),
    (
        "ALTER TABLE voice_events DROP CONSTRAINT voice_events_type_check, ADD CONSTRAINT narrow "
        "CHECK (type IN ('webhook', 'error'))",
        "constraint narrow on public.voice_events: type refuses answered, call_ended, call_started",
    ),
    (
        "ALTER TABLE voice_calls ADD tenant_id uuid NOT NULL",
        "column public.voice_calls.tenant_id is NOT NULL without a default, and nothing of ours writes it",
    ),
    (
        "DELETE FROM supabase_migrations.schema_migrations WHERE name = 'trunks'",
        "migration 20261122150000_trunks.sql",
    ),
]


FILLED = [
    "ALTER TABLE voice_calls ADD tenant_id uuid",
    "ALTER TABLE voice_calls ADD tenant_id uuid NOT NULL DEFAULT gen_random_uuid()",
    "ALTER TABLE voice_calls ADD number bigint NOT NULL GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE voice_calls ADD tenant_id uuid NOT NULL; "
    "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.tenant_id := NEW.id; RETURN NEW; END'; "
    "CREATE TRIGGER theirs BEFORE INSERT ON voice_calls FOR EACH ROW EXECUTE FUNCTION theirs()",
]


@pytest.mark.parametrize("done", FILLED)
async def test_a_column_of_others_that_is_filled_will_do(database: str, done: str) -> None:
    run(database, done)
    assert await misfits(database) == []
    run(database, "INSERT INTO voice_calls (direction) VALUES ('inbound')")


@pytest.mark.parametrize(("done", "said"), MISFITS)
async def test_what_does_not_fit_is_told(database: str, done: str, said: str) -> None:
    run(database, done)
    assert any(line.startswith(said) for line in await misfits(database))
    assert any(line.startswith(said) for line in await check(database))


@pytest.mark.parametrize(
    "removed", ["ALTER TABLE voice_calls DROP COLUMN trunk CASCADE", "DROP TABLE wa_threads CASCADE"]
)
async def test_what_was_removed_comes_back_when_asked(database: str, removed: str) -> None:
    run(database, removed)
    await migrate(database)
    assert await check(database) != []
    await migrate(database, again=True)
    assert await check(database) == []
