"""``sipua tail``: what is said and done on calls, as it comes into the database."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Annotated, Any

import orjson
import typer

from sipua.cli.calls import Full, reading
from sipua.cli.columns import printable
from sipua.cli.command import Conf, run, settings_of
from sipua.cli.show import DETAILS, LABELS
from sipua.errors import LocalError
from sipua.masked import masked
from storage.call_story import find_call
from storage.call_tail import Tail
from storage.call_timeline import event_entry, transcript_entry
from storage.errors import StoreError
from storage.reading import Row

LOOK_S = 0.5


def tail(
    call: Annotated[
        str | None, typer.Argument(help="Only this call, from its beginning to its end.", show_default=False)
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Every event, not only what matters.")] = False,
    full: Full = False,
    conf: Conf = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Follow what is said and done on all calls, of all agents on this database; Ctrl-C ends."""
    settings = settings_of(conf)

    def told(row: Row) -> str | None:
        entry = transcript_entry(row) if row["table"] == "transcripts" else event_entry(row)
        if entry is None or (entry["what"] in DETAILS and not all):
            return None
        entry = {"call": str(row["call_id"]), **(entry if full else masked(entry))}
        return orjson.dumps(entry).decode() if json else _line(entry, settings.zone)

    async def follow(stop: asyncio.Event) -> None:
        async with reading(settings) as pool:
            id = None
            if call is not None and (id := await find_call(pool, call)) is None:
                raise LocalError(
                    f"no call {call!r}: allowed are an id as `sipua calls` shows it, or a carrier's id"
                )
            news, was_away = Tail(id), False
            while not stop.is_set():
                try:
                    found = await news.look(pool)
                    was_away = False
                except StoreError as error:
                    if not error.retryable:
                        raise
                    if not was_away:
                        typer.echo(f"{error}; looking again", err=True)
                    found, was_away = [], True
                for line in map(told, found):
                    if line is not None:
                        print(line)
                sys.stdout.flush()
                if news.is_over:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_S)

    with contextlib.suppress(BrokenPipeError):
        run(follow)


def _line(entry: Mapping[str, Any], zone: tzinfo | None) -> str:
    at = datetime.fromisoformat(entry["t"]).astimezone(zone)
    what = "" if entry["what"] == "said" else entry["what"].replace("_", " ")
    text = printable(" ".join(part for part in (what, entry["text"]) if part))
    kind = LABELS.get(entry["kind"], entry["kind"])
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03}  {entry['call'][:8]}  {kind:8}  {text}"
