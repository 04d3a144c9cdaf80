"""Our tables in a file and back: on the embedded server and on Debian's, every row compared."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from storage import dump as archive
from storage.errors import StoreError
from storage.migrate import check, migrate
from storage.programs import environment
from tests.postgres import create_database, drop_database
from tests.storage import debian

CALL = uuid4()
FILL = f"""
INSERT INTO public.voice_calls (id, direction, from_e164, status, metadata)
  VALUES ('{CALL}', 'inbound', '+250788000001', 'completed', '{{"a": "é\\u2028"}}');
INSERT INTO public.transcripts (call_id, sequence, role, content, t)
  SELECT '{CALL}', n, 'user', E'tab\\there, line\\nbreak, \\\\. and ''quote'' ' || n, now() + n * interval '1 ms'
  FROM generate_series(1, 300) n;
INSERT INTO public.voice_events (call_id, type, payload) VALUES ('{CALL}', 'call_started', '{{}}');
INSERT INTO public.voice_memories (msisdn, prefs) VALUES ('+250788000001', '{{}}');
INSERT INTO sipua.catalogue (key, category, name) VALUES ('cafe', 'food', 'Café Musanze');
"""


def fill(dsn: str, more: str = "") -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute((FILL + more).encode())


def rows(dsn: str) -> dict[str, list[str]]:
    """Every table of ours, as text."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(archive._OURS.encode(), (list(archive.SHARED), archive.KEPT)).fetchall()
        return {
            f"{schema}.{name}": sorted(
                str(row[0]) for row in connection.execute(f"SELECT t::text FROM {schema}.{name} t".encode())
            )
            for schema, name in tables
        }


@pytest.fixture(scope="module")
def debians() -> Iterator[str]:
    with debian.server() as dsn:
        yield dsn


@pytest.fixture
def other(postgres_server: str, template: str) -> Iterator[str]:
    """A second database, migrated."""
    dsn = create_database(postgres_server, template)
    yield dsn
    drop_database(postgres_server, dsn)


async def moved(source: str, target: str, file: Path) -> None:
    await migrate(source, again=True)  # what migrations derive from other rows
    await archive.dump(source, file, is_embedded=True)
    await migrate(target)
    await archive.restore(target, file, is_embedded=True)
    await migrate(target, again=True)


async def test_a_round_trip_keeps_every_row_and_the_shape(database: str, other: str, tmp_path: Path) -> None:
    fill(database)
    file = tmp_path / "our.dump"
    await moved(database, other, file)
    assert rows(other) == rows(database)
    assert len(rows(other)["public.transcripts"]) == 300
    assert await check(other) == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["our.dump"]


async def test_what_others_added_to_our_tables_comes_along(database: str, other: str, tmp_path: Path) -> None:
    """A column, and a word on a list: as databases of the platform have them."""
    words = "ALTER TABLE public.voice_calls DROP CONSTRAINT voice_calls_status_check; "
    fill(database, words + "ALTER TABLE public.voice_calls ADD theirs text DEFAULT 'kind';")
    with psycopg.connect(database) as connection:
        connection.execute(b"UPDATE public.voice_calls SET status = 'parked'")
    await moved(database, other, tmp_path / "our.dump")
    assert rows(other) == rows(database)


async def test_a_replacement_leaves_nothing_of_what_was_there(
    database: str, other: str, tmp_path: Path
) -> None:
    fill(database)
    with psycopg.connect(other) as connection:
        connection.execute(b"INSERT INTO public.voice_calls (direction) VALUES ('outbound')")
    assert await archive.filled(other) == ["public.voice_calls"]
    await moved(database, other, tmp_path / "our.dump")
    assert rows(other) == rows(database)


async def test_between_debians_server_and_the_embedded_one(debians: str, other: str, tmp_path: Path) -> None:
    """Both ways: 15 to 18 and back."""
    await migrate(debians)
    fill(debians)
    await moved(debians, other, tmp_path / "up.dump")
    assert rows(other) == rows(debians)
    await moved(other, debians, tmp_path / "down.dump")
    assert rows(other) == rows(debians)
    assert await check(debians) == []


async def test_what_fails_amid_leaves_everything_as_it_was(database: str, other: str, tmp_path: Path) -> None:
    """Somebody's view on our tables, and a file that ends too soon."""
    fill(database)
    file = tmp_path / "our.dump"
    await archive.dump(database, file, is_embedded=True)
    fill(other)
    before = rows(other)
    with psycopg.connect(other) as connection:
        connection.execute(b"CREATE VIEW public.theirs AS SELECT id FROM public.voice_calls")
    with pytest.raises(StoreError, match=r"psql: .*theirs|depend"):
        await archive.restore(other, file, is_embedded=True)
    with psycopg.connect(other) as connection:
        connection.execute(b"SELECT FROM sipua.call_media")  # was removed before the tables
        connection.execute(b"DROP VIEW public.theirs")
    whole = file.read_bytes()
    file.write_bytes(whole[:-300])  # amid the rows
    with pytest.raises(StoreError, match="pg_restore: "):
        await archive.restore(other, file, is_embedded=True)
    assert rows(other) == before


async def test_files_that_are_none_of_ours(database: str, tmp_path: Path) -> None:
    used = await archive.client(database, is_embedded=True)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(StoreError, match="pg_restore: "):
        await archive.contents(used, tmp_path / "text")
    with pytest.raises(StoreError, match="No such file"):
        await archive.contents(used, tmp_path / "gone")
    with pytest.raises(StoreError, match="is there already"):
        await archive.dump(database, tmp_path / "text", is_embedded=True)
    with pytest.raises(StoreError, match="No such file or directory"):
        await archive.dump(database, tmp_path / "no" / "folder", is_embedded=True)
    assert (tmp_path / "text").read_text() == "hello"


async def test_a_cancelled_dump_leaves_no_file(database: str, tmp_path: Path) -> None:
    task = asyncio.create_task(archive.dump(database, tmp_path / "our.dump", is_embedded=True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert os.listdir(tmp_path) == []


async def test_a_process_that_writes_is_known(database: str) -> None:
    id = uuid4()
    with psycopg.connect(database) as connection:
        connection.execute(
            f"INSERT INTO sipua.processes (instance, node, worker) VALUES ('{id}', 'n1', 2);"
            f"INSERT INTO sipua.writers (instance, seq, seen_at) VALUES ('{id}', 0, now())".encode()
        )
    assert await archive.alive(database) == ["node n1, worker 2"]
    with psycopg.connect(database) as connection:
        connection.execute(b"UPDATE sipua.writers SET seen_at = now() - interval '61 s'")
    assert await archive.alive(database) == []


def test_the_password_is_in_the_environment_only() -> None:
    found = environment(
        "postgresql://sipua:geheim@db.example.org:6543/x?sslmode=verify-full&sslrootcert=/ca.pem"
    )
    assert {name: found[name] for name in found if name.startswith("PG")} == {
        "PGHOST": "db.example.org", "PGPORT": "6543", "PGUSER": "sipua", "PGPASSWORD": "geheim", "PGDATABASE": "x",
        "PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/ca.pem",
    }  # fmt: skip
    assert "OPENAI_API_KEY" not in found
