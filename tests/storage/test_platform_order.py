"""The platform's own queued migration before and after ours, and others' tools beside us."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from storage.errors import MigrationError
from storage.migrate import check, load, migrate, migrations_dir, misfits
from storage.migration_files import copy_to
from tests.storage import debian, shapes
from tests.storage.rows import EIGHT, catalogue, contents, rows, run

FORGE = "SET ROLE {}; INSERT INTO public.call_consents (consent_text, consent_result) VALUES ('x', true)"
PUSHED = (
    f"INSERT INTO supabase_migrations.schema_migrations (version) VALUES ('{shapes.PLATFORM.split('_')[0]}')"
)
HISTORY = (
    "CREATE SCHEMA supabase_migrations; CREATE TABLE supabase_migrations.schema_migrations "
    "(version text PRIMARY KEY, statements text[], name text);"
)
CLI = shutil.which("supabase") or Path.home() / ".cache/sipua/supabase/node_modules/.bin/supabase"


@pytest.mark.parametrize("sid", ["twilio_call_sid", "mtn_call_sid"])
async def test_pushed_before_ours(empty_database: str, sid: str) -> None:
    run(empty_database, shapes.seed("hosted") + HISTORY + shapes.platform(sid) + PUSHED)
    run(empty_database, FORGE.format("anon"))  # the hole
    report = await migrate(empty_database)
    assert report.foreign == (shapes.PLATFORM.split("_")[0],)
    assert await check(empty_database) == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        run(empty_database, FORGE.format("anon"))
    policies = rows(
        empty_database, "SELECT tablename AS t, with_check FROM pg_policies WHERE policyname LIKE 'svc_rw_%'"
    )
    assert {row["t"] for row in policies} >= set(EIGHT)
    assert all("service_role" in row["with_check"] for row in policies)


@pytest.mark.parametrize("shape", shapes.SHAPES[1:])
async def test_pushed_after_ours(empty_database: str, shape: str) -> None:
    run(empty_database, shapes.seed(shape))
    await migrate(empty_database)
    before, held = catalogue(empty_database), contents(empty_database)
    for _ in range(2):
        run(empty_database, shapes.platform() + PUSHED + " ON CONFLICT DO NOTHING")
        assert contents(empty_database) == held
        for role in ("anon", "authenticated"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                run(empty_database, FORGE.format(role))
        doors = [
            f"role {role} has privileges on public.{t}"
            for t in sorted(EIGHT)
            for role in ("anon", "authenticated")
        ]
        assert await check(empty_database) == doors
        assert await misfits(empty_database) == []  # serve works on
        report = await migrate(empty_database)
        assert (report.applied, list(report.closed)) == ((), doors)
        assert await check(empty_database) == []
        assert catalogue(empty_database) == before


@pytest.mark.parametrize("count", range(1, len(load())))
async def test_pushed_between_two_of_ours(empty_database: str, tmp_path: Path, count: int) -> None:
    """By an older version of ours the first so many were applied, then came the platform, then this version."""
    folder = tmp_path / "older"
    folder.mkdir()
    for migration in load()[:count]:
        shutil.copy(migrations_dir() / migration.file, folder)
    run(empty_database, shapes.seed("hosted"))
    await migrate(empty_database, folder=folder)
    run(empty_database, shapes.platform() + PUSHED)
    assert len((await migrate(empty_database)).applied) == len(load()) - count
    assert await check(empty_database) == []
    for role in ("anon", "authenticated"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
            run(empty_database, FORGE.format(role))


async def test_on_october_it_fails_before_ours_and_not_after(empty_database: str) -> None:
    run(empty_database, shapes.seed("october"))
    with pytest.raises(psycopg.errors.UndefinedColumn, match="openai_call_id"):
        run(empty_database, shapes.platform())
    await migrate(empty_database)
    run(empty_database, shapes.platform())


HOLES = [
    ("GRANT SELECT ON public.transcripts TO anon", "role anon has privileges on public.transcripts"),
    (
        "GRANT INSERT (consent_text) ON call_consents TO anon",
        "role anon has privileges on public.call_consents",
    ),
    (
        "GRANT USAGE ON SCHEMA sipua TO anon; GRANT DELETE ON sipua.faq TO anon",
        "role anon has privileges on sipua.faq",
    ),
    (
        "GRANT SELECT ON public.voice_call_kpis TO PUBLIC",
        "role anon has privileges on public.voice_call_kpis",
    ),
    ("ALTER TABLE public.voice_calls DISABLE ROW LEVEL SECURITY", "row level security on public.voice_calls"),
    (
        "DROP POLICY sipua_rw_transcripts ON public.transcripts",
        "policy of sipua_writer on public.transcripts",
    ),
]


@pytest.mark.parametrize(("opened", "said"), HOLES)
async def test_a_door_is_found_and_closed(database: str, opened: str, said: str) -> None:
    run(database, opened)
    assert said in await check(database)
    assert said in (await migrate(database)).closed
    assert await check(database) == []


async def test_the_platforms_own_loose_policy_is_found_and_closed(database: str) -> None:
    run(
        database,
        "DROP POLICY svc_rw_call_consents ON public.call_consents; CREATE POLICY svc_rw_call_consents "
        "ON public.call_consents FOR ALL USING (auth.role() = 'service_role') WITH CHECK (true)",
    )
    said = "policy svc_rw_call_consents on public.call_consents lets everyone insert"
    assert await check(database) == [said]
    assert (await migrate(database)).closed == (said,)
    assert await check(database) == []


async def test_somebody_elses_policy_is_told_but_not_removed(database: str) -> None:
    run(database, "CREATE POLICY theirs ON public.transcripts FOR SELECT USING (true)")
    said = "policy theirs on public.transcripts lets everyone select"
    assert await check(database) == [said]
    assert (await migrate(database)).closed == ()
    assert await check(database) == [said]


def refused(folder: Path, dsn: str) -> list[str]:
    """Supabase's rule, measured on its CLI 3.1.0: versions of the history that the folder has no file for."""
    local = {match[1] for path in folder.iterdir() if (match := re.fullmatch(r"(\d+)_.*\.sql", path.name))}
    history = {
        row["version"] for row in rows(dsn, "SELECT version FROM supabase_migrations.schema_migrations")
    }
    return sorted(history - local)


