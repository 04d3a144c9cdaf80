"""``sipua migrate``: the schema brought up to date, or what it lacks."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from sipua.cli.command import FAILURE_EXIT, Conf, Json, print_json, run, settings_of
from sipua.database import open_database
from storage.dsn import redact
from storage.migrate import check as check_schema
from storage.migrate import migrate as apply


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is missing; exit 1 if anything is.")
    ] = False,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Apply the migrations to DATABASE_URL (or the embedded database). Safe to repeat."""
    settings = settings_of(conf)

    async def work(_: asyncio.Event) -> dict[str, Any]:
        async with open_database(settings) as dsn:
            if check:
                return {"database": redact(dsn), "missing": await check_schema(dsn)}
            report = await apply(dsn)
            return {"database": redact(dsn), "applied": list(report.applied)}

    result = run(work, patience=0)
    if json:
        print_json(result)
    elif check:
        typer.echo("\n".join(result["missing"]) or "nothing is missing")
    else:
        for name in result["applied"]:
            typer.echo(f"applied {name}")
        typer.echo(f"{result['database']}: up to date")
    if result.get("missing"):
        raise typer.Exit(FAILURE_EXIT)
