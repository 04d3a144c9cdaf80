"""Bring a database to our shape with plain SQL files, recorded as Supabase's CLI records them.

``migrations/YYYYMMDDHHMMSS_name.sql``: one transaction per file, with its row in
``supabase_migrations.schema_migrations`` and a transaction-level advisory lock in it, so several processes may
start at once, also through a pooler that gives each transaction another connection. What an applied file looked like
is kept in ``sipua.migrations`` (sha256): an applied file never changes. Versions in the history that are not ours
belong to others and are left alone.

A lost connection is retried; what was in flight then is asked of the history. Where everything is applied nothing is
written: a role that may not change the schema can ask.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.rows import tuple_row

from storage import history, shape
from storage.dsn import connected, redact
from storage.errors import MigrationError, StoreError
from storage.migration_files import Migration, load, migrations_dir
from storage.sqlsplit import Statement, split

__all__ = ["Migration", "MigrationReport", "check", "load", "migrate", "migrations_dir", "misfits"]

log = logging.getLogger(__name__)

Connection = psycopg.AsyncConnection[tuple[object, ...]]

APPLICATION = "sipua-migrate"
LOCK_KEY = 0x73697075615F6D67  # "sipua_mg"
LOCK_WAIT_S = 120  # another process migrating
TABLE_LOCK_WAIT_S = 15  # live traffic on a table: give up rather than stop it
PATIENCE_S = 60.0  # without any progress
BACKOFF_MIN_S, BACKOFF_MAX_S = 0.2, 10.0
MIN_SERVER = 150000
_RETRYABLE_STATES = ("08", "40", "53", "55", "57")  # connection, rollback, resources, lock, operator
_FORBIDDEN = "42501"


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a run did: files applied now, files that were there already, versions that are not ours, doors closed."""

    database: str
    applied: tuple[str, ...]
    already: tuple[str, ...]
    foreign: tuple[str, ...]
    closed: tuple[str, ...]
    seconds: float


async def migrate(
    dsn: str, *, folder: Path | None = None, again: bool = False, patience_s: float = PATIENCE_S
) -> MigrationReport:
    """Apply what is not applied yet, or ``again`` everything. Safe to repeat and to run from several processes at once.

    A database that cannot be reached at first is said at once; a connection that is lost later, or a table that is in
    use, is tried again until nothing has moved for ``patience_s``. Errors say what is done and what is left.
    """
    began = moved = time.monotonic()
    run = _Run(load(folder), again)
    backoff_s = BACKOFF_MIN_S
    while True:
        before = len(run.applied)
        try:
            async with connected(dsn, APPLICATION, tuple_row) as connection:
                run.began = True
                connection.add_notice_handler(_say)
                await run.go(connection, redact(dsn))
            break
        except StoreError as error:
            now = time.monotonic()
            if len(run.applied) > before:
                moved, backoff_s = now, BACKOFF_MIN_S
            if not run.began:
                raise
            if not error.retryable or now + backoff_s > moved + patience_s:
                raise run.told(error) from error
            log.warning("migrations: %s; %s; again in %.1f s", error, run.standing, backoff_s)
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
    return MigrationReport(
        database=redact(dsn),
        applied=tuple(run.applied),
        already=tuple(m.file for m in run.files if m.file not in run.applied),
        foreign=tuple(sorted(run.known - {m.version for m in run.files})),
        closed=tuple(run.closed),
        seconds=round(time.monotonic() - began, 3),
    )


async def check(dsn: str, *, folder: Path | None = None) -> list[str]:
    """What this program needs and the database lacks, and what stands open in it; empty if it fits. Writes nothing.

    Open are ways in which anon or authenticated could still reach our tables.
    """
    files = load(folder)
    async with connected(dsn, APPLICATION, tuple_row) as connection:
        known = await history.versions(connection)
        pending = [f"migration {m.file}" for m in files if m.version not in known]
        lacking = await shape.unfit(connection) + await shape.missing(connection)
        return pending + lacking + await shape.open_doors(connection)


async def misfits(dsn: str, *, folder: Path | None = None) -> list[str]:
    """Why our writer cannot work there with this login; empty if it can. What only stands open is not among it."""
    files = load(folder)
    async with connected(dsn, APPLICATION, tuple_row) as connection:
        forbidden = await shape.rights(connection)
        if any(" schema " in line for line in forbidden):  # then nothing else can be seen
            return forbidden
        unfit = await shape.unfit(connection)
        lacking = await shape.missing(connection, needed=True)
        pending = []
        if await history.may_read(connection):
            known = await history.versions(connection)
            pending = [f"migration {m.file}" for m in files if m.version not in known]
        return pending + unfit + lacking + forbidden


