"""``sipua trunk setup NAME``: what the other side must enter, from the live settings, or what is to be asked there."""

from __future__ import annotations

from typing import Annotated

import typer

from sipua.cli.command import Conf, Json, conf_dir, print_json, settings_of
from sipua.errors import ConfigError
from sipua.trunk import load_trunks
from sipua.trunk_setup import Step, setup_of

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def trunk() -> None:
    """Set a trunk up."""


@app.command()
def setup(
    name: Annotated[str, typer.Argument(help="Name of the trunk, as in its file.")],
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Print what to enter in the provider's console for trunk NAME, or what to ask the provider."""
    settings = settings_of(conf)
    trunks = {trunk.name: trunk for trunk in load_trunks(conf_dir(conf))}
    if name not in trunks:
        raise ConfigError(
            f"trunk {name!r}: there is no such one in {conf_dir(conf)}/trunks; allowed: {', '.join(trunks) or 'none'}"
        )
    steps = setup_of(trunks[name], settings)
    if json:
        document = {"trunk": name, "enabled": trunks[name].enabled}
        print_json(document | {"steps": [step.as_dict() for step in steps]})
        return
    for step in steps:
        typer.echo(_shown(step))


def _shown(step: Step) -> str:
    note = f"\n    ({step.note})" if step.note else ""
    return f"{step.where}\n" + "\n".join(f"    {value}" for value in step.values) + note
