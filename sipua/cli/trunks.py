"""``sipua trunks``: how the trunks of the running agent stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from textwrap import wrap
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from sipua.cli.agent import asked
from sipua.cli.command import Conf, Json, print_json, settings_of
from sipua.cli.trunk_history import show_history

COLOURS = {"up": "green", "down": "red", "disabled": "dim"}
HEAD = ("trunk", "state", "changed", "OPTIONS", "calls", "why")
INDENT = "      "  # of a reason that has no room on the line of what it is about

Cells = tuple[str, str, str, str, str, str]


def trunks(
    history: Annotated[
        int,
        typer.Option(min=0, max=10_000, metavar="N", help="Show the last N changes in the database instead."),
    ] = 0,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Show how the trunks of the running agent stand. Each trunk and target: state and why, last change, OPTIONS,
    registration, calls up.
    """
    if history:
        show_history(settings_of(conf), history, json=json)
        return
    answer = asked(settings_of(conf), {"command": "trunks"})
    if json:
        print_json(answer)
        return
    console = Console(highlight=False)
    if answer["files_refused"]:
        console.print(
            Text(f"the trunk files were not read again, the old ones stay: {answer['files_refused']}", "red")
        )
    for line in _lines(answer["trunks"], datetime.now(UTC), console.width):
        console.print(line, soft_wrap=True)


def _lines(found: list[Mapping[str, Any]], now: datetime, width: int) -> Iterator[Text]:
    """Columns as wide as their cells; a reason that does not fit stands below."""
    rows = [HEAD, *(row for each in found for row in _rows(each, now))]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        line = Text("  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=False)))
        if row is HEAD:
            line.stylize("bold")
        elif not row[0].startswith(" "):
            line.stylize("bold", 0, len(row[0]))
        if row[1] in COLOURS:
            line.stylize(COLOURS[row[1]], widths[0] + 2, widths[0] + 2 + len(row[1]))
        why = row[5]
        if len(line) + 2 + len(why) <= width:
            line.append(f"  {why}")
            why = ""
        line.rstrip()
        yield line
        for part in wrap(why, max(width - len(INDENT), 20)):
            yield Text(f"{INDENT}{part}")


def _rows(trunk: Mapping[str, Any], now: datetime) -> Iterator[Cells]:
    limit = f"/{trunk['max_channels']}" if trunk["max_channels"] else ""
    calls = "" if trunk["state"] == "disabled" else f"{trunk['calls']}{limit}"
    yield trunk["trunk"], trunk["state"], _ago(trunk["changed_at"], now), "", calls, trunk["why"]
    for binding in trunk["registrations"]:
        yield "  registration", "up" if binding["registered"] else "down", "", "", "", _binding(binding)
    for target in trunk["targets"]:
        why = "" if target["why"] == trunk["why"] else target["why"]
        if not target["why"] and target["breaker"] != "closed":
            why = f"breaker {target['breaker']}"
        changed = _ago(target["changed_at"], now)
        yield f"  {target['target']}", target["state"], changed, _options(target), "", why
    if trunk["dns"] and trunk["dns"] not in trunk["why"]:
        stay = "; the last addresses stay" if trunk["targets"] else ""
        yield "  DNS", "down", "", "", "", f"{trunk['dns']}{stay}"


def _binding(binding: Mapping[str, Any]) -> str:
    if binding["registered"]:
        return f"expires in {_duration(binding['expires_in_s'])}"
    again = "" if binding["next_in_s"] is None else f"; next step in {_duration(binding['next_in_s'])}"
    return f"{binding['state']}: {binding['why']}{again}"


def _options(target: Mapping[str, Any]) -> str:
    if target["options_code"] is None:
        return "no answer" if target["probe"] == "down" else ""
    return f"{target['options_code']} in {target['options_ms']:.1f} ms"


def _ago(when: str | None, now: datetime) -> str:
    if when is None:
        return "-"
    return f"{_duration((now - datetime.fromisoformat(when)).total_seconds())} ago"


def _duration(seconds: float) -> str:
    """Two units at most: 1 h 5 min, 12 s."""
    whole = max(0, round(seconds))
    for size, unit, smaller, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"
