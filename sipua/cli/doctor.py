"""``sipua doctor``: each thing that a call needs, tried, with what to do about it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from sipua.checks import Check, run_checks
from sipua.cli.command import FAILURE_EXIT, Conf, Json, conf_dir, print_json, run


def doctor(conf: Conf = None, json: Json = False) -> None:
    """Check configuration, ports, database and voice service; exit 1 if something fails."""
    folder: Path = conf_dir(conf)

    async def work(_: asyncio.Event) -> list[Check]:
        return await run_checks(folder)

    checks = run(work, patience=0)
    if json:
        print_json({"checks": [check.as_dict() for check in checks]})
    else:
        for check in checks:
            typer.echo(
                f"{check.status:4} {check.name}: {check.detail}"
                + (f"\n     → {check.todo}" if check.todo else "")
            )
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(FAILURE_EXIT)
