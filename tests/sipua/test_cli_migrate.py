"""``sipua migrate`` and what ``serve`` says of a database that is not fit for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import conninfo

from sipua.resources import shipped_conf
from storage.migrate import load
from tests.sipua.test_cli import NOWHERE, Shell
from tests.storage.rows import run

FOREIGN = (
    "CREATE SCHEMA supabase_migrations; CREATE TABLE supabase_migrations.schema_migrations (version text PRIMARY KEY);"
    "INSERT INTO supabase_migrations.schema_migrations VALUES ('20251120100500')"
)


@pytest.fixture
def sipua(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def agent(empty_database: str) -> Iterator[str]:
    """A login that owns nothing."""
    name = f"agent_{os.getpid()}"
    run(empty_database, f"CREATE ROLE {name} LOGIN")
    yield conninfo.make_conninfo(empty_database, user=name)
    run(empty_database, f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_one_login_changes_the_schema_another_writes(sipua: Shell, empty_database: str, agent: str) -> None:
    name = str(conninfo.conninfo_to_dict(agent)["user"])
    sipua.env["DATABASE_URL"] = agent
    done = sipua("migrate")
    assert (done.returncode, done.stdout) == (1, b"")
    said = done.stderr.decode()
    assert "permission denied" in said
    assert f"done: nothing; left: {load()[0].file}, " in said
    assert said.strip().endswith("this login may not change the schema: set SIPUA_DATABASE__MIGRATE_URL")

    sipua.env["SIPUA_DATABASE__MIGRATE_URL"] = empty_database
    assert sipua.json("migrate")["applied"] == [each.file for each in load()]
    assert sipua.json("migrate", "--check", code=1)["missing"][0] == f"role {name} may not use schema sipua"
    run(empty_database, f"GRANT sipua_writer TO {name}")
    assert sipua.json("migrate", "--check")["missing"] == []
    del sipua.env["SIPUA_DATABASE__MIGRATE_URL"]
    assert sipua.json("migrate")["applied"] == []


def test_a_migrate_url_that_is_wrong_is_a_configuration_fault(sipua: Shell) -> None:
    dsn = "postgresql://u:geheim@db.example.com/x?sslmode=disable"
    done = sipua("migrate", SIPUA_DATABASE__MIGRATE_URL=dsn, DATABASE_URL="postgresql://u@127.0.0.1:9/x")
    assert done.returncode == 78
    assert b"environment SIPUA_DATABASE__MIGRATE_URL: sslmode=disable" in done.stderr
    assert b"geheim" not in done.stderr


def test_others_are_told_how_they_go_on(sipua: Shell, empty_database: str) -> None:
    run(empty_database, FOREIGN)
    done = sipua("migrate", DATABASE_URL=empty_database)
    assert done.returncode == 0
    assert b"sipua migrate --files-to supabase/migrations\n  supabase db push --include-all" in done.stdout
    folder = sipua.folder / "supabase"
    folder.mkdir()
    assert sipua.json("migrate", "--files-to", str(folder))["copied"] == [each.file for each in load()]


def test_doors_that_were_opened_are_named_and_closed(sipua: Shell, database: str) -> None:
    sipua.env["DATABASE_URL"] = database
    run(database, "DO $$ BEGIN CREATE ROLE anon; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    run(database, "GRANT ALL ON public.call_consents TO anon")
    door = "role anon has privileges on public.call_consents"
    checked = sipua("migrate", "--check")
    assert (checked.returncode, checked.stdout.decode().splitlines()[1:]) == (1, [f"  {door}"])
    assert sipua("migrate").stdout.decode().splitlines()[0] == f"put right: {door}"


def test_serve_refuses_a_database_that_does_not_fit(sipua: Shell, database: str) -> None:
    shutil.copytree(shipped_conf(), sipua.conf)
    run(database, "ALTER TABLE transcripts ALTER confidence TYPE text")
    served = sipua("serve", DATABASE_URL=database, OPENAI_API_KEY="k", OPENAI_BASE_URL=NOWHERE)
    assert served.returncode == 1
    said = served.stderr.decode()
    assert (
        "does not fit: column public.transcripts.confidence is of type text, not numeric; `sipua migrate --chec"
        in said
    )
    assert "Traceback" not in said
