"""Rows of many calls, streamed: a cursor of the server, so that a million of them need no more memory than a batch.

Rows are those of calls that began in a period, whatever table they are of: calls are exported whole. The cursor lives
in one read-only transaction (of one snapshot), which a transaction-mode pooler keeps together.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import dict_row

from storage.columns import TABLES
from storage.dsn import check_dsn, connect_options, mapped_errors
from storage.errors import StoreError
from storage.reading import Row, plain

BATCH = 2000  # rows
WANTED: dict[str, tuple[str, str]] = {
    "calls": ("public.voice_calls", "id"),
    "transcripts": ("public.transcripts", "x.t, x.sequence, x.id"),
    "events": ("public.voice_events", "x.t, x.id"),
    "sessions": ("public.openai_sessions", "x.started_at, x.id"),
    "tools": ("public.mcp_tool_calls", "x.t, x.id"),
    "consents": ("public.call_consents", "x.t, x.id"),
    "threads": ("public.wa_threads", "x.created_at, x.id"),
    "attempts": ("sipua.call_attempts", "x.ordinal"),
}  # what may be exported: the table, and how rows of one call are ordered


@dataclass(frozen=True, slots=True)
class Period:
    """Calls that began at ``since`` or later, and before ``until``."""

    since: datetime
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.until is not None and self.since >= self.until:
            raise ValueError(
                f"until {self.until.isoformat()}: must be later than since {self.since.isoformat()}"
            )


class Export:
    """One table's rows. ``batches`` is for one thread; ``cancel`` may come from another."""

    def __init__(self, dsn: str, table: str, period: Period) -> None:
        if table not in WANTED:
            raise ValueError(f"table {table!r}: allowed are {', '.join(WANTED)}")
        self._dsn = check_dsn(dsn)
        self._query, self._period = _query(table), period
        self.columns = TABLES[WANTED[table][0]]
        self._connection: psycopg.Connection[Row] | None = None
        self._cancelled = threading.Event()

    def batches(self) -> Iterator[list[Row]]:
        """As JSON types. StoreError."""
        with (
            mapped_errors(self._dsn),
            psycopg.connect(
                self._dsn,
                autocommit=True,
                prepare_threshold=None,
                row_factory=dict_row,
                **connect_options("sipua-export"),
            ) as connection,
        ):
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._connection = connection
            with connection.transaction(), connection.cursor("export") as cursor:
                self._refuse_cancelled()
                connection.execute("SELECT set_config('timezone', 'UTC', true)")
                cursor.execute(
                    self._query.encode(), {"since": self._period.since, "until": self._period.until}
                )
                while found := cursor.fetchmany(BATCH):
                    self._refuse_cancelled()
                    yield [{name: plain(value) for name, value in row.items()} for row in found]

    def cancel(self) -> None:
        """Whatever it waits for ends."""
        self._cancelled.set()
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=2.0)

    def _refuse_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise StoreError("the export was stopped")


def _query(table: str) -> str:
    name, order = WANTED[table]
    columns = ", ".join(f"x.{column}" for column in TABLES[name])
    period = "c.started_at >= %(since)s AND (%(until)s::timestamptz IS NULL OR c.started_at < %(until)s)"
    if table == "calls":
        of = period.replace("c.", "x.")
        return f"SELECT {columns} FROM {name} AS x WHERE {of} ORDER BY x.started_at, x.id"
    return (
        f"SELECT {columns} FROM public.voice_calls AS c JOIN {name} AS x ON x.call_id = c.id "
        f"WHERE {period} ORDER BY c.started_at, c.id, {order}"
    )