def test_a_folder_of_others_takes_our_files(database: str, tmp_path: Path) -> None:
    (tmp_path / f"{shapes.PLATFORM}.sql").write_text(shapes.platform())
    assert refused(tmp_path, database) == [m.version for m in load()]
    assert copy_to(tmp_path) == [m.file for m in load()]
    assert refused(tmp_path, database) == []
    assert copy_to(tmp_path) == []
    assert (tmp_path / load()[0].file).read_bytes() == (migrations_dir() / load()[0].file).read_bytes()
    (tmp_path / load()[0].file).write_text("SELECT 1")
    with pytest.raises(MigrationError, match="is not our 20261122100000"):
        copy_to(tmp_path)
    with pytest.raises(MigrationError, match="there is no such folder"):
        copy_to(tmp_path / "typo")


def supabase(project: Path, dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CLI, "db", "push", f"--remote={dsn}", "--yes", *arguments],
        cwd=project, env={"HOME": str(project), "PATH": "/usr/bin:/bin", "DO_NOT_TRACK": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.peer
@pytest.mark.skipif(
    not Path(CLI).exists(), reason="Supabase's CLI is not there: `make peers` gets it from npm"
)
async def test_supabases_cli_pushes_beside_us(tmp_path: Path) -> None:
    """Ours first, then its push; and its push of our files, then ours."""
    folder = tmp_path / "supabase/migrations"
    folder.mkdir(parents=True)
    (folder / f"{shapes.PLATFORM}.sql").write_text(shapes.platform())
    (folder / "20270101000000_theirs.sql").write_text("CREATE TABLE public.theirs ();")
    with debian.server(hba=f"host all all {debian.HOST}/32 trust") as socket:
        port = re.search(r"port=(\d+)", socket)
        assert port
        dsn = f"postgresql://postgres:x@{debian.HOST}:{port[1]}/postgres"
        run(dsn, shapes.seed("october"))
        run(dsn, "CREATE DATABASE other")
        await migrate(dsn)
        done = supabase(tmp_path, dsn)
        assert done.returncode != 0
        assert "Remote migration versions not found" in done.stdout + done.stderr
        copy_to(folder)
        done = supabase(tmp_path, dsn, "--include-all")
        assert done.returncode == 0, done.stderr
        assert rows(dsn, "SELECT to_regclass('public.theirs')::text AS t") == [{"t": "theirs"}]
        report = await migrate(dsn)
        assert report.foreign == (shapes.PLATFORM.split("_")[0], "20270101000000")
        assert await check(dsn) == []

        (folder / f"{shapes.PLATFORM}.sql").unlink()
        other = dsn.removesuffix("postgres") + "other"
        done = supabase(tmp_path, other)
        assert done.returncode == 0, done.stderr
        report = await migrate(other)
        assert report.applied == ()
        assert await check(other) == []
