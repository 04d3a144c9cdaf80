"""``sipua trunks``: how the trunks of the running agent stand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sipua.cli.agent import asked
from sipua.cli.command import Conf, Json, print_json, settings_of

COLOURS = {"up": "green", "down": "red", "disabled": "dim"}


def trunks(conf: Conf = None, json: Json = False) -> None:
    """Show each trunk and target of the running agent: state and why, last change, OPTIONS, registration, calls up."""
    answer = asked(settings_of(conf), {"command": "trunks"})
    if json:
        print_json(answer)
    else:
        Console().print(_table(answer["trunks"], datetime.now(UTC)))


def _table(found: list[Mapping[str, Any]], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trunk", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("changed", no_wrap=True)
    table.add_column("OPTIONS", no_wrap=True)
    table.add_column("calls", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for each in found:
        limit = f"/{each['max_channels']}" if each["max_channels"] else ""
        calls = "" if each["state"] == "disabled" else f"{each['calls']}{limit}"
        table.add_row(
            f"[bold]{escape(each['trunk'])}[/bold]", _state(each["state"]), _ago(each["changed_at"], now), "", calls,
            escape(each["why"]),
        )  # fmt: skip
        for binding in each["registrations"]:
            table.add_row("  registration", *_binding(binding))
        for target in each["targets"]:
            why = target["why"] or (f"breaker {target['breaker']}" if target["breaker"] != "closed" else "")
            table.add_row(
                f"  {escape(target['target'])}", _state(target["state"]), _ago(target["changed_at"], now),
                _options(target), "", escape(why),
            )  # fmt: skip
        if each["dns"] and each["dns"] not in each["why"]:
            table.add_row(
                "  DNS", _state("down"), "", "", "", escape(f"{each['dns']}; the last addresses stay")
            )
    return table


def _state(state: str) -> str:
    return f"[{COLOURS[state]}]{state}[/{COLOURS[state]}]"


def _binding(binding: Mapping[str, Any]) -> tuple[str, ...]:
    if binding["registered"]:
        return "[green]up[/green]", "", "", "", f"expires in {_duration(binding['expires_in_s'])}"
    again = "" if binding["next_in_s"] is None else f"; next step in {_duration(binding['next_in_s'])}"
    return "[red]down[/red]", "", "", "", escape(f"{binding['state']}: {binding['why']}{again}")


def _options(target: Mapping[str, Any]) -> str:
    if target["options_code"] is None:
        return "[dim]no answer[/dim]" if target["probe"] == "down" else ""
    return f"{target['options_code']} in {target['options_ms']:.1f} ms"


def _ago(when: str | None, now: datetime) -> str:
    if when is None:
        return "[dim]-[/dim]"
    return f"{_duration((now - datetime.fromisoformat(when)).total_seconds())} ago"


def _duration(seconds: float) -> str:
    """Two units at most: 1 h 5 min, 12 s."""
    whole = max(0, round(seconds))
    for size, unit, smaller, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"
