"""``sipua migrate``: the schema brought up to date, or what it lacks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

import storage.errors as store
from sipua.cli.command import FAILURE_EXIT, Conf, Json, print_json, run, settings_of
from sipua.database import bring_up_to_date, migrate_dsn, open_database
from sipua.errors import LocalError
from storage.dsn import redact
from storage.migrate import check as check_schema
from storage.migrate import misfits
from storage.migration_files import copy_to

# The CLI refuses to push while the history names versions that its folder lacks, and files older than the newest there.
OTHERS = (
    "other migrations are recorded here: before the next `supabase db push` from a folder that lacks ours, run\n"
    "  sipua migrate --files-to supabase/migrations\n"
    "  supabase db push --include-all"
)


def migrate(
    check: Annotated[
        bool,
        typer.Option("--check", help="Only say what is missing or stands open; exit 1 if anything does."),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Apply all files once more: what was removed since comes back.")
    ] = False,
    files_to: Annotated[
        Path | None,
        typer.Option(
            help="Copy our files into this folder of migrations, for others' tools; no database is touched."
        ),
    ] = None,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Apply the migrations to SIPUA_DATABASE__MIGRATE_URL, DATABASE_URL or the embedded database. Safe to repeat."""
    if files_to is not None:
        _copy(files_to, json)
        return
    settings = settings_of(conf)

    async def work(_: asyncio.Event) -> dict[str, Any]:
        async with open_database(settings) as dsn:
            owner = migrate_dsn(dsn, settings)
            if check:
                lines = await check_schema(owner)
                lines += [line for line in await misfits(dsn) if line not in lines]
                return {"database": redact(dsn), "missing": lines}
            report = await bring_up_to_date(dsn, settings, again=again)
            return {
                "database": report.database,
                "applied": list(report.applied),
                "closed": list(report.closed),
                "foreign": list(report.foreign),
            }

    result = run(work, patience=0)
    if json:
        print_json(result)
    elif check:
        lines = ["missing, of another kind or open:", *(f"  {line}" for line in result["missing"])]
        typer.echo("\n".join(lines) if result["missing"] else "nothing is missing, nothing stands open")
    else:
        _tell(result)
    if result.get("missing"):
        raise typer.Exit(FAILURE_EXIT)


def _tell(result: dict[str, Any]) -> None:
    for name in result["applied"]:
        typer.echo(f"applied {name}")
    for door in result["closed"]:
        typer.echo(f"put right: {door}")
    typer.echo(f"{result['database']}: up to date")
    if result["applied"] and result["foreign"]:
        typer.echo(OTHERS)


def _copy(folder: Path, json: bool) -> None:
    try:
        copied = copy_to(folder)
    except (store.StoreError, OSError) as error:
        raise LocalError(f"--files-to {error}") from error
    if json:
        print_json({"folder": str(folder), "copied": copied})
    else:
        typer.echo("\n".join(f"copied {name}" for name in copied) or f"{folder}: has all our files")
