"""The least-privilege role for our writer, and what is said of a login that is not enough."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import conninfo

from storage.callbacks import callback_done, callback_requests
from storage.catalogue import CATALOGUE, import_rows, search
from storage.desk_facts import Forgotten, Remembered
from storage.errors import MigrationError
from storage.facts import (
    CallChanged,
    CallCreated,
    CallEnded,
    Event,
    Group,
    ProcessStarted,
    SessionOpened,
    ToolCalled,
    Transcript,
)
from storage.memories import memory_of
from storage.migrate import load, migrate, migrations_dir, misfits
from storage.queries import call_rows, close_orphans, drill_runs, spent_since, trunk_changes
from storage.writer import LedgerWriter
from tests.storage.rows import rows, run

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NUMBER = "+250700000001"
_numbers = itertools.count(1)


@pytest.fixture
def login(database: str) -> Iterator[str]:
    """DSN of a login of this test's own that may do nothing yet."""
    name = f"login_{os.getpid()}_{next(_numbers)}"
    run(database, f"CREATE ROLE {name} LOGIN")
    yield conninfo.make_conninfo(database, user=name)
    run(database, f"DROP OWNED BY {name}; DROP ROLE {name}")


def name_of(dsn: str) -> str:
    return str(conninfo.conninfo_to_dict(dsn)["user"])


async def test_a_member_writes_and_reads_a_whole_call(database: str, login: str) -> None:
    run(database, f"GRANT sipua_writer TO {name_of(login)}")
    assert await misfits(login) == []
    assert (await migrate(login)).applied == ()  # serve asks at each start
    call, instance = uuid4(), uuid4()
    groups: list[Group] = [
        (ProcessStarted(instance, "a", 0, NOW, 1, "1"),),
        (
            CallCreated(call, "inbound", NUMBER, metadata={"node": "a"}),
            Event(uuid4(), call, "call_started", NOW),
        ),
        (SessionOpened(uuid4(), call, "sess_1"),),
        (Transcript(uuid4(), call, 1, "caller", "hello"), ToolCalled(uuid4(), call, None, "x", {}, NOW)),
        (CallChanged(call, NOW, status="in_progress"), Remembered(NUMBER, NOW, {"name": "A"})),
    ]
    writer = LedgerWriter(login)
    for group in groups:
        writer.put(group)
    assert await writer.flush(10)
    memory = await memory_of(login, NUMBER, calls=1)
    assert memory is not None
    writer.put((CallEnded(call, NOW, 1, "completed"), Forgotten(NUMBER)))
    assert await writer.close(10)
    assert (writer.stats.poisoned, writer.stats.unmatched) == (0, 0)
    found = await call_rows(login, call)
    assert {table: len(lines) for table, lines in found.items() if lines} == {
        "voice_calls": 1, "openai_sessions": 1, "transcripts": 1, "voice_events": 1,
    }  # fmt: skip
    assert found["voice_calls"][0]["status"] == "completed"
    assert await memory_of(login, NUMBER, calls=1) is None
    assert await close_orphans(login, node="a", worker=0, instance=uuid4(), now=NOW) == []


async def test_a_member_keeps_catalogue_and_call_backs(database: str, login: str) -> None:
    run(database, f"GRANT sipua_writer TO {name_of(login)}")
    row = dict.fromkeys(CATALOGUE) | {"key": "moto", "name": "Moto", "category": "transport"}
    for rows_of_file in ([row], []):
        await import_rows(login, "catalogue", rows_of_file, replace=True, dry_run=False)
        found = await search(login, "moto")
        assert len(found.services) == len(rows_of_file)
    assert await search(login, "mooto") is not None  # by similarity, of an extension
    assert await callback_requests(login, only_new=True, limit=1) == []
    assert await callback_done(login, "ABCDEF") is None
    assert await spent_since(login, NOW) == []
    assert await trunk_changes(login, 1) == []
    assert await drill_runs(login) == []


FORBIDDEN = (
    "DELETE FROM public.voice_calls",
    "DELETE FROM public.call_consents",
    "TRUNCATE public.transcripts",
    "ALTER TABLE public.voice_calls ADD COLUMN x int",
    "DROP TABLE sipua.processes",
    "CREATE TABLE sipua.mine ()",
    "CREATE POLICY mine ON public.voice_calls USING (true)",
    "SELECT sipua.secure()",
    "DELETE FROM supabase_migrations.schema_migrations",
    "UPDATE sipua.migrations SET sha256 = ''",
    "ALTER ROLE anon LOGIN",
    "SELECT * FROM public.theirs",
)


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_a_member_may_do_no_more(database: str, login: str, statement: str) -> None:
    run(database, f"GRANT sipua_writer TO {name_of(login)}; CREATE TABLE public.theirs ()")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(login, statement)


def test_the_role_is_no_way_round_row_level_security(database: str) -> None:
    strong = (
        "SELECT 1 FROM pg_roles WHERE rolname = 'sipua_writer' AND (rolbypassrls OR rolcanlogin OR rolsuper)"
    )
    assert rows(database, strong) == []


LOGINS = [
    ("SELECT", "may not use schema sipua"),
    ("GRANT USAGE ON SCHEMA sipua TO {0}", "may not read public.voice_calls"),
    (
        "GRANT USAGE ON SCHEMA sipua TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA public, sipua TO {0}",
        "may not write public.voice_calls",
    ),
    (
        "GRANT USAGE ON SCHEMA sipua TO {0}; GRANT ALL ON ALL TABLES IN SCHEMA public, sipua TO {0}",
        "sees no row of public.voice_calls (row level security)",
    ),
    (
        "GRANT sipua_writer TO {0}; REVOKE UPDATE ON public.transcripts FROM sipua_writer",
        "may not write public.transc",
    ),
]


@pytest.mark.parametrize(("given", "said"), LOGINS)
async def test_a_login_that_is_not_enough_is_told(database: str, login: str, given: str, said: str) -> None:
    """Under row level security an UPDATE would succeed with no row, and nobody would know."""
    run(database, given.format(name_of(login)))
    assert any(line.startswith(f"role {name_of(login)} {said}") for line in await misfits(login))


async def test_a_writer_cannot_migrate_and_says_so(empty_database: str, tmp_path: Path) -> None:
    folder = migrations_dir()
    *known, newest = load()
    for migration in known:
        (tmp_path / migration.file).write_bytes((folder / migration.file).read_bytes())
    await migrate(empty_database, folder=tmp_path)
    name = f"login_{os.getpid()}_{next(_numbers)}"
    run(
        empty_database,
        f"CREATE ROLE {name} LOGIN; GRANT SELECT ON supabase_migrations.schema_migrations TO {name}",
    )
    run(empty_database, f"GRANT USAGE ON SCHEMA supabase_migrations TO {name}")
    try:
        with pytest.raises(MigrationError, match=f"left: {newest.file}") as caught:
            await migrate(conninfo.make_conninfo(empty_database, user=name))
        assert caught.value.forbidden
    finally:
        run(empty_database, f"DROP OWNED BY {name}; DROP ROLE {name}")
