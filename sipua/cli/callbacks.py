"""``sipua callbacks`` and ``callbacks done``: who wants to be called back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import tzinfo
from typing import Annotated, Any

import typer

from sipua.cli.command import Conf, Json, print_json, run, settings_of
from sipua.database import bring_up_to_date, open_database
from sipua.errors import LocalError
from storage.callbacks import callback_done, callback_requests

LIMIT = 200

app = typer.Typer(
    help="Callers who want to be called back.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def callbacks(
    context: typer.Context,
    open: Annotated[bool, typer.Option("--open", help="Only those that nobody has done yet.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = LIMIT,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Callers who want to be called back, the newest first; `callbacks done REFERENCE` ticks one off."""
    if context.invoked_subcommand is not None:
        return
    settings = settings_of(conf)

    async def work(_: asyncio.Event) -> list[dict[str, Any]]:
        async with open_database(settings) as dsn:
            await bring_up_to_date(dsn, settings)
            return await callback_requests(dsn, only_new=open, limit=limit)

    rows = run(work, patience=0)
    if json:
        print_json({"callbacks": rows})
    else:
        typer.echo("\n".join(_line(row, settings.zone) for row in rows) or "nobody wants to be called back")


@app.command()
def done(
    reference: Annotated[str, typer.Argument(help="As it was read out to the caller.")],
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Tick one off. Safe to repeat."""
    settings = settings_of(conf)
    wanted = "".join(each for each in reference.upper() if each.isalnum())

    async def work(_: asyncio.Event) -> dict[str, Any]:
        async with open_database(settings) as dsn:
            await bring_up_to_date(dsn, settings)
            row = await callback_done(dsn, wanted)
        if row is None:
            raise LocalError(f"{reference!r}: nobody was given this reference; see `sipua callbacks --open`")
        return row

    row = run(work, patience=0)
    if json:
        print_json(row)
    else:
        typer.echo(_line(row, settings.zone))


def _line(row: Mapping[str, Any], zone: tzinfo | None) -> str:
    """One request for people."""
    when = row["created_at"].astimezone(zone)
    told = "" if row["notified_at"] or row["status"] != "new" else "nobody told"
    columns = (row["name"], row["department"], row["wanted_at"], row["reason"], row["locale"], told)
    head = f"{row['reference'] or '-':6} {row['status']:9} {when:%Y-%m-%d %H:%M} {row['number']}"
    return " · ".join([head, *(each for each in columns if each)])
