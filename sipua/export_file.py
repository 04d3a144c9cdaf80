"""Rows into a file or a pipe: CSV, JSON lines, or Parquet. No database.

A file is there whole or not at all: it is written beside its place, under a name with ``.part``, and takes its name at
the end; what stood there stays until then. It is readable by its owner alone: it holds numbers and words of callers.

In CSV what a spreadsheet would take for a formula gets an apostrophe before it (= and @, tab and return, + and - unless
a number follows); lists and objects are JSON. Times are UTC, ISO 8601; in Parquet they are timestamps.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from sipua.errors import ConfigError, LocalError

FORMATS = ("csv", "jsonl", "parquet")
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![0-9][0-9 ().-]*$)")

Row = Mapping[str, Any]
Columns = Mapping[str, str]  # by name, as ``storage.columns`` has their types


class Sink(Protocol):
    """Takes rows, batch by batch."""

    def put(self, rows: Sequence[Row]) -> None: ...
    def close(self) -> None:
        """After the last."""


class Csv:
    """With a line of names."""

    def __init__(self, to: BinaryIO, columns: Columns) -> None:
        self._to, self._names = to, list(columns)
        self._put([self._names])

    def put(self, rows: Sequence[Row]) -> None:
        self._put([[cell(row[name]) for name in self._names] for row in rows])

    def close(self) -> None:
        pass

    def _put(self, lines: Sequence[Sequence[str]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        self._to.write(text.getvalue().encode())


class JsonLines:
    """One object a line."""

    def __init__(self, to: BinaryIO, columns: Columns) -> None:
        self._to = to

    def put(self, rows: Sequence[Row]) -> None:
        self._to.write(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))

    def close(self) -> None:
        pass


class Parquet:
    """One row group a batch. ConfigError without pyarrow."""

    def __init__(self, to: BinaryIO, columns: Columns) -> None:
        try:
            import pyarrow as pa  # 60 MB, of the extra "parquet"
            from pyarrow import parquet
        except ImportError:
            raise ConfigError(
                "--format parquet: needs pyarrow, which is not installed (pip install 'sipua[parquet]'); "
                "allowed without it are csv and jsonl"
            ) from None
        kinds = {
            "text[]": pa.list_(pa.string()),
            "boolean": pa.bool_(),
            "integer": pa.int64(),
            "numeric": pa.float64(),
            "timestamptz": pa.timestamp("us", "UTC"),
        }
        self._columns = columns
        self._schema = pa.schema([(name, kinds.get(kind, pa.string())) for name, kind in columns.items()])
        self._table: Callable[..., Any] = pa.Table.from_pydict
        self._writer = parquet.ParquetWriter(to, self._schema, compression="zstd")

    def put(self, rows: Sequence[Row]) -> None:
        values = {name: [_typed(row[name], kind) for row in rows] for name, kind in self._columns.items()}
        self._writer.write_table(self._table(values, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


SINKS: Mapping[str, Callable[[BinaryIO, Columns], Sink]] = {
    "csv": Csv,
    "jsonl": JsonLines,
    "parquet": Parquet,
}


@contextlib.contextmanager
def opened(path: Path | None) -> Iterator[BinaryIO]:
    """Where the bytes go: stdout for None, else the file of that name once all is well. LocalError."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LocalError(f"{path}: cannot be written: {error.strerror}") from None


def cell(value: Any) -> str:
    """A value as CSV has it: "" for none."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{value}" if _FORMULA.match(value) else value
        case dict() | list():
            return orjson.dumps(value).decode()
        case _:
            return str(value)


def _typed(value: Any, kind: str) -> Any:
    match kind:
        case "timestamptz":
            return None if value is None else datetime.fromisoformat(value)
        case "integer":
            return None if value is None else int(value)
        case "jsonb":
            return None if value is None else orjson.dumps(value).decode()
        case _:
            return value
