"""``sipua calls``: the calls in the database, and those that go on now."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from sipua.cli.columns import in_columns, printable, width_of_stdout
from sipua.cli.command import Conf, print_json, run, settings_of
from sipua.cli.times import moment
from sipua.currency import CurrencySettings, cost_fields, cost_text
from sipua.database import bring_up_to_date, open_database
from sipua.errors import StoreError
from sipua.masked import masked, masked_text
from sipua.settings import Settings
from sipua.sip_message import mask_number
from storage.call_filter import MOST_ROWS, CallFilter
from storage.call_reads import LiveCalls, list_calls, live_calls
from storage.errors import StoreError as ReadError
from storage.reading import ReadPool
from storage.words import Status

REFRESH_S = 1.0
ARROWS = {"inbound": "←", "outbound": "→"}
SPARE = ("cost", "MOS", "lang", "trunk", "outcome")  # where the terminal is narrow, in this order
RIGHT = ("s", "MOS", "cost")

Full = Annotated[bool, typer.Option("--full", help="Show telephone numbers in full.")]


def calls(
    live: Annotated[
        bool, typer.Option("--live", help="Those that go on, with their last words; Ctrl-C ends.")
    ] = False,
    status: Annotated[str, typer.Option(help=f"One of {', '.join(get_args(Status))}.")] = "",
    direction: Annotated[str, typer.Option(help="inbound or outbound.")] = "",
    trunk: Annotated[str, typer.Option(help="Carried by this trunk.")] = "",
    provider: Annotated[str, typer.Option(help="Of this provider.")] = "",
    channel: Annotated[str, typer.Option(help="voice or chat.")] = "",
    language: Annotated[str, typer.Option(help="In this language: en, sw, fr, rw.")] = "",
    caller: Annotated[str, typer.Option("--from", help="From this number.")] = "",
    called: Annotated[str, typer.Option("--to", help="To this number.")] = "",
    digits: Annotated[str, typer.Option(help="Either number ends with these digits.")] = "",
    since: Annotated[
        str, typer.Option(help="Began then or later: 2026-11-01, '2026-11-01 14:00', or 2h, 7d ago.")
    ] = "",
    until: Annotated[str, typer.Option(help="Began before that.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="At most so many.")] = 20,
    after: Annotated[
        str, typer.Option(help="The page behind this mark, which a page before had given.")
    ] = "",
    full: Full = False,
    conf: Conf = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; with --live how it is now.")
    ] = False,
) -> None:
    """List calls, the newest first; `sipua show` tells one of them. Numbers are masked unless --full."""
    settings = settings_of(conf)
    try:
        wanted = CallFilter(
            status=status or None,  # type: ignore[arg-type]  # told by it
            direction=direction or None,  # type: ignore[arg-type]
            trunk=trunk, provider=provider, channel=channel, language=language, from_number=caller, to_number=called,
            since=moment(since, "--since", settings.zone), until=moment(until, "--until", settings.zone), digits=digits,
        )  # fmt: skip
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if live:
        if wanted.conditions()[0] or after:
            raise typer.BadParameter(
                "shows all that go on: allowed beside it are --full, --json", param_hint="--live"
            )
        _live(settings, full=full, json=json)
    else:
        _listed(settings, wanted, after or None, limit, full=full, json=json)


@contextlib.asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[ReadPool]:
    """The database, brought up to date, to be read."""
    async with open_database(settings) as dsn:
        await bring_up_to_date(dsn, settings)
        async with ReadPool(dsn) as pool:
            yield pool


def _listed(
    settings: Settings, wanted: CallFilter, after: str | None, limit: int, *, full: bool, json: bool
) -> None:
    async def work(_: asyncio.Event) -> tuple[list[dict[str, Any]], str | None]:
        async with reading(settings) as pool:
            try:
                page = await list_calls(pool, wanted, after, limit)
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint="--after") from None
            return page.calls, page.next

    found, mark = run(work, patience=0)
    if json:
        priced = [call | cost_fields(call["cost_usd"], settings.currency) for call in found]
        print_json({"calls": priced if full else masked(priced), "next": mark})
        return
    if not found:
        typer.echo("no such call")
        return
    typer.echo("\n".join(list_lines(found, settings.zone, settings.currency, width_of_stdout(), full=full)))
    if mark is not None:
        typer.echo(f"more: --after '{mark}'", err=True)


def list_lines(
    found: Sequence[Mapping[str, Any]],
    zone: tzinfo | None,
    currency: CurrencySettings,
    width: int,
    *,
    full: bool,
) -> list[str]:
    """A line a call. ``id`` is its beginning: `sipua show` takes it."""
    head = ("id", "began", "call", "lang", "trunk", "status", "outcome", "s", "MOS", "cost")
    rows = [
        (
            call["id"][:8],
            f"{datetime.fromisoformat(call['started_at']).astimezone(zone):%Y-%m-%d %H:%M:%S}",
            _ends(call, full=full),
            call["locale"] or "",
            call["trunk"] or "",
            call["status"] or "",
            call["outcome"] or "",
            "" if call["duration_seconds"] is None else str(call["duration_seconds"]),
            "" if call["mos"] is None else f"{call['mos']:.1f}",
            cost_text(call["cost_usd"], currency),
        )
        for call in found
    ]
    return in_columns(head, [tuple(map(printable, row)) for row in rows], width, spare=SPARE, right=RIGHT)


def _ends(call: Mapping[str, Any], *, full: bool) -> str:
    """Who called whom; the other end comes first, as it is what differs."""
    ours, theirs = call["to_e164"], call["from_e164"]
    if call["direction"] == "outbound":
        ours, theirs = theirs, ours
    shown = [(number or "-") if full else mask_number(number) for number in (theirs, ours)]
    return f"{ARROWS.get(call['direction'], '?')} {shown[0]}" + (f" ({shown[1]})" if full and ours else "")


def _live(settings: Settings, *, full: bool, json: bool) -> None:
    """Refreshed into a terminal; else once."""
    if json or not sys.stdout.isatty():

        async def once(_: asyncio.Event) -> LiveCalls:
            async with reading(settings) as pool:
                return await live_calls(pool)

        found = run(once, patience=0)
        if json:
            told = found.calls if full else masked(found.calls)
            print_json({"calls": told, "is_cut": found.is_cut, "generated_at": datetime.now(UTC).isoformat()})
        else:
            typer.echo("\n".join(live_lines(found, settings.zone, width_of_stdout(), full=full)))
        return

    async def follow(stop: asyncio.Event) -> None:
        console = Console(highlight=False)
        async with reading(settings) as pool:
            with Live(console=console, auto_refresh=False, transient=False) as view:
                while not stop.is_set():
                    view.update(await _screen(pool, console, settings, full=full), refresh=True)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), REFRESH_S)

    run(follow)


async def _screen(pool: ReadPool, console: Console, settings: Settings, *, full: bool) -> Text:
    try:
        found = await live_calls(pool)
    except ReadError as error:
        return Text(f"{StoreError(str(error))}; looking again", "red", overflow="fold")
    lines = live_lines(found, settings.zone, console.width, full=full)
    return Text("\n".join(lines[: max(2, console.height - 1)]), no_wrap=True)


def _last_words(call: Mapping[str, Any], *, full: bool) -> str:
    words = f"{call['last_role']}: {call['last_text']}" if call["last_text"] else ""
    return words if full else masked_text(words)


def live_lines(found: LiveCalls, zone: tzinfo | None, width: int, *, full: bool) -> list[str]:
    """A line a call, with what was said last."""
    if not found.calls:
        return ["no call goes on"]
    head = ("id", "began", "call", "trunk", "state", "s", "last words")
    rows = [
        (
            call["id"][:8],
            f"{datetime.fromisoformat(call['started_at']).astimezone(zone):%H:%M:%S}"
            if call["started_at"]
            else "",
            _ends(call, full=full),
            call["trunk"] or "",
            "handoff" if call["handoff"] else call["status"] or "",
            str(call["duration_seconds"]),
            _last_words(call, full=full),
        )
        for call in found.calls
    ]
    lines = in_columns(
        head, [tuple(map(printable, row)) for row in rows], width, spare=("trunk", "began"), right=("s",)
    )
    return [*lines, *(["… and more"] if found.is_cut else [])]
