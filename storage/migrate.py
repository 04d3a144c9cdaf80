"""Bring a database to our shape with plain SQL files, recorded as Supabase's CLI records them.

``migrations/YYYYMMDDHHMMSS_name.sql``: one transaction per file, with its row in
``supabase_migrations.schema_migrations`` and a transaction-level advisory lock in it, so several processes may
start at once. What an applied file looked like is kept in ``sipua.migrations`` (sha256): an applied file never
changes. Versions in the history that are not ours belong to others and are left alone.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import tuple_row

from storage import shape
from storage.dsn import connected, redact
from storage.errors import MigrationError
from storage.sqlsplit import Statement, split

Connection = psycopg.AsyncConnection[tuple[object, ...]]

APPLICATION = "sipua-migrate"
LOCK_KEY = 0x73697075615F6D67  # "sipua_mg"
LOCK_WAIT_S = 120  # another process migrating
TABLE_LOCK_WAIT_S = 15  # live traffic on a table: give up rather than stop it
MIN_SERVER = 150000
_NAME = re.compile(r"(\d{14})_([a-z0-9_]+)\.sql")
_RETRYABLE_STATES = ("08", "40", "53", "55", "57")  # connection, rollback, resources, lock, operator

_BOOKKEEPING = """
CREATE SCHEMA IF NOT EXISTS supabase_migrations;
CREATE TABLE IF NOT EXISTS supabase_migrations.schema_migrations (version text NOT NULL PRIMARY KEY);
ALTER TABLE supabase_migrations.schema_migrations ADD COLUMN IF NOT EXISTS statements text[];
ALTER TABLE supabase_migrations.schema_migrations ADD COLUMN IF NOT EXISTS name text;
CREATE SCHEMA IF NOT EXISTS sipua;
CREATE TABLE IF NOT EXISTS sipua.migrations (
  version text PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its version (the sort key), name, text and statements."""

    version: str
    name: str
    sha256: str
    statements: tuple[Statement, ...]

    @property
    def file(self) -> str:
        return f"{self.version}_{self.name}.sql"


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a run did: files applied now, files that were there already, versions that are not ours."""

    database: str
    applied: tuple[str, ...]
    already: tuple[str, ...]
    foreign: tuple[str, ...]
    seconds: float


def migrations_dir() -> Path:
    """The packaged ``storage/_migrations``, else the checkout's ``migrations``."""
    here = Path(__file__).resolve().parent
    for place in (here / "_migrations", here.parent / "migrations"):
        if place.is_dir():
            return place
    raise MigrationError(f"no migrations folder beside {here}: the installation is incomplete")


def load(folder: Path | None = None) -> list[Migration]:
    """All migrations of the folder in order of version. A name of another form is an error."""
    folder = folder or migrations_dir()
    found: dict[str, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if not match or match[1] in found:
            raise MigrationError(
                f"{path.name}: expected a unique YYYYMMDDHHMMSS_lower_case_name.sql", file=path.name
            )
        raw = path.read_bytes()
        digest = hashlib.sha256(raw).hexdigest()
        found[match[1]] = Migration(match[1], match[2], digest, tuple(split(raw.decode())))
    if not found:
        raise MigrationError(f"no migrations in {folder}: the installation is incomplete")
    return list(found.values())


async def migrate(dsn: str, *, folder: Path | None = None) -> MigrationReport:
    """Apply what is not applied yet. Safe to repeat and to run from several processes at once."""
    began = time.monotonic()
    files = load(folder)
    applied: list[str] = []
    already: list[str] = []
    async with connected(dsn, APPLICATION, tuple_row) as connection:
        if connection.info.server_version < MIN_SERVER:
            version = connection.info.server_version // 10000
            raise MigrationError(f"PostgreSQL {version} at {redact(dsn)}: 15 or newer is needed")
        await _prepare(connection)
        for migration in files:
            try:
                done = await _apply(connection, migration)
            except MigrationError as error:
                left = [m.file for m in files if m.file not in applied and m.file not in already]
                error.add_note(f"applied now: {applied or 'none'}; left: {left}")
                raise
            (applied if done else already).append(migration.file)
        known = await _history(connection)
    ours = {m.version for m in files}
    foreign = tuple(sorted(known - ours))
    return MigrationReport(
        redact(dsn), tuple(applied), tuple(already), foreign, round(time.monotonic() - began, 3)
    )


async def check(dsn: str, *, folder: Path | None = None) -> list[str]:
    """What this program needs and the database lacks, and what stands open in it; empty if it fits. Writes nothing.

    Open are ways in which anon or authenticated could still reach the eight tables.
    """
    files = load(folder)
    async with connected(dsn, APPLICATION, tuple_row) as connection:
        known = await _history(connection)
        pending = [f"migration {m.file}" for m in files if m.version not in known]
        return pending + await shape.missing(connection) + await shape.open_doors(connection)


async def _lock(connection: Connection) -> None:
    """Waits for another migrating process, then limits the wait for tables that live traffic holds."""
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'")
    await connection.execute("SET LOCAL statement_timeout = 0")
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
    await connection.execute(f"SET LOCAL lock_timeout = '{TABLE_LOCK_WAIT_S}s'")


async def _prepare(connection: Connection) -> None:
    try:
        async with connection.transaction():
            await _lock(connection)
            for statement in split(_BOOKKEEPING):
                await connection.execute(statement.text.encode())
    except psycopg.Error as error:
        raise _failed(error, "the history tables", None) from error


async def _history(connection: Connection) -> set[str]:
    there = await connection.execute("SELECT to_regclass('supabase_migrations.schema_migrations')")
    row = await there.fetchone()
    if row is None or row[0] is None:
        return set()
    rows = await connection.execute("SELECT version FROM supabase_migrations.schema_migrations")
    return {str(version) for (version,) in await rows.fetchall()}


async def _apply(connection: Connection, migration: Migration) -> bool:
    """One file in one transaction; False if it had been applied before."""
    current: Statement | None = None
    try:
        async with connection.transaction():
            await _lock(connection)
            if migration.version in await _history(connection):
                await _check_unchanged(connection, migration)
                return False
            for statement in migration.statements:
                current = statement
                await connection.execute(statement.text.encode())
            current = None
            await connection.execute(
                "INSERT INTO supabase_migrations.schema_migrations (version, statements, name)"
                " VALUES (%s, %s, %s)",
                (migration.version, [s.text for s in migration.statements], migration.name),
            )
            await _remember(connection, migration)
    except psycopg.Error as error:
        raise _failed(error, migration.file, current) from error
    return True


async def _check_unchanged(connection: Connection, migration: Migration) -> None:
    """The file must be the one applied; a version that another tool pushed is remembered as it is now."""
    rows = await connection.execute(
        "SELECT sha256 FROM sipua.migrations WHERE version = %s", (migration.version,)
    )
    row = await rows.fetchone()
    if row is None:
        await _remember(connection, migration)
    elif row[0] != migration.sha256:
        raise MigrationError(
            f"{migration.file} was changed after it had been applied; put the change into a new file",
            file=migration.file,
        )


async def _remember(connection: Connection, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO sipua.migrations (version, name, sha256) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (migration.version, migration.name, migration.sha256),
    )


def _failed(error: psycopg.Error, file: str, statement: Statement | None) -> MigrationError:
    message = error.diag.message_primary or " ".join(str(error).split())
    where = f"{file}, line {statement.line} ({statement.head})" if statement else file
    retryable = error.sqlstate is None or error.sqlstate[:2] in _RETRYABLE_STATES
    return MigrationError(
        f"{where}: {message}; nothing of it was kept",
        file=file,
        statement=statement.text if statement else "",
        retryable=retryable,
    )
