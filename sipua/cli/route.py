"""``sipua route``: where a call would go, in which order and why. Nothing is sent but DNS queries."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from sipua.cli.agent import asked
from sipua.cli.command import FAILURE_EXIT, Conf, Json, conf_dir, print_json, run, settings_of
from sipua.control import NoAgent
from sipua.dialler import router_of
from sipua.fleet_view import route_document
from sipua.resolve import resolve_trunks
from sipua.trunk import Trunk, load_trunks
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
    """Say which trunks and targets would carry a call, in which order, and why the others not; exit 1 if none."""
    settings = settings_of(conf)
    try:
        request = {"command": "route", "to": to, "from": caller, "trunk": trunk}
        found, basis = asked(settings, request), BASIS_AGENT
    except NoAgent:
        found, basis = _by_files(load_trunks(conf_dir(conf)), to, caller, trunk), BASIS_FILES
    if json:
        print_json({"basis": basis, **found})
    else:
        typer.echo(f"{found['to'] or to}: {basis}")
        for number, target in enumerate(found["targets"], 1):
            typer.echo(
                f"{number}. {target['trunk']} {target['address']}: {target['to_user']} from {target['from_user']} "
                f"({target['why']})"
            )
        for other in found["rejected"]:
            typer.echo(f"-  {other['trunk']} {other['address']}".rstrip() + f": {other['reason']}")
    if not found["targets"]:
        raise typer.Exit(FAILURE_EXIT)


def _by_files(trunks: Sequence[Trunk], to: str, caller: str, only: str) -> dict[str, Any]:
    addresses, faults = run(lambda stop: resolve_trunks(trunks), patience=0)
    rng = random.Random()
    router = router_of(trunks, addresses, Health(rng), LocalCapacity())
    return route_document(router.route(to, caller, time.monotonic(), rng, only=only), faults)
