"""``sipua doctor``: each thing that a call needs, tried, with what to do about it."""

from __future__ import annotations

import asyncio
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

import typer

from sipua.checks import Check, run_checks
from sipua.cli.command import CONFIG_EXIT, FAILURE_EXIT, Conf, Json, conf_dir, print_json, run

COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}
MARK_WIDTH = 4
WIDE = 1000  # where there is no terminal: one line each, for grep


def doctor(conf: Conf = None, json: Json = False) -> None:
    """Try everything that a call needs, and say what to do. Configuration, machine, database, voice service, each
    enabled trunk.

    Exit 0 if nothing fails, 78 if a failure is one of the configuration, else 1.
    """
    folder: Path = conf_dir(conf)

    async def work(_: asyncio.Event) -> list[Check]:
        return await run_checks(folder)

    checks = run(work, patience=0)
    if json:
        print_json({"checks": [check.as_dict() for check in checks]})
    else:
        _show(checks)
        typer.echo(_total(checks))
    failed = [check for check in checks if check.status == "fail"]
    if failed:
        raise typer.Exit(CONFIG_EXIT if any(check.is_configuration for check in failed) else FAILURE_EXIT)


def _show(checks: Sequence[Check]) -> None:
    """Name and text in two columns; what belongs to the check before (``trunk x``, ``trunk x dns``) is indented."""
    names = []
    parent = " "
    for check in checks:
        is_part = check.name.startswith(parent)
        parent = parent if is_part else f"{check.name} "
        names.append(f"  {check.name.removeprefix(parent)}" if is_part else check.name)
    name_width = max(map(len, names))
    margin = " " * (MARK_WIDTH + name_width + 2)
    text_width = max(40, shutil.get_terminal_size((WIDE, 24)).columns - len(margin))
    for name, check in zip(names, checks, strict=True):
        lines = _wrapped(check.detail, text_width)
        if check.todo:
            first, *rest = _wrapped(check.todo, text_width - 2)
            lines += [f"→ {first}", *(f"  {line}" for line in rest)]
        mark = typer.style(f"{check.status:{MARK_WIDTH}}", fg=COLOURS[check.status])
        typer.echo(f"{mark} {name:{name_width}} {lines[0]}")
        for line in lines[1:]:
            typer.echo(f"{margin}{line}")


def _wrapped(text: str, width: int) -> list[str]:
    wrapper = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    return [part for line in text.splitlines() for part in wrapper.wrap(line)] or [""]


def _total(checks: Sequence[Check]) -> str:
    failed = sum(check.status == "fail" for check in checks)
    odd = sum(check.status == "warn" for check in checks)
    words = [f"{count} {word}" for count, word in ((failed, "failed"), (odd, "to look at")) if count]
    return f"{len(checks)} check{'s' * (len(checks) != 1)}: {', '.join(words) or 'all is well'}"
