"""``sipua export``: every row once, in three formats; whole files or none; no formula for a spreadsheet."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from sipua.cli import app
from sipua.errors import LocalError
from sipua.export_file import cell, opened
from storage.columns import TABLES
from storage.export import BATCH, WANTED, Export, Period
from storage.facts import CallCreated, ConsentAnswered, Event, SessionOpened, ToolCalled, ToolDone, Transcript
from storage.trunk_facts import CallAttempt
from storage.writer import LedgerWriter
from tests.storage.rows import run as run_sql

T0 = datetime(2026, 11, 20, 9, tzinfo=UTC)
CALL = UUID(int=5)


async def fill(dsn: str) -> None:
    of: dict[str, Any] = {"call_id": CALL}
    writer = LedgerWriter(dsn, batch_ms=5)
    writer.put(
        (
            CallCreated(UUID(int=4), "inbound", started_at=T0 - timedelta(seconds=1)),
            CallCreated(CALL, "inbound", "+250788123456", started_at=T0, metadata={"note": "=1+1"}),
            CallCreated(UUID(int=6), "inbound", started_at=T0 + timedelta(days=1)),
            Transcript(UUID(int=11), **of, sequence=1, role="user", content='=HYPERLINK("http://x")', t=T0),
            Transcript(UUID(int=12), **of, sequence=2, role="user", content='Two\nlines, "quoted"; Ça', confidence=0.5,
                       t=T0 + timedelta(seconds=1)),
            Event(UUID(int=13), **of, type="error", t=T0, payload={"deep": [1, None]}),
            SessionOpened(UUID(int=14), **of, session_id="s", started_at=T0),
            ToolCalled(UUID(int=15), **of, server=None, tool="search", args={"a": 1}, t=T0),
            ToolDone(UUID(int=15), **of, success=True, result={}),
            ConsentAnswered(UUID(int=16), **of, at=T0, text="May we?", granted=True, channel="dtmf"),
            CallAttempt(UUID(int=17), **of, ordinal=1, trunk="a", target="x", code=None, reason="timeout", ms=1,
                        decision="next", started_at=T0),
        )
    )  # fmt: skip
    assert await writer.close(5)


@pytest.fixture
def filled(database: str) -> str:
    asyncio.run(fill(database))
    return database


@pytest.fixture
def export(filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("DATABASE_URL", filled)
    monkeypatch.setenv("SIPUA_TIMEZONE", "Africa/Kigali")

    def run(*arguments: str, code: int = 0) -> str:
        period = ["--since", "2026-11-20 11:00", "--until", "2026-11-21T09:00:00Z"]  # 9:00 UTC
        done = CliRunner().invoke(app, ["export", *period, *arguments, "--conf", str(tmp_path)])
        if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.output if code else done.stdout

    return run


COUNTS = {
    "calls": 1,
    "transcripts": 2,
    "events": 1,
    "sessions": 1,
    "tools": 1,
    "consents": 1,
    "threads": 0,
    "attempts": 1,
}


def test_every_table_has_a_count() -> None:
    assert set(COUNTS) == set(WANTED)


@pytest.mark.parametrize("table", WANTED)
def test_every_table_in_every_format(export: Callable[..., str], tmp_path: Path, table: str) -> None:
    """The same rows and columns, whatever the format."""
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = list(TABLES[WANTED[table][0]])
    lines = [json.loads(line) for line in export("--table", table, "--format", "jsonl").splitlines()]
    assert [len(lines), *{tuple(line) for line in lines}] == [
        COUNTS[table],
        *([tuple(columns)] if lines else []),
    ]
    head, *rows = csv.reader(io.StringIO(export("--table", table)))
    assert head == columns
    assert [row[0] for row in rows] == [line["id"] for line in lines]
    out = tmp_path / "rows.parquet"
    assert json.loads(export("--table", table, "--format", "parquet", "--out", str(out), "--json")) == {
        "rows": COUNTS[table], "table": table, "format": "parquet", "file": str(out),
    }  # fmt: skip
    found = parquet.read_table(out)
    assert found.column_names == columns
    assert found.column("id").to_pylist() == [line["id"] for line in lines]
    assert (
        str(found.schema.field(next(name for name in columns if name.endswith("_at"))).type)
        == "timestamp[us, tz=UTC]"
    )


def test_what_a_spreadsheet_gets(export: Callable[..., str]) -> None:
    one, two = csv.DictReader(io.StringIO(export("--table", "transcripts")))
    assert one["content"] == '\'=HYPERLINK("http://x")'
    assert two["content"] == 'Two\nlines, "quoted"; Ça'
    assert (two["t"], two["confidence"], one["confidence"]) == ("2026-11-20T09:00:01Z", "0.5", "")
    (call,) = csv.DictReader(io.StringIO(export()))
    assert call["from_e164"] == "+250788123456"
    assert json.loads(call["metadata"])["note"] == "=1+1"


CELLS = {
    "=1": "'=1", "@x": "'@x", "\tx": "'\tx", "\rx": "'\rx", "-1+cmd|' /C calc'!A0": "'-1+cmd|' /C calc'!A0",
    "+cmd": "'+cmd", "+250 788-123 (456)": "+250 788-123 (456)", "-5": "-5", "x=1": "x=1", "": "", "'=1": "'=1",
}  # fmt: skip


@pytest.mark.parametrize("value", CELLS)
def test_formulas(value: str) -> None:
    assert cell(value) == CELLS[value]


WRONG = [
    (["--format", "xls"], "'xls': allowed are csv, jsonl, parquet"),
    (["--table", "users"], "'users': allowed are calls, transcripts, events"),
    (["--format", "parquet"], "needs --out"),
    (["--until", "2026-11-01"], "must be later than since"),
    (["--since", "soon"], "'soon': allowed are 2026-11-01"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_wrong_usage_names_what_is_allowed(export: Callable[..., str], options: list[str], said: str) -> None:
    assert said in " ".join(export(*options, code=2).split())


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("before")
    with contextlib.suppress(ZeroDivisionError), opened(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]
    assert path.read_text() == "before"
    with opened(path) as file:
        file.write(b"after")
    assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("after", 0o600)
    with (
        pytest.raises(LocalError, match=r"rows\.csv: cannot be written: No space left on device"),
        opened(path) as file,
    ):
        raise OSError(28, os.strerror(28))
    with pytest.raises(LocalError, match="cannot be written: No such file"), opened(tmp_path / "no" / "x"):
        pass
    assert path.read_text() == "after"


def test_without_pyarrow_it_says_what_to_install(export: Callable[..., str], tmp_path: Path) -> None:
    """In a process where it cannot be found."""
    code = "import sys; sys.modules['pyarrow'] = None; from sipua.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "export",
        "--since",
        "1d",
        "--format",
        "parquet",
        "--out",
        str(tmp_path / "x"),
    ]
    done = subprocess.run(
        [*command, "--conf", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 78
    assert "pip install 'sipua[parquet]'" in done.stderr
    assert [*tmp_path.iterdir()] == []


def test_a_reader_that_has_seen_enough(filled: str, tmp_path: Path) -> None:
    run_sql(
        filled, "INSERT INTO public.voice_calls (direction) SELECT 'inbound' FROM generate_series(1, 5000)"
    )
    command = f"{sys.executable} -m sipua export --since 30d --conf {tmp_path} | head -1"
    env = os.environ | {"DATABASE_URL": filled}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("id,")
    assert "Traceback" not in done.stderr


def test_many_rows_come_in_batches_and_stop_when_told(filled: str) -> None:
    """No batch is larger than said; cancelled in the middle, the rest does not come."""
    some = f"SELECT 'inbound', now() FROM generate_series(1, {3 * BATCH})"
    run_sql(filled, f"INSERT INTO public.voice_calls (direction, started_at) {some}")
    sizes = [len(batch) for batch in Export(filled, "calls", Period(T0)).batches()]
    assert sizes == [BATCH, BATCH, BATCH, 2]
    rows = Export(filled, "calls", Period(T0))
    coming = rows.batches()
    next(coming)
    rows.cancel()
    with pytest.raises(Exception, match=r"stopped|cancel"):
        list(coming)
