"""``sipua purge``: what is old enough by [retention], or everything that is known of one caller."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from sipua.cli.command import FAILURE_EXIT, Conf, Json, print_json, run, settings_of
from sipua.clock import SystemClock
from sipua.database import bring_up_to_date, open_database
from sipua.errors import ConfigError
from sipua.forgetting import Forgotten, forget_caller, spellings_of
from sipua.retention import purge_all
from sipua.settings import Settings
from storage.retention import TABLES

NOTHING_SET = "nothing is old enough by [retention]: no table has days; docs/privacy.md"


def purge(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what and how many; nothing is deleted.")
    ] = False,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="Only this table of [retention]; may be repeated.")
    ] = None,
    caller: Annotated[
        str, typer.Option("--caller", help="Everything of this number (+250…) instead, however young.")
    ] = "",
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Delete rows that are older than [retention] allows, or what is known of one caller."""
    settings = settings_of(conf)
    tables = table or []
    if caller and tables:
        raise ConfigError("--caller and --table: one of them; a caller's data are in all tables")
    if unknown := [name for name in tables if name not in TABLES]:
        raise ConfigError(f"--table {unknown[0]!r}: allowed are {', '.join(sorted(TABLES))}")
    if caller:
        _forget(settings, spellings_of(caller), dry_run, json)
        return

    async def work(_: asyncio.Event) -> dict[str, int]:
        async with open_database(settings) as dsn:
            await bring_up_to_date(dsn, settings)
            now = SystemClock().now().wall
            return await purge_all(dsn, settings.retention, now, dry=dry_run, only=tables)

    if lacking := [name for name in tables if name not in settings.retention.days()]:
        raise ConfigError(f"--table {lacking[0]!r}: retention.{lacking[0]} = 0, its rows are kept")
    counts = run(work, patience=0)
    if json:
        print_json({"dry_run": dry_run, "rows": counts})
    else:
        lines = [
            _line(name, count, settings.retention.days()[name], dry_run) for name, count in counts.items()
        ]
        typer.echo("\n".join(lines) or NOTHING_SET)


def _line(name: str, count: int, days: int, dry_run: bool) -> str:
    return f"{name}: {count} {'would go' if dry_run else 'deleted'}, older than {days} days"


def _forget(settings: Settings, spellings: list[str], dry_run: bool, json: bool) -> None:
    async def work(_: asyncio.Event) -> Forgotten:
        async with open_database(settings) as dsn:
            await bring_up_to_date(dsn, settings)
            return await forget_caller(dsn, settings, spellings, dry=dry_run)

    done = run(work, patience=0)
    told: dict[str, Any] = {
        "dry_run": dry_run,
        "rows": done.counts,
        "calls_up": done.calls_up,
        "waits_in_spool": done.waits_in_spool,
    }
    if json:
        print_json(told)
    else:
        found = [f"{name}: {count}" for name, count in done.counts.items() if count]
        typer.echo("\n".join(found) or "nothing is known of this number")
        typer.echo("nothing was deleted (--dry-run)" if dry_run else _left(done))
    if not dry_run and not done.is_all:
        raise typer.Exit(FAILURE_EXIT)


def _left(done: Forgotten) -> str:
    waits = ", ".join(
        [
            *([f"{done.calls_up} calls of this number are up"] if done.calls_up else []),
            *(["rows of it wait in the spool for the database"] if done.waits_in_spool else []),
        ]
    )
    return f"not all yet: {waits}; run it again afterwards" if waits else "all of it is gone"
