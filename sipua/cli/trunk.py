"""``sipua trunk setup NAME``: what the other side must enter, from the live settings, or what is to be asked there.

``sipua trunk ping NAME``: whether its targets answer, from the running agent if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sipua.cli.agent import asked
from sipua.cli.command import FAILURE_EXIT, Conf, Json, conf_dir, hanging, print_json, run, settings_of
from sipua.control import NoAgent
from sipua.errors import ConfigError
from sipua.ping import ping_alone
from sipua.trunk import Trunk
from sipua.trunk_files import load_trunks
from sipua.trunk_setup import Step, setup_of

PING_LIMIT_S = 60.0  # options_timeout_s is the agent's to keep

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def trunk() -> None:
    """Set a trunk up, or see whether it answers."""


@app.command()
def setup(
    name: Annotated[str, typer.Argument(help="Name of the trunk, as in its file.")],
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Print what to enter in the provider's console, or to ask it. From the file of trunk NAME and the settings."""
    settings = settings_of(conf)
    chosen = _named(conf, name)
    steps = setup_of(chosen, settings)
    if json:
        document = {"trunk": name, "enabled": chosen.enabled}
        print_json(document | {"steps": [step.as_dict() for step in steps]})
        return
    for step in steps:
        typer.echo(_shown(step))


@app.command()
def ping(
    name: Annotated[str, typer.Argument(help="Name of the trunk, as in its file.")],
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Send OPTIONS to every target of trunk NAME. Exit 0 if each gives an answer."""
    settings = settings_of(conf)
    try:
        answer = asked(settings, {"command": "ping", "trunk": name}, timeout_s=PING_LIMIT_S)
    except NoAgent:
        chosen = _named(conf, name)
        pongs = run(lambda stop: ping_alone(chosen), patience=0)
        answer = {"trunk": name, "targets": [each.as_dict() for each in pongs]}
    if json:
        print_json(answer)
    else:
        Console().print(_table(answer["targets"]))
    if any(each["code"] is None for each in answer["targets"]):
        raise typer.Exit(FAILURE_EXIT)


def _named(conf: Path | None, name: str) -> Trunk:
    trunks = {trunk.name: trunk for trunk in load_trunks(conf_dir(conf))}
    if name not in trunks:
        raise ConfigError(
            f"trunk {name!r}: there is no such one in {conf_dir(conf)}/trunks; allowed: {', '.join(trunks) or 'none'}"
        )
    return trunks[name]


def _table(targets: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("target", "host", "answer"):
        table.add_column(column, no_wrap=column == "target")
    table.add_column("ms", justify="right")
    for each in targets:
        said = f"[green]{each['code']}[/green]" if each["code"] else f"[red]{escape(each['why'])}[/red]"
        host = "" if each["target"].startswith(f"{each['host']}:") else each["host"]
        table.add_row(escape(each["target"]), escape(host), said, f"{each['ms']:.1f}" if each["code"] else "")
    return table


def _shown(step: Step) -> str:
    texts = (*step.values, f"({step.note})") if step.note else step.values
    return "\n".join((hanging("", step.where, 2), *(hanging("    ", text, 6) for text in texts)))
