"""``sipua alerts`` and ``alerts test``: what goes on, and whether those who are to know would be told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import typer

from sipua.alerts.channels import Channel, open_channels
from sipua.alerts.incident import Incident, Phase
from sipua.alerts.message import Message, Sender, plain
from sipua.alerts.state_file import FILE_NAME, as_dict, load
from sipua.cli.command import FAILURE_EXIT, Conf, Json, print_json, run, settings_of
from sipua.errors import ConfigError
from sipua.notify import TRY_S, NotTold
from sipua.settings import Settings

NOBODY = "nobody is told of alerts: set alerts.command, alerts.url or alerts.mail_to"

app = typer.Typer(
    help="What must be mended, and who is told of it.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def alerts(context: typer.Context, conf: Conf = None, json: Json = False) -> None:
    """What goes on now, as the process of this STATE_DIR has written it; `alerts test` tries the channels."""
    if context.invoked_subcommand is not None:
        return
    settings = settings_of(conf)
    found = [each for each in load(settings.state_path / FILE_NAME) if each.phase is not Phase.RECOVERED]
    if json:
        print_json({"alerts": [as_dict(each) for each in found]})
    else:
        typer.echo("\n".join(_lines(found, settings)) or "nothing is the matter")


def _lines(found: Iterable[Incident], settings: Settings) -> Iterable[str]:
    for each in found:
        yield f"{each.since.astimezone(settings.zone):%Y-%m-%d %H:%M:%S}  {each.kind:13}  {plain(each.what)}"
        yield f"{'':21}→ {each.todo}"


@app.command("test")
def try_channels(conf: Conf = None, json: Json = False) -> None:
    """Send one alert through each channel and say what came of it. Exit 1 if one failed, 78 if there is none."""
    settings = settings_of(conf)

    async def work(_: asyncio.Event) -> dict[str, str]:
        sender = Sender(settings.node, settings.worker, settings.zone)
        message = Message.test(sender, datetime.now(UTC))
        async with open_channels(settings.alerts) as channels:
            outcomes = await asyncio.gather(*(_outcome(each, message) for each in channels.values()))
            return dict(zip(channels, outcomes, strict=True))

    outcomes = run(work, patience=0)
    if not outcomes:
        raise ConfigError(NOBODY)
    if json:
        shown: dict[str, Any] = {name: {"told": not why, "why": why} for name, why in outcomes.items()}
        print_json({"channels": shown})
    else:
        typer.echo("\n".join(f"{name:8} {why or 'told'}" for name, why in outcomes.items()))
    if any(outcomes.values()):
        raise typer.Exit(FAILURE_EXIT)


async def _outcome(channel: Channel, message: Message) -> str:
    """Why it could not be told; "" if it was."""
    try:
        async with asyncio.timeout(TRY_S):
            await channel.tell(message)
    except (NotTold, TimeoutError) as error:
        return str(error) or f"no answer within {TRY_S:g} s"
    return ""
