"""``sipua catalog import`` and ``search``: what the agent's ``search_services`` finds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sipua.catalogue_file import CATEGORIES, CatalogueFile, parse_catalogue
from sipua.cli.command import FAILURE_EXIT, Conf, Json, print_json, run, settings_of
from sipua.database import bring_up_to_date, open_database
from sipua.errors import LocalError
from storage.catalogue import Found, Imported, import_rows
from storage.catalogue import search as search_in

FILE_MAX_BYTES = 64 << 20

app = typer.Typer(
    help="The catalogue and the answers that callers are told from.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV in UTF-8, with a header; see docs/catalogue.md.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Also remove the rows that are not in the file.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")] = False,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Take a CSV file into the catalogue or the answers, whole or not at all. Safe to repeat."""
    settings = settings_of(conf)
    given = read_file(file)
    if given.faults:
        if json:
            faults = [
                {"line": each.line, "column": each.column, "message": each.message} for each in given.faults
            ]
            print_json({"file": str(file), "table": given.table, "faults": faults})
        for fault in given.faults:
            typer.echo(f"{file}: {fault}", err=True)
        typer.echo("nothing was imported", err=True)
        raise typer.Exit(FAILURE_EXIT)

    async def work(_: asyncio.Event) -> Imported:
        async with open_database(settings) as dsn:
            await bring_up_to_date(dsn, settings)
            return await import_rows(dsn, given.table, given.rows, replace=replace, dry_run=dry_run)

    done = run(work, patience=0)
    counts = {"added": done.added, "changed": done.changed, "same": done.same, "removed": done.removed}
    if json:
        print_json({"file": str(file), "table": given.table, "dry_run": dry_run, **counts, "faults": []})
        return
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    typer.echo(f"{given.table}: {told}{' (dry run: nothing was changed)' if dry_run else ''}")


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="As a caller says it.")],
    category: Annotated[str, typer.Option(help=f"One of {', '.join(CATEGORIES)}.")] = "",
    location: Annotated[str, typer.Option(help="The place that comes first.")] = "",
    locale: Annotated[str, typer.Option(help="en, sw, fr or rw.")] = "en",
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Show what the agent would find."""
    if category and category not in CATEGORIES:
        raise typer.BadParameter(f"--category {category!r}; allowed: {', '.join(CATEGORIES)}")
    settings = settings_of(conf)

    async def work(_: asyncio.Event) -> Found:
        async with open_database(settings) as dsn:
            await bring_up_to_date(dsn, settings)
            return await search_in(dsn, query, category=category or None, location=location, locale=locale)

    found = run(work, patience=0)
    if json:
        print_json({"services": found.services, "answers": found.answers})
    else:
        typer.echo("\n".join(_lines(found)) or "nothing is found")


def read_file(file: Path) -> CatalogueFile:
    """Raises LocalError where it cannot be read at all."""
    try:
        if file.stat().st_size > FILE_MAX_BYTES:
            raise LocalError(f"{file}: larger than {FILE_MAX_BYTES >> 20} MB")
        return parse_catalogue(file.read_bytes().decode())
    except OSError as error:
        raise LocalError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise LocalError(f"{file}: not UTF-8: byte {error.start}; save it as CSV in UTF-8") from None


def _lines(found: Found) -> Iterator[str]:
    for row in found.services:
        yield _line(
            f"{row['name']} ({row['category']})", row, ("location", "text", "phone", "hours", "price_note")
        )
    for row in found.answers:
        yield _line(row["question"], row, ("answer",))


def _line(head: str, row: Mapping[str, Any], columns: tuple[str, ...]) -> str:
    return " · ".join([head, *(row[column] for column in columns if row[column])])
