"""Migrations on an empty database and on the shapes in the wild."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from storage.errors import BadDsn, DatabaseUnreachable, MigrationError
from storage.migrate import check, load, migrate, migrations_dir
from storage.sqlsplit import split
from tests.storage import debian, shapes
from tests.storage.rows import catalogue, rows, run


async def test_empty_database_twice(empty_database: str) -> None:
    assert any("voice_calls" in line for line in await check(empty_database))
    first = await migrate(empty_database)
    before = catalogue(empty_database)
    second = await migrate(empty_database)
    assert first.applied == tuple(m.file for m in load())
    assert first.already == ()
    assert second.applied == ()
    assert second.already == first.applied
    assert await check(empty_database) == []
    assert catalogue(empty_database) == before


async def test_history_is_as_supabase_keeps_it(database: str) -> None:
    found = rows(
        database,
        "SELECT version, name, statements FROM supabase_migrations.schema_migrations ORDER BY version",
    )
    assert [(row["version"], row["name"]) for row in found] == [(m.version, m.name) for m in load()]
    assert found[0]["statements"][0].startswith("DO $$")


GRANT_AGAIN = "GRANT ALL ON ALL TABLES IN SCHEMA public TO anon, authenticated; "


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize("shape", ["empty", "hosted", "v1", "october"])
async def test_nobody_forges_a_consent(empty_database: str, role: str, shape: str) -> None:
    run(empty_database, shapes.seed(shape))
    await migrate(empty_database)
    forge = (
        f"SET ROLE {role}; INSERT INTO public.call_consents (consent_text, consent_result) VALUES ('x', true)"
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        run(empty_database, forge)
    run(empty_database, GRANT_AGAIN)  # as the platform's own file does
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        run(empty_database, forge)
    assert f"role {role} has privileges on public.call_consents" in await check(empty_database)
    run(empty_database, f"SET ROLE service_role; {forge.split(';')[1]}")


OURS = ("call_attempts", "trunk_states", "trunk_changes", "drill_runs")


async def test_a_database_of_the_first_release_gets_the_rows_of_trunks(
    empty_database: str, tmp_path: Path
) -> None:
    first = load()[0]
    (tmp_path / first.file).write_bytes((migrations_dir() / first.file).read_bytes())
    await migrate(empty_database, folder=tmp_path)
    run(empty_database, "INSERT INTO voice_calls (direction) VALUES ('outbound')")
    lacking = await check(empty_database)
    assert "migration 20261122150000_trunks.sql" in lacking
    assert {f"table sipua.{name}" for name in OURS} <= set(lacking)
    report = await migrate(empty_database)
    assert report.already == (first.file,)
    assert await check(empty_database) == []
    assert len(rows(empty_database, "SELECT 1 FROM voice_calls")) == 1


@pytest.mark.parametrize("table", OURS)
@pytest.mark.parametrize("role", ["anon", "authenticated"])
async def test_only_the_service_reaches_what_trunks_do(empty_database: str, role: str, table: str) -> None:
    """Also where the schema is exposed, as hosted databases do it."""
    run(
        empty_database,
        f"{shapes.ROLES}; CREATE SCHEMA sipua; GRANT USAGE ON SCHEMA sipua TO anon, authenticated; "
        "ALTER DEFAULT PRIVILEGES IN SCHEMA sipua GRANT ALL ON TABLES TO anon, authenticated",
    )
    await migrate(empty_database)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table"):
        run(empty_database, f"SET ROLE {role}; SELECT 1 FROM sipua.{table}")
    run(empty_database, f"GRANT ALL ON sipua.{table} TO {role}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        run(empty_database, f"SET ROLE {role}; INSERT INTO sipua.{table} DEFAULT VALUES")
    run(empty_database, f"SET ROLE service_role; SELECT 1 FROM sipua.{table}")


async def test_a_policy_for_everyone_is_found(empty_database: str) -> None:
    await migrate(empty_database)
    run(empty_database, "CREATE POLICY loose ON public.transcripts FOR INSERT WITH CHECK (true)")
    assert await check(empty_database) == ["policy loose on public.transcripts lets everyone insert"]


async def test_two_processes_at_once(empty_database: str) -> None:
    reports = await asyncio.gather(*(migrate(empty_database) for _ in range(4)))
    applied = sorted(file for report in reports for file in report.applied)
    assert applied == [each.file for each in load()]  # each by one of them: they take turns file by file
    assert await check(empty_database) == []


async def test_foreign_versions_stay(empty_database: str) -> None:
    await migrate(empty_database)
    run(
        empty_database,
        "INSERT INTO supabase_migrations.schema_migrations (version) VALUES ('20240101000000')",
    )
    report = await migrate(empty_database)
    assert report.foreign == ("20240101000000",)
    assert len(rows(empty_database, "SELECT 1 FROM supabase_migrations.schema_migrations")) == len(load()) + 1


async def test_error_names_file_line_and_statement(empty_database: str, tmp_path: Path) -> None:
    good = tmp_path / "20260101000000_one.sql"
    good.write_text("CREATE TABLE one (x text DEFAULT ';'); -- a;b\n")
    bad = tmp_path / "20260102000000_two.sql"
    bad.write_text("CREATE TABLE two ();\n\n-- why\nALTER TABLE nowhere ADD x int;\n")
    with pytest.raises(
        MigrationError, match=r"20260102000000_two\.sql, line 4 \(ALTER TABLE nowhere.*does not exist"
    ) as e:
        await migrate(empty_database, folder=tmp_path)
    assert e.value.statement == "ALTER TABLE nowhere ADD x int"
    assert rows(empty_database, "SELECT to_regclass('one') AS one, to_regclass('two') AS two") == [
        {"one": "one", "two": None}
    ]
    bad.write_text("SELECT 1")
    assert (await migrate(empty_database, folder=tmp_path)).applied == (bad.name,)
    good.write_text("SELECT 2")
    with pytest.raises(MigrationError, match="changed after it had been applied"):
        await migrate(empty_database, folder=tmp_path)


def test_file_names_are_checked(tmp_path: Path) -> None:
    (tmp_path / "1_x.sql").write_text("SELECT 1")
    with pytest.raises(MigrationError, match=r"1_x\.sql"):
        load(tmp_path)


def test_split_knows_quotes_and_comments() -> None:
    text = "-- a;\nSELECT ';', \";\", $$;$$, $f$ $$;$$ $f$; /* ; */\n\n; SELECT 2 -- end;\n"
    assert [(s.text, s.line) for s in split(text)] == [
        ("SELECT ';', \";\", $$;$$, $f$ $$;$$ $f$", 2),
        ("SELECT 2 -- end;", 4),
    ]


@pytest.mark.parametrize(
    ("dsn", "error", "says"),
    [
        ("postgresql://u:geheim@127.0.0.1:1/x", DatabaseUnreachable, "refused"),
        ("postgresql://u:geheim@db.example.com/x?sslmode=disable", BadDsn, "plain text"),
        ("postgres//u:geheim@nonsense", BadDsn, "cannot be parsed"),
    ],
)
async def test_wrong_dsn(dsn: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        await migrate(dsn)
    assert "geheim" not in str(caught.value)


async def test_missing_database_is_not_worth_a_retry(postgres_server: str) -> None:
    with pytest.raises(DatabaseUnreachable, match="does not exist") as caught:
        await migrate(postgres_server.replace("/postgres?", "/nothere?"))
    assert not caught.value.retryable


@pytest.mark.peer
def test_on_the_oldest_postgresql_we_promise() -> None:
    """Hosted databases are PostgreSQL 15 and 17; the embedded one is 18."""
    with debian.server() as dsn:
        for shape in shapes.SHAPES:
            run(dsn, f"CREATE DATABASE {shape}")
            own = dsn.replace("/postgres?", f"/{shape}?")
            run(own, shapes.seed(shape))
            assert asyncio.run(migrate(own)).applied
            assert asyncio.run(check(own)) == []
