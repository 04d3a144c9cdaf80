"""``sipua export``: rows of many calls, for spreadsheets and programs."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from sipua.cli.command import Conf, print_json, run, settings_of
from sipua.cli.times import moment
from sipua.database import bring_up_to_date, open_database
from sipua.errors import Stopped
from sipua.export_file import FORMATS, SINKS, opened
from storage.export import WANTED, Export, Period


def export(
    since: Annotated[
        str,
        typer.Option(help="Calls that began then or later: 2026-11-01, '2026-11-01 14:00', or 12h, 30d ago."),
    ],
    until: Annotated[str, typer.Option(help="… and before that.")] = "",
    format: Annotated[str, typer.Option(help="csv, jsonl or parquet.")] = "csv",
    table: Annotated[str, typer.Option(help=f"Rows of which: {', '.join(WANTED)}.")] = "calls",
    out: Annotated[
        Path | None, typer.Option(help="The file, else stdout (not parquet).", show_default=False)
    ] = None,
    conf: Conf = None,
    json: Annotated[bool, typer.Option("--json", help="With --out: tell what was written as JSON.")] = False,
) -> None:
    """Write calls, or what was said and done on them, as CSV, JSON lines or Parquet. Numbers are written in full."""
    settings = settings_of(conf)
    for option, given, allowed in (("--format", format, FORMATS), ("--table", table, tuple(WANTED))):
        if given not in allowed:
            raise typer.BadParameter(f"{given!r}: allowed are {', '.join(allowed)}", param_hint=option)
    if out is None and (format == "parquet" or json):
        raise typer.BadParameter("needs --out", param_hint="--json" if json else "--format parquet")
    began = moment(since, "--since", settings.zone)
    assert began is not None
    try:
        period = Period(began, moment(until, "--until", settings.zone))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--until") from None

    async def work(stop: asyncio.Event) -> int:
        async with open_database(settings) as dsn:
            await bring_up_to_date(dsn, settings)
            rows = Export(dsn, table, period)
            writing = asyncio.create_task(asyncio.to_thread(_write, rows, format, out))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({writing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done():
                await asyncio.to_thread(rows.cancel)
                await asyncio.wait({writing})
                raise Stopped("stopped; nothing was written" if out is not None else "stopped")
            stopping.cancel()
            return writing.result()

    started = time.monotonic()
    try:
        count = run(work)
    except BrokenPipeError:  # head has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if json:
        print_json({"rows": count, "table": table, "format": format, "file": str(out)})
    typer.echo(
        f"{count} {'row' if count == 1 else 'rows'} of {table} in {time.monotonic() - started:.1f} s",
        err=True,
    )


def _write(rows: Export, format: str, out: Path | None) -> int:
    count = 0
    with opened(out) as to:
        sink = SINKS[format](to, rows.columns)
        for batch in rows.batches():
            sink.put(batch)
            count += len(batch)
        sink.close()
    return count
