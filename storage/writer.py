"""The write-behind writer: facts go in without waiting, one task writes them in batches over one connection.

``put`` never blocks and never raises for a full queue: the newest group is refused, counted and logged (calls go
on). Calls refused at once may fill half the queue, ends of calls a tenth more than all of it.

A batch is one round trip: its statements are sent as one simple query, which PostgreSQL runs as one transaction,
so groups are written whole, also through a transaction-mode pooler (nothing is prepared, no session state).

A lost connection or a database that does not accept us now is retried with back-off; a group that the
database refuses for what it contains is isolated by halving the batch, counted, logged by id and left out. So is
one refused for another reason (a policy, somebody's trigger) after ``patience`` retries, if others get through;
where nothing does it is the database's fault, and everything waits.
Batches stay below 500 rows: a thousand made a 20 ms ticker on the same loop late by up to 32 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from uuid import UUID

import psycopg

from storage import clean, statements
from storage.dsn import check_dsn, connect_options, redact, unreachable
from storage.errors import QueueFull, StoreError
from storage.facts import CallCreated, CallEnded, Group

log = logging.getLogger(__name__)

BACKOFF_MIN_S, BACKOFF_MAX_S = 0.1, 5.0
LOG_EVERY_S = 5.0  # the same trouble is said again no sooner
PATIENCE = 20  # retries (about 70 s) until a refusal that does not blame the data is taken to be about a row
# SQLSTATE classes that blame the data: data exception, integrity, routines of others (38, 39, P0), a view's check
# option, program limit.
POISON_CLASSES = ("22", "23", "38", "39", "44", "54", "P0")
# Those that blame the moment: connection, rollback, resources, lock, operator, transaction, login, no such database.
WAIT_CLASSES = ("08", "40", "53", "55", "57", "25", "28", "3D")
UNIQUE_VIOLATION = "23505"  # another process may have taken a carrier id meanwhile: worth a second look

Connection = psycopg.AsyncConnection[tuple[object, ...]]
Refused = tuple[Group, str]  # and what is said about it


class Verdict(Enum):
    """What became of an attempt to write."""

    WRITTEN = auto()
    POISON = auto()  # for what it contains
    REFUSED = auto()  # for a reason that may pass, or may lie in a row
    TROUBLE = auto()  # not looked at: no connection, no time, no room


@dataclass(frozen=True, slots=True)
class WriterStats:
    """Counters since the start, in facts; ``lag_s`` is the age of the oldest group that waits."""

    queued: int
    written: int
    dropped: int
    poisoned: int
    retries: int
    unmatched: int
    lag_s: float
    connected: bool


class LedgerWriter:
    """One per process and event loop. The task starts with the first ``put`` (or ``start``)."""

    def __init__(
        self,
        dsn: str,
        *,
        queue_limit: int = 20_000,
        batch_rows: int = 200,
        batch_ms: float = 100.0,
        write_timeout_s: float = 30.0,
        patience: int = PATIENCE,
    ) -> None:
        self._dsn = check_dsn(dsn)
        self._queue_limit = queue_limit
        self._batch_rows = batch_rows
        self._batch_s = batch_ms / 1000
        self._write_timeout_s = write_timeout_s
        self._patience = patience
        self._queue: deque[tuple[Group, float]] = deque()
        self._queued = self._written = self._dropped = self._poisoned = self._retries = self._unmatched = 0
        self._accepted = self._finished = 0  # groups
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._hurry = 0  # flushes that wait
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._said: dict[str, float] = {}
        self.last_error: StoreError | None = None

    def start(self) -> None:
        """Start the task now (inside a running loop) instead of with the first ``put``."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="ledger-writer")

    def put(self, group: Group) -> None:
        """Take a group to be written whole, in order with the ones before it. Call it on the loop's thread."""
        if not group:
            return
        room = self._room_for(group)
        if self._closing or self._queued + len(group) > room:
            self._dropped += len(group)
            why = "closed" if self._closing else f"full ({self._queued} of {room} facts for its kind)"
            self.last_error = QueueFull(f"the ledger's queue is {why}")
            self._say("dropped", "ledger queue %s: a group is lost, %d facts lost so far", why, self._dropped)
            return
        self._queue.append((group, time.monotonic()))
        self._queued += len(group)
        self._accepted += 1
        self._wake.set()
        self.start()

    def _room_for(self, group: Group) -> int:
        """The end of a call that was opened before must not be lost for others' rows; a refused INVITE may be."""
        if not any(isinstance(fact, CallEnded) for fact in group):
            return self._queue_limit
        if any(isinstance(fact, CallCreated) for fact in group):
            return self._queue_limit // 2
        return self._queue_limit + self._queue_limit // 10

    async def flush(self, timeout: float) -> bool:
        """Wait until all that was put before is written (or refused for good); False when time is up."""
        target = self._accepted
        self._hurry += 1
        self._wake.set()
        try:
            async with asyncio.timeout(timeout):
                while self._finished < target:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        finally:
            self._hurry -= 1
        return True

    async def close(self, timeout: float) -> bool:
        """Flush, then end; True if nothing was left. What is left after ``timeout`` is lost and said so."""
        self._closing = True
        done = await self.flush(timeout)
        if self._task is not None:
            self._sever()
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._disconnect()
        if not done:
            log.error("ledger closed with %d facts unwritten (database %s)", self._queued, redact(self._dsn))
        return done

    @property
    def stats(self) -> WriterStats:
        lag_s = time.monotonic() - self._queue[0][1] if self._queue else 0.0
        return WriterStats(
            queued=self._queued,
            written=self._written,
            dropped=self._dropped,
            poisoned=self._poisoned,
            retries=self._retries,
            unmatched=self._unmatched,
            lag_s=lag_s,
            connected=self._connection is not None and not self._connection.closed,
        )

    # -- the task ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._gather()
            batch = self._next_batch()
            refused = await self._store(batch, self._patience)
            if len(refused) == len(batch):
                continue  # again, with what came meanwhile
            if refused:  # once more: what was wrong may have been mended between them and the others
                refused = await self._store([group for group, _ in refused], 0)
            for group, blame in refused:
                self._lose(group, blame)
            for group in batch:
                self._queue.popleft()
                self._queued -= len(group)
            self._finished += len(batch)
            self._progress.set()

    async def _gather(self) -> None:
        """Until there is a batch: something is queued, and it is full, old enough, or wanted now."""
        while not self._queue:
            self._wake.clear()
            await self._wake.wait()
        while self._queued < self._batch_rows and not self._hurry:
            left_s = self._queue[0][1] + self._batch_s - time.monotonic()
            if left_s <= 0:
                return
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._wake.wait()

    def _next_batch(self) -> list[Group]:
        batch: list[Group] = []
        rows = 0
        for group, _ in self._queue:
            if batch and rows + len(group) > self._batch_rows:
                break
            batch.append(group)
            rows += len(group)
        return batch

    async def _store(self, groups: Sequence[Group], patience: int) -> list[Refused]:
        """Until these groups are written or lost for what they contain; returns those refused beyond patience."""
        backoff_s = BACKOFF_MIN_S
        second_look = False
        while True:
            verdict, blame = await self._attempt(groups)
            if verdict is Verdict.WRITTEN:
                return []
            if verdict is Verdict.POISON and UNIQUE_VIOLATION in blame and not second_look:
                second_look = True
                continue
            if verdict is Verdict.POISON or (verdict is Verdict.REFUSED and patience <= 0):
                if len(groups) > 1:  # halve until it stands alone; the others are written, in order
                    middle = len(groups) // 2
                    refused = await self._store(groups[:middle], patience)
                    return refused + await self._store(groups[middle:], patience)
                if verdict is Verdict.REFUSED:
                    return [(groups[0], blame)]
                self._lose(groups[0], blame)
                return []
            patience -= verdict is Verdict.REFUSED
            self._retries += 1
            await asyncio.sleep(backoff_s * random.uniform(0.8, 1.2))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _attempt(self, groups: Sequence[Group]) -> tuple[Verdict, str]:
        """Write them once; the text says what is to blame."""
        try:
            await self._write(groups)
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:  # no fact of ours
            return Verdict.POISON, type(error).__name__
        except psycopg.Error as error:
            blame, kind = _blame(error), (error.sqlstate or "")[:2]
            if kind in POISON_CLASSES:
                return Verdict.POISON, blame
            self._trouble(error)
            await self._disconnect()
            return (Verdict.REFUSED if kind and kind not in WAIT_CLASSES else Verdict.TROUBLE), blame
        except StoreError as error:
            self.last_error = error
            self._say("trouble", "ledger waits: %s", error)
            return Verdict.TROUBLE, str(error)
        self._recovered()
        return Verdict.WRITTEN, ""

    def _lose(self, group: Group, blame: str) -> None:
        self._poisoned += len(group)
        ids = sorted({str(_call_id(fact)) for fact in group})
        kinds = ", ".join(type(fact).__name__ for fact in group)
        log.error("ledger: a group was refused and is lost: %s (call=%s: %s)", blame, ",".join(ids), kinds)

    async def _write(self, groups: Sequence[Group]) -> None:
        batch = statements.build(fact for group in groups for fact in group)
        if not batch:
            return
        # The server gives up first: a statement left behind must not run after its repetition.
        limit = f"SET LOCAL statement_timeout = {max(1, int(self._write_timeout_s * 800))}"
        query = ";".join([limit, *(statement.sql for statement in batch)]).encode()
        arrays = [clean.dumps(statement.rows) for statement in batch]
        connection = await self._connected()
        task = asyncio.ensure_future(_execute(connection, query, arrays))
        try:
            done, _ = await asyncio.wait((task,), timeout=self._write_timeout_s)
            if not done:
                log.warning("ledger: no answer in %.0f s, the connection is dropped", self._write_timeout_s)
        finally:
            if not task.done():  # psycopg's own cancellation would wait for a server that may hang
                self._sever()
                await asyncio.wait((task,))
                if not task.cancelled():
                    task.exception()  # looked at: nobody else does when we are cancelled ourselves
        counts = task.result()
        self._written += sum(len(group) for group in groups)
        for statement, count in zip(batch, counts, strict=True):
            if statement.kind.startswith(("CallChanged", "CallEnded")) and count < len(statement.rows):
                self._unmatched += len(statement.rows) - count
                self._written -= len(statement.rows) - count
                self._say(
                    "unmatched",
                    "ledger: a change or end found no row of its call (%d so far)",
                    self._unmatched,
                )

    async def _connected(self) -> Connection:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        try:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                prepare_threshold=None,
                cursor_factory=psycopg.AsyncClientCursor,
                **connect_options("sipua-ledger"),
            )
        except psycopg.OperationalError as error:
            raise unreachable(error, self._dsn) from None
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _sever(self) -> None:
        """Shut the socket down: whatever waits for the server on it ends at once with an error."""
        if self._connection is not None and not self._connection.closed:
            with (
                contextlib.suppress(OSError, psycopg.Error),
                socket.socket(fileno=os.dup(self._connection.fileno())) as wire,
            ):
                wire.shutdown(socket.SHUT_RDWR)

    # -- what is said --------------------------------------------------------------------------------------

    def _trouble(self, error: psycopg.Error) -> None:
        self.last_error = StoreError(f"database {redact(self._dsn)}: {_blame(error)}")
        self._say("trouble", "ledger waits, %d facts queued: %s", self._queued, self.last_error)

    def _recovered(self) -> None:
        if self._said.pop("trouble", None) is not None:
            log.warning("ledger: the database accepts again, %d facts queued", self._queued)
            self.last_error = None

    def _say(self, what: str, message: str, *values: object) -> None:
        now = time.monotonic()
        if now - self._said.get(what, -LOG_EVERY_S) >= LOG_EVERY_S:
            self._said[what] = now
            log.error(message, *values)


async def _execute(connection: Connection, query: bytes, arrays: list[str]) -> list[int]:
    """All statements in one round trip and one implicit transaction; the row count of each."""
    async with connection.cursor() as cursor:
        await cursor.execute(query, arrays)
        counts = []
        while cursor.nextset():  # the first result is that of SET
            counts.append(cursor.rowcount)
    return counts


def _blame(error: psycopg.Error) -> str:
    """What to say about a refusal without quoting the row: state, table and constraint."""
    diag = error.diag
    if error.sqlstate is None:
        return " ".join(str(error).split()) or type(error).__name__
    parts = [type(error).__name__, error.sqlstate, diag.table_name, diag.column_name, diag.constraint_name]
    return " ".join(part for part in parts if part)


def _call_id(fact: object) -> UUID | None:
    value = getattr(fact, "call_id", None)
    return value if isinstance(value, UUID) else None
