"""The database of a process: where it is, brought up to date, and the writer of its rows."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import storage.errors as store
from sipua import __version__
from sipua.clock import SystemClock
from sipua.errors import ConfigError, SipuaError, StoreError
from sipua.identity import Identity
from sipua.settings import Settings
from sipua.spend import Spend
from storage.dsn import check_dsn
from storage.embedded import EmbeddedPostgres
from storage.facts import ProcessEnded, ProcessStarted
from storage.migrate import migrate
from storage.queries import close_orphans, ping, spent_since
from storage.writer import LedgerWriter

log = logging.getLogger(__name__)

FLUSH_TIMEOUT_S = 5.0


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


@asynccontextmanager
async def ledger_writer(dsn: str, settings: Settings, identity: Identity) -> AsyncIterator[LedgerWriter]:
    """The database brought up to date, rows of a former run of this worker closed, and the writer running."""
    try:
        report = await migrate(dsn)
        if report.applied:
            log.info("migrations applied: %s", ", ".join(report.applied))
        closed = await close_orphans(
            dsn, node=identity.node, worker=identity.worker, instance=identity.instance, now=datetime.now(UTC)
        )
    except store.StoreError as error:
        raise _mapped(error) from error
    if closed:
        log.warning(
            "%d calls of a former run of %s/%d were closed", len(closed), identity.node, identity.worker
        )
    writer = LedgerWriter(dsn, queue_limit=settings.database.queue_limit)
    writer.start()
    now = datetime.now(UTC)
    writer.put(
        (ProcessStarted(identity.instance, identity.node, identity.worker, now, os.getpid(), __version__),)
    )
    try:
        yield writer
    finally:
        writer.put((ProcessEnded(identity.instance, datetime.now(UTC)),))
        if not await writer.close(FLUSH_TIMEOUT_S):
            log.error("the ledger could not be written within %g s of the end", FLUSH_TIMEOUT_S)


async def spent_today(settings: Settings, dsn: str | None) -> Spend:
    """With what the ledger has of today; a cap must not keep the agent from starting."""
    now = SystemClock().now().wall.astimezone(settings.zone)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        spent = await spent_since(dsn, midnight) if dsn is not None else []
    except store.StoreError as error:
        log.error("what today has cost so far cannot be read, the caps begin at 0: %s", error)
        spent = []
    return Spend(settings.spend, now.date(), spent)


async def unready(dsn: str) -> str:
    """Why it cannot be used now; "" if it can."""
    try:
        await ping(dsn)
    except store.StoreError as error:
        return str(error)
    return ""
