"""The database of a process: where it is, brought up to date, and the writer of its rows."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import storage.errors as store
from sipua import __version__
from sipua.clock import SystemClock
from sipua.database_watch import may_wait, open_when_fit, remember
from sipua.days import day_begins, day_of
from sipua.errors import ConfigError, SipuaError, StoreError
from sipua.identity import Identity
from sipua.ledger import Webhook
from sipua.ports import Moment
from sipua.settings import Settings
from sipua.spend import Spend
from sipua.tasks import tell_of_a_bug
from sipua.tools.callback import Wish
from storage.callbacks import callbacks_untold
from storage.dsn import check_dsn, redact
from storage.embedded import EmbeddedPostgres
from storage.facts import ProcessEnded, ProcessStarted
from storage.gate import Gate
from storage.migrate import MigrationReport, migrate, misfits
from storage.queries import ping, spent_since
from storage.reaper import Reaper
from storage.spool import Spool, SpoolState
from storage.spool_folder import Adoption, adopt
from storage.webhooks import claim
from storage.writer import LedgerWriter

log = logging.getLogger(__name__)

FLUSH_TIMEOUT_S = 5.0
UNTOLD_MAX = 200  # call-back requests that are taken up at the start
LAG_S = 30.0  # a row that waits so long waits for a database that hangs
MIGRATE_URL = "SIPUA_DATABASE__MIGRATE_URL"
NAMED = 5  # of what does not fit; the rest is counted


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[str]:
    """The DSN: DATABASE_URL if set, else the embedded server, which runs as long as somebody uses it.

    What the storage package raises meanwhile leaves it as an error of ours.
    """
    try:
        if settings.database_url is not None:
            yield check_dsn(settings.database_url.get_secret_value())
            return
        server = EmbeddedPostgres(settings.database_dir)
        dsn = await server.astart()
        try:
            yield dsn
        finally:
            await server.astop()
    except store.StoreError as error:
        raise _mapped(error) from error


def _mapped(error: store.StoreError) -> SipuaError:
    """The storage package's errors in our tree: a bad DSN is the operator's to mend."""
    return (
        ConfigError(f"DATABASE_URL: {error}") if isinstance(error, store.BadDsn) else StoreError(str(error))
    )


def migrate_dsn(dsn: str, settings: Settings) -> str:
    """The login that changes the schema: SIPUA_DATABASE__MIGRATE_URL, else that of the writer. Raises ConfigError."""
    own = settings.database.migrate_url
    if own is None or not own.get_secret_value().strip():
        return dsn
    try:
        return check_dsn(own.get_secret_value().strip())
    except store.BadDsn as error:
        raise ConfigError(f"environment {MIGRATE_URL}: {error}") from error


async def bring_up_to_date(dsn: str, settings: Settings, *, again: bool = False) -> MigrationReport:
    """Migrations applied and doors closed. A refusal says whose login is needed."""
    owner = migrate_dsn(dsn, settings)
    try:
        report = await migrate(owner, again=again)
    except store.MigrationError as error:
        if not error.forbidden:
            raise
        why = "may not change the schema" if owner != dsn else f"may not change the schema: set {MIGRATE_URL}"
        raise store.MigrationError(f"{error}; this login {why}", file=error.file, forbidden=True) from error
    if report.applied:
        log.info("migrations applied: %s", ", ".join(report.applied))
    if report.closed:
        log.warning("the database stood open and was closed: %s", "; ".join(report.closed))
    return report


async def refuse_misfit(dsn: str) -> None:
    """StoreError that says why this database cannot take our rows with this login."""
    if lines := await misfits(dsn):
        more = f"; and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
        raise store.StoreError(
            f"database {redact(dsn)} does not fit: {'; '.join(lines[:NAMED])}{more}; "
            "`sipua migrate --check` lists everything, docs/database.md says what to do"
        )


@asynccontextmanager
async def ledger_writer(
    dsn: str,
    settings: Settings,
    identity: Identity,
    left_at_openai: Callable[[Sequence[str]], None] = lambda call_ids: None,
) -> AsyncIterator[LedgerWriter]:
    """The database brought up to date, rows of dead processes closed, and the writer running.

    What dead processes left in their spools is written in the background before anything new is.
    """
    spools = settings.spool_path

    async def look() -> None:
        await bring_up_to_date(dsn, settings)
        await refuse_misfit(dsn)
        remember(settings, dsn)

    gate = Gate()
    try:
        try:
            await look()
        except store.StoreError as error:
            if not may_wait(settings, dsn, error):
                raise
            gate = Gate(str(error))
        reaper = Reaper(
            dsn,
            node=identity.node,
            worker=identity.worker,
            instance=identity.instance,
            spools=spools,
            left_at_openai=left_at_openai,
        )
        left = adopt(spools) if spools is not None else Adoption([], [])
        if not left.spools and not gate.why:
            await reaper.close()
        spool = None
        if spools is not None:
            spool = Spool(spools, identity.instance, max_bytes=settings.ledger.spool_max_mb << 20)
    except store.StoreError as error:
        raise _mapped(error) from error
    for why in left.refused:
        log.error("rows of a dead process are left where they are: %s", why)
    if left.spools:
        log.warning("rows that %d dead processes left are written first", len(left.spools))
    writer = LedgerWriter(
        dsn,
        queue_limit=settings.database.queue_limit,
        instance=identity.instance,
        spool=spool,
        adopted=left.spools,
        gate=gate,
    )
    writer.start()

    async def reap() -> None:
        if gate.why:
            await open_when_fit(gate, look)
        await reaper.run(writer)

    reaping = asyncio.create_task(reap(), name="reaper")
    reaping.add_done_callback(tell_of_a_bug)
    now = datetime.now(UTC)
    writer.put(
        (ProcessStarted(identity.instance, identity.node, identity.worker, now, os.getpid(), __version__),)
    )
    try:
        yield writer
    finally:
        reaping.cancel()
        await asyncio.wait({reaping})
        writer.put((ProcessEnded(identity.instance, datetime.now(UTC)),))
        timeout_s = 0.0 if gate.why else FLUSH_TIMEOUT_S  # nothing is written through a shut one
        if not await writer.close(timeout_s):
            log.error("the ledger could not be written within %g s of the end", timeout_s)


async def spent_today(settings: Settings, dsn: str | None) -> Spend:
    """With what the ledger has of today; a cap must not keep the agent from starting."""
    today = day_of(SystemClock().now().wall, settings.zone)
    try:
        spent = await spent_since(dsn, day_begins(today, settings.zone)) if dsn is not None else []
    except store.StoreError as error:
        log.error("what today has cost so far cannot be read, the caps begin at 0: %s", error)
        spent = []
    return Spend(settings.spend, today, spent)


async def claimed(dsn: str, told: Webhook, at: Moment, timeout_s: float) -> bool | None:
    """Whether nobody had this webhook before; None where the database does not say in time.

    It is not waited for whatever it does when it is cancelled: psycopg waits ten seconds for a server that hangs.
    """
    task = asyncio.ensure_future(claim(dsn, told.id, told.source, told.kind, at.wall))
    await asyncio.wait((task,), timeout=timeout_s)
    if not task.done():
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        task.cancel()
        log.warning(
            "webhook %s: the database does not say within %g s whether it was here", told.id, timeout_s
        )
        return None
    try:
        return task.result()
    except store.StoreError as error:
        log.warning("webhook %s: the database cannot say whether it was here: %s", told.id, error)
        return None


async def unready(dsn: str, writer: LedgerWriter | None = None) -> str:
    """Why it cannot be used now; "" if it can. One that is there may not fit."""
    try:
        await ping(dsn)
    except store.StoreError as error:
        return str(error)
    return writer.gate.why if writer is not None else ""


async def untold_callbacks(
    dsn: str, writer: LedgerWriter, identity: Identity, limit: int = UNTOLD_MAX
) -> list[Wish]:
    """Requests that processes before us could tell nobody. Raises StoreError."""
    await writer.recovered.wait()
    try:
        rows = await callbacks_untold(dsn, identity.node, identity.worker, limit)
    except store.StoreError as error:
        raise _mapped(error) from error
    return [
        Wish(
            row["id"], row["reference"] or "", row["number"], row["name"], row["department"], row["wanted_at"],
            row["reason"], row["call_id"], row["locale"] or "", row["created_at"],
        )
        for row in rows
    ]  # fmt: skip


def ledger_waits(writer: LedgerWriter) -> str:
    """Why rows do not get into the database now; "" if they do."""
    stats = writer.stats
    if stats.connected and stats.lag_s < LAG_S:
        return ""
    if stats.connected:
        return f"the oldest row has waited for {stats.lag_s:.0f} s"
    return str(writer.last_error or "there is no connection yet")


async def spool_unready(writer: LedgerWriter) -> str:
    """Why rows may be lost now; "" if they are safe, or there is no spool."""
    match writer.stats.spool_state:
        case SpoolState.CAPPED:
            return "the spool is full (ledger.spool_max_mb), the database does not take its rows"
        case SpoolState.NO_SPACE:
            return "no space is left for the spool (ledger.spool_dir)"
        case SpoolState.FAILED:
            return "the spool cannot be written (ledger.spool_dir)"
        case _:
            return ""
