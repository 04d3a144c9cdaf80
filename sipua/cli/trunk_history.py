"""The changes of trunks as the database has them: also those of agents that have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import Any

import typer

from sipua.cli.command import print_json, run
from sipua.database import open_database
from sipua.settings import Settings
from storage.queries import trunk_changes


def show_history(settings: Settings, limit: int, *, json: bool) -> None:
    """Prints the last ``limit`` changes, the newest last."""

    async def work(_: asyncio.Event) -> list[dict[str, Any]]:
        async with open_database(settings) as dsn:
            return await trunk_changes(dsn, limit)

    changes = run(work, patience=0)[::-1]
    if json:
        print_json({"changes": changes})
    elif not changes:
        typer.echo("no change of any trunk is in the database")
    else:
        typer.echo("\n".join(_lines(changes, settings.zone)))


def _lines(changes: Sequence[Mapping[str, Any]], zone: tzinfo | None) -> Iterator[str]:
    subjects = [f"{each['trunk']} {each['target']}".rstrip() for each in changes]
    width = max(map(len, subjects))
    for each, subject in zip(changes, subjects, strict=True):
        step = f"{each['before']} → {each['after']}" if each["before"] else each["after"]
        why = f": {each['why']}" if each["why"] else ""
        when = each["at"].astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
        yield f"{when}  {subject:{width}}  {each['what'].replace('_', '-')} {step}{why}"