@dataclass
class _Run:
    """One run over all its connections."""

    files: list[Migration]
    again: bool
    began: bool = False
    applied: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    tried: str = ""  # in flight when the connection was lost

    @property
    def standing(self) -> str:
        """What is done and what is left, for people."""
        left = [m.file for m in self.files if not self._is_done(m)]
        done = [m.file for m in self.files if self._is_done(m)]
        return f"done: {', '.join(done) or 'nothing'}; left: {', '.join(left) or 'nothing'}"

    def told(self, error: StoreError) -> MigrationError:
        """``error`` with how far it came."""
        message = f"{error}; {self.standing}"
        if isinstance(error, MigrationError):
            return MigrationError(
                message,
                file=error.file,
                statement=error.statement,
                retryable=error.retryable,
                forbidden=error.forbidden,
            )
        return MigrationError(message, retryable=error.retryable)

    async def go(self, connection: Connection, database: str) -> None:
        """Everything that is left, over this connection."""
        if connection.info.server_version < MIN_SERVER:
            version = connection.info.server_version // 10000
            raise MigrationError(f"PostgreSQL {version} at {database}: 15 or newer is needed")
        self.known = await history.versions(connection)
        for migration in self.files:
            if migration.file == self.tried and self._is_done(migration):
                self.applied.append(migration.file)  # it was kept, only its answer was lost
        self.tried = ""
        if self.again or await self._is_something_left(connection):
            if unfit := await shape.unfit(connection):
                raise MigrationError(f"{'; '.join(unfit)}: nothing was changed; see docs/database.md, Types")
            await _prepare(connection)
            for migration in self.files:
                if self.again and migration.file in self.applied:
                    continue
                self.tried = migration.file
                if await _apply(connection, migration, again=self.again):
                    self.applied.append(migration.file)
                self.known.add(migration.version)
            self.tried = ""
        self.closed += await _secure(connection)

    def _is_done(self, migration: Migration) -> bool:
        return migration.file in self.applied or (not self.again and migration.version in self.known)

    async def _is_something_left(self, connection: Connection) -> bool:
        if any(migration.version not in self.known for migration in self.files):
            return True
        seen = await history.remembered(connection)
        for migration in self.files:
            _check_unchanged(migration, seen.get(migration.version))
        return any(m.version not in seen for m in self.files) and await history.may_create(connection)


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
            for statement in split(history.BOOKKEEPING):
                await connection.execute(statement.text.encode())
    except psycopg.Error as error:
        raise _failed(error, "the history tables", None) from error


async def _apply(connection: Connection, migration: Migration, *, again: bool) -> bool:
    """One file in one transaction; False if it had been applied before."""
    current: Statement | None = None
    try:
        async with connection.transaction():
            await _lock(connection)
            there = migration.version in await history.versions(connection)
            if there:
                seen = (await history.remembered(connection)).get(migration.version)
                _check_unchanged(migration, seen)
                await history.remember(connection, migration)  # what another tool pushed, as it is now
            if there and not again:
                return False
            for statement in migration.statements:
                current = statement
                await connection.execute(statement.text.encode())
            current = None
            await connection.execute(
                "INSERT INTO supabase_migrations.schema_migrations (version, statements, name)"
                " VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                (migration.version, [s.text for s in migration.statements], migration.name),
            )
            await history.remember(connection, migration)
    except psycopg.Error as error:
        raise _failed(error, migration.file, current) from error
    return True


def _check_unchanged(migration: Migration, seen: str | None) -> None:
    if seen not in (None, migration.sha256):
        raise MigrationError(
            f"{migration.file} was changed after it had been applied; put the change into a new file",
            file=migration.file,
        )


async def _secure(connection: Connection) -> Sequence[str]:
    """Closes what stands open and gives our writer's role its policies, as far as this login may; what was found."""
    rows = await connection.execute(
        "SELECT 1 FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'sipua' AND p.proname = 'secure' AND pg_has_role(p.proowner, 'USAGE')"
    )
    if await rows.fetchone() is None:
        return ()
    found = await shape.insecure(connection) + await shape.open_doors(connection)
    if not found:
        return ()
    try:
        async with connection.transaction():
            await _lock(connection)
            await connection.execute("SELECT sipua.secure()")
            rows = await connection.execute(
                "SELECT 1 WHERE to_regprocedure('sipua.secure_routines()') IS NOT NULL"
            )
            if await rows.fetchone() is not None:
                await connection.execute("SELECT sipua.secure_routines()")
    except psycopg.Error as error:
        failure = _failed(error, "sipua.secure()", None)
        if not failure.forbidden:
            raise failure from error
        log.warning("migrations: %s; left open: %s", failure, "; ".join(found))
        return ()
    left = {*await shape.insecure(connection), *await shape.open_doors(connection)}
    return [line for line in found if line not in left]


def _say(notice: psycopg.errors.Diagnostic) -> None:
    """A file's warnings name tables and columns, never rows."""
    if notice.severity_nonlocalized == "WARNING":
        log.warning("migrations: %s", notice.message_primary)


def _failed(error: psycopg.Error, file: str, statement: Statement | None) -> MigrationError:
    message = error.diag.message_primary or " ".join(str(error).split())
    where = f"{file}, line {statement.line} ({statement.head})" if statement else file
    state = error.sqlstate or ""
    return MigrationError(
        f"{where}: {message}; " + ("nothing of it was kept" if state else "the connection is lost"),
        file=file,
        statement=statement.text if statement else "",
        retryable=not state or state[:2] in _RETRYABLE_STATES,
        forbidden=state == _FORBIDDEN,
    )
