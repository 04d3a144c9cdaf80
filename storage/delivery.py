"""One connection that writes batches: what became of an attempt, and how far a process's rows have come.

A batch is one round trip: its statements are sent as one simple query, which PostgreSQL runs as one transaction,
so groups are written whole, also through a transaction-mode pooler (nothing is prepared, no session state).

The batch of a process that has an ``instance`` begins by moving its sequence in ``sipua.writers``. That locks the row,
and rows which are there already (the answer was cut off, the process died before it heard it) end the transaction:
everything is written once, also what would undo others' rows of meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar
from uuid import UUID

import psycopg

from storage import clean, statements
from storage.dsn import check_dsn, connect_options, redact, unreachable
from storage.durations import Durations
from storage.errors import StoreError
from storage.facts import Group

log = logging.getLogger(__name__)

INLINE_GROUPS = 50  # 1 ms
LOG_EVERY_S = 5.0  # the same trouble is said again no sooner
# SQLSTATE classes that blame the data: data exception, integrity, routines of others (38, 39, P0), a view's check
# option, program limit.
POISON_CLASSES = ("22", "23", "38", "39", "44", "54", "P0")
# Those that blame the moment: connection, rollback, resources, lock, operator, transaction, login, no such database.
WAIT_CLASSES = ("08", "40", "53", "55", "57", "25", "28", "3D")
NOT_NULL_VIOLATION = "23502"

_SEQUENCE = """
INSERT INTO sipua.writers AS w (instance, seq, seen_at) VALUES (%s::uuid, %s, now())
ON CONFLICT (instance) DO UPDATE SET seq = CASE WHEN w.seq < %s THEN excluded.seq END, seen_at = now()
"""
_BEAT = """
INSERT INTO sipua.writers AS w (instance, seq, seen_at) VALUES (%s::uuid, 0, now())
ON CONFLICT (instance) DO UPDATE SET seen_at = now()
"""
_HOW_FAR = "SELECT seq FROM sipua.writers WHERE instance = %s"

Connection = psycopg.AsyncConnection[tuple[object, ...]]
T = TypeVar("T")


class Verdict(Enum):
    """What became of an attempt to write."""

    WRITTEN = auto()
    KNOWN = auto()  # some or all of it is there already
    POISON = auto()  # for what it contains
    REFUSED = auto()  # for a reason that may pass, or may lie in a row
    TROUBLE = auto()  # not looked at: no connection, no time, no room


@dataclass(frozen=True, slots=True)
class Entry:
    """A group in its place among those of its process; ``since`` on the monotonic clock."""

    seq: int
    group: Group
    since: float = 0.0


class Delivery:
    """Not for two tasks at once."""

    def __init__(self, dsn: str, write_timeout_s: float) -> None:
        self._dsn = check_dsn(dsn)
        self._write_timeout_s = write_timeout_s
        self._connection: Connection | None = None
        self._said: dict[str, float] = {}
        self.written = self.unmatched = 0  # facts
        self.connects = 0
        self.took = Durations()
        self.last_error: StoreError | None = None

    @property
    def database(self) -> str:
        """For people."""
        return redact(self._dsn)

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and not self._connection.closed

    async def attempt(
        self, entries: Sequence[Entry], instance: UUID | None, *, in_turn: bool
    ) -> tuple[Verdict, str]:
        """Write them once; the text says what is to blame. Not ``in_turn``: later ones are there already."""
        try:
            await self._write(entries, instance, in_turn)
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:  # no fact of ours
            return Verdict.POISON, type(error).__name__
        except psycopg.Error as error:
            blame, kind = _blame(error), (error.sqlstate or "")[:2]
            if error.sqlstate == NOT_NULL_VIOLATION and error.diag.table_name == "writers":
                return Verdict.KNOWN, blame
            if kind in POISON_CLASSES:
                return Verdict.POISON, blame
            await self._trouble(error)
            return (Verdict.REFUSED if kind and kind not in WAIT_CLASSES else Verdict.TROUBLE), blame
        except StoreError as error:
            self.last_error = error
            self.say("trouble", "ledger waits: %s", error)
            return Verdict.TROUBLE, str(error)
        self._recovered()
        return Verdict.WRITTEN, ""

    async def how_far(self, instance: UUID) -> int | None:
        """The sequence up to which its rows are there; None: not to be had now."""
        try:
            row = await self._answered(_how_far(await self._connected(), instance))
        except psycopg.Error as error:
            await self._trouble(error)
            return None
        except StoreError as error:
            self.say("trouble", "ledger waits: %s", error)
            return None
        return int(str(row[0])) if row is not None else 0

    async def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def sever(self) -> None:
        """Shut the socket down: whatever waits for the server on it ends at once with an error."""
        if self._connection is not None and not self._connection.closed:
            with (
                contextlib.suppress(OSError, psycopg.Error),
                socket.socket(fileno=os.dup(self._connection.fileno())) as wire,
            ):
                wire.shutdown(socket.SHUT_RDWR)

    def say(self, what: str, message: str, *values: object) -> None:
        """An error, at most every ``LOG_EVERY_S``."""
        now = time.monotonic()
        if now - self._said.get(what, -LOG_EVERY_S) >= LOG_EVERY_S:
            self._said[what] = now
            log.error(message, *values)

    async def _write(self, entries: Sequence[Entry], instance: UUID | None, in_turn: bool) -> None:
        if len(entries) > INLINE_GROUPS:  # the loop carries audio
            batch, rows = await asyncio.to_thread(_made, entries)
        else:
            batch, rows = _made(entries)
        if not batch and instance is None:
            return
        # The server gives up first: a statement left behind must not run after its repetition.
        head = [f"SET LOCAL statement_timeout = {max(1, int(self._write_timeout_s * 800))}"]
        values: list[object] = []
        if instance is not None:
            guarded = in_turn and entries
            head.append(_SEQUENCE if guarded else _BEAT)
            values += [str(instance), entries[-1].seq, entries[0].seq] if guarded else [str(instance)]
        query = ";".join([*head, *(statement.sql for statement in batch)]).encode()
        values += rows
        connection = await self._connected()
        began = time.monotonic()
        counts = await self._answered(_execute(connection, query, values))
        self.took.add(time.monotonic() - began)
        self._count(entries, batch, counts[len(head) - 1 :])

    async def _answered(self, asked: Coroutine[Any, Any, T]) -> T:
        """What comes in time; else the connection is severed, which is psycopg's OperationalError."""
        task = asyncio.ensure_future(asked)
        try:
            done, _ = await asyncio.wait((task,), timeout=self._write_timeout_s)
            if not done:
                log.warning("ledger: no answer in %.0f s, the connection is dropped", self._write_timeout_s)
        finally:
            if not task.done():  # psycopg's own cancellation would wait for a server that may hang
                self.sever()
                await asyncio.wait((task,))
                if not task.cancelled():
                    task.exception()  # looked at: nobody else does when we are cancelled ourselves
        return task.result()

    def _count(
        self, entries: Sequence[Entry], batch: Sequence[statements.Statement], counts: Sequence[int]
    ) -> None:
        self.written += sum(len(entry.group) for entry in entries)
        for statement, count in zip(batch, counts, strict=True):
            if statement.kind.startswith(("CallChanged", "CallEnded")) and count < len(statement.rows):
                self.unmatched += len(statement.rows) - count
                self.written -= len(statement.rows) - count
                self.say(
                    "unmatched",
                    "ledger: a change or end found no row of its call (%d so far)",
                    self.unmatched,
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
        self.connects += 1
        return self._connection

    async def _trouble(self, error: psycopg.Error) -> None:
        self.last_error = StoreError(f"database {self.database}: {_blame(error)}")
        self.say("trouble", "ledger waits: %s", self.last_error)
        await self.disconnect()

    def _recovered(self) -> None:
        if self._said.pop("trouble", None) is not None:
            log.warning("ledger: the database accepts again")
            self.last_error = None


def _made(entries: Sequence[Entry]) -> tuple[list[statements.Statement], list[str]]:
    """The statements of a batch, and the rows of each as they are sent."""
    batch = statements.build(fact for entry in entries for fact in entry.group)
    return batch, [clean.dumps(statement.rows) for statement in batch]


async def _execute(connection: Connection, query: bytes, values: Sequence[object]) -> list[int]:
    """All statements in one round trip and one implicit transaction; the row count of each but the first (SET)."""
    async with connection.cursor() as cursor:
        await cursor.execute(query, values)
        counts = []
        while cursor.nextset():
            counts.append(cursor.rowcount)
    return counts


async def _how_far(connection: Connection, instance: UUID) -> tuple[object, ...] | None:
    return await (await connection.execute(_HOW_FAR, (instance,))).fetchone()


def _blame(error: psycopg.Error) -> str:
    """What to say about a refusal without quoting the row: state, table and constraint."""
    diag = error.diag
    if error.sqlstate is None:
        return " ".join(str(error).split()) or type(error).__name__
    parts = [type(error).__name__, error.sqlstate, diag.table_name, diag.column_name, diag.constraint_name]
    return " ".join(part for part in parts if part)
