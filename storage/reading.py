"""Connections to read with, for what shows the ledger: few, short, off the event loop.

A read is a function of a connection; it runs in a thread of its own, so that neither a slow database nor the rows of a
long call hold up the loop that carries audio. It is one transaction, READ ONLY and of one snapshot, whose statements
are given up by the server after ``statement_s`` (set in the transaction: a pooler that hands connections out by
transaction forgets nothing and mixes nothing up). Rows are dicts of JSON types: times are UTC, ISO 8601, with a Z.

What the server's own limit does not end (it is stopped, or a cable is out) ends after ``PATIENCE_S`` more: the
connection is cut, which wakes its thread up. A server that refuses connections costs a read nothing but that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Self, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from storage.dsn import check_dsn, connect_options, mapped_errors, redact
from storage.durations import Durations
from storage.errors import DatabaseUnreachable, StoreError

MOST_CONNECTIONS = 3
MOST_WAITING = 64  # reads; one more is refused
STATEMENT_S = 5.0
CONNECT_S = 3.0
LOOK_S = 0.02  # who waits for a connection looks so often whether it was refused: the pool does not tell
PATIENCE_S = 2.0
IDLE_S = 60.0  # a connection that nobody needed for so long is closed

_LIMITS = "SELECT set_config('statement_timeout', %s, true), set_config('timezone', 'UTC', true)"

Connection = psycopg.Connection[DictRow]
Row = dict[str, Any]
T = TypeVar("T")


class TooBusy(StoreError):
    """More reads wait than may: try again later."""

    retryable = True
    reason = "database_busy"


class ReadPool:
    """For one event loop. ``async with`` opens and closes it; a database that is away costs the reads, not the pool."""

    def __init__(
        self,
        dsn: str,
        *,
        most: int = MOST_CONNECTIONS,
        statement_s: float = STATEMENT_S,
        connect_s: float = CONNECT_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._dsn = check_dsn(dsn)
        self._limit_s, self._connect_s, self._patience_s = statement_s, connect_s, patience_s
        self._waiting = 0
        self.refused = 0  # reads: too many waited, or the database did not answer
        self.took = Durations()
        self._lending = threading.Lock()
        self._lent: set[Connection] = set()
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="read")
        self.failures = 0  # to connect
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            self._dsn,
            connection_class=psycopg.Connection[DictRow],
            kwargs={
                "autocommit": True,
                "prepare_threshold": None,
                "row_factory": dict_row,
                **connect_options("sipua-read"),
            },
            min_size=0,
            max_size=most,
            max_idle=IDLE_S,
            reconnect_timeout=0.0,  # who waits is told, and the next read tries again
            reconnect_failed=self._count_failure,
            num_workers=1,
            configure=_configure,
            check=ConnectionPool.check_connection,
            open=False,
            name="sipua-read",
        )

    async def __aenter__(self) -> Self:
        self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cut(self._lent)
        await asyncio.to_thread(self._pool.close, self._patience_s)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """``work`` in one transaction. Raises StoreError."""
        if self._waiting >= MOST_WAITING:
            self.refused += 1
            raise TooBusy(f"database {redact(self._dsn)}: {MOST_WAITING} reads wait already")
        self._waiting += 1
        mine: set[Connection] = set()  # the connection, while the thread has it
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._connect_s + self._limit_s + self._patience_s):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, self._read, work, mine)
        except TimeoutError:
            self.refused += 1
            raise DatabaseUnreachable(f"database {redact(self._dsn)}: no answer") from None
        finally:
            self._cut(mine)
            self._waiting -= 1
            self.took.add(time.monotonic() - began)

    @property
    def waiting(self) -> int:
        """Reads that are not over."""
        return self._waiting

    def _read(self, work: Callable[[Connection], T], mine: set[Connection]) -> T:
        """In a thread."""
        with mapped_errors(self._dsn), self._lend(mine) as connection:
            try:
                with connection.pipeline(), connection.transaction():
                    connection.execute(_LIMITS, (f"{self._limit_s * 1000:.0f}",))
                    return work(connection)
            except psycopg.errors.QueryCanceled:
                why = f"no result within {self._limit_s:g} s; ask for less"
                raise TooBusy(f"database {redact(self._dsn)}: {why}") from None

    @contextlib.contextmanager
    def _lend(self, mine: set[Connection]) -> Iterator[Connection]:
        connection = self._taken()
        try:
            with self._lending:
                mine.add(connection)
                self._lent.add(connection)
            try:
                yield connection
            finally:
                with self._lending:  # from now on nobody cuts it
                    mine.discard(connection)
                    self._lent.discard(connection)
        finally:
            self._pool.putconn(connection)

    def _taken(self) -> Connection:
        """As soon as there is one; it fails as soon as connecting does, unless another read will give one back."""
        failures, until, wait_s = self.failures, time.monotonic() + self._connect_s, LOOK_S
        while True:
            try:
                return self._pool.getconn(wait_s)
            except PoolTimeout:
                left_s, has_failed = until - time.monotonic(), self.failures != failures
                if left_s <= 0 or (has_failed and not self._lent):
                    raise DatabaseUnreachable(f"database {redact(self._dsn)}: no connection") from None
                wait_s = left_s if has_failed else min(LOOK_S, left_s)

    def _count_failure(self, _: ConnectionPool[Connection]) -> None:
        """In a thread of the pool."""
        self.failures += 1

    def _cut(self, connections: set[Connection]) -> None:
        """Those that nobody waits for any more."""
        with self._lending:
            for connection in connections:
                with (
                    contextlib.suppress(psycopg.Error, OSError),
                    socket.socket(fileno=os.dup(connection.fileno())) as wire,
                ):
                    wire.shutdown(socket.SHUT_RDWR)


def rows(connection: Connection, query: str, values: Mapping[str, Any]) -> list[Row]:
    """Its rows, as JSON types."""
    return fetched(connection.execute(query.encode(), values))


def fetched(cursor: psycopg.Cursor[DictRow]) -> list[Row]:
    """The rows of a query that was sent before: several then take one round trip."""
    return [{name: plain(value) for name, value in row.items()} for row in cursor.fetchall()]


def plain(value: Any) -> Any:
    """A column's value as JSON knows it; what stands in jsonb is that already."""
    convert = _PLAIN.get(type(value))
    return value if convert is None else convert(value)


def _utc(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


_PLAIN: dict[type, Callable[[Any], Any]] = {
    datetime: _utc,
    date: date.isoformat,
    Decimal: lambda value: float(value) if value.is_finite() else None,
    UUID: str,
}


def _configure(connection: Connection) -> None:
    connection.read_only = True
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
