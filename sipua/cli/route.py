"""``sipua route``: where a call would go, in which order and why. Nothing is sent but DNS queries."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from sipua.cli.agent import asked
from sipua.cli.command import FAILURE_EXIT, Conf, Json, conf_dir, hanging, print_json, run, settings_of
from sipua.control import NoAgent
from sipua.dialler import router_of
from sipua.fleet_view import route_document
from sipua.resolve import resolve_trunks
from sipua.trunk import Trunk
from sipua.trunk_files import load_trunks
from sipua.trunks.capacity import LocalCapacity
from sipua.trunks.health import Health

BASIS_FILES = "from the trunk files and DNS; no agent is running, so the health of the targets is not known"
BASIS_AGENT = "as the running agent sees it now: its trunk files, DNS, health, registrations, channels"


def route(
    to: Annotated[str, typer.Argument(help="The number to call.")],
    caller: Annotated[
        str, typer.Option("--from", help="Number to present (else each trunk's caller_id).")
    ] = "",
    trunk: Annotated[str, typer.Option(help="On this trunk alone.")] = "",
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Say where a call would go, in which order and why. And why not elsewhere; exit 1 if no trunk carries it."""
    settings = settings_of(conf)
    try:
        request = {"command": "route", "to": to, "from": caller, "trunk": trunk}
        found, basis = asked(settings, request), BASIS_AGENT
    except NoAgent:
        trunks, basis = load_trunks(conf_dir(conf)), BASIS_FILES
        found = _by_files(trunks, str(settings.sip.bind), to, caller, trunk)
    if json:
        print_json({"basis": basis, **found})
    else:
        typer.echo(hanging("", f"{found['to'] or to}: {basis}", 3))
        for number, target in enumerate(found["targets"], 1):
            numbers = f"{target['to_user']} from {target['from_user']}"
            text = f"{target['trunk']} {target['address']}: {numbers} ({target['why']})"
            typer.echo(hanging(f"{number}. ", text, 3))
        for other in found["rejected"]:
            subject = f"{other['trunk']} {other['address']}".rstrip()
            typer.echo(hanging("-  ", f"{subject}: {other['reason']}", 3))
    if not found["targets"]:
        raise typer.Exit(FAILURE_EXIT)


def _by_files(trunks: Sequence[Trunk], bind: str, to: str, caller: str, only: str) -> dict[str, Any]:
    addresses, faults = run(lambda stop: resolve_trunks(trunks, bind=bind), patience=0)
    rng = random.Random()
    router = router_of(trunks, addresses, Health(rng), LocalCapacity())
    return route_document(router.route(to, caller, time.monotonic(), rng, only=only), faults)
