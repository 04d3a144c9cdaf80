"""``sipua route``: where a call would go, in which order and why. Nothing is sent but DNS queries."""

from __future__ import annotations

import random
import time
from typing import Annotated

import typer

from sipua.cli.command import FAILURE_EXIT, Conf, Json, conf_dir, print_json, run, settings_of
from sipua.dialler import router_of
from sipua.resolve import resolve_trunks
from sipua.trunk import load_trunks
from sipua.trunks.capacity import LocalCapacity
from sipua.trunks.health import Health

BASIS = "from the trunk files and DNS; the health of the targets is not asked"


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
    settings_of(conf)
    trunks = load_trunks(conf_dir(conf))
    addresses, faults = run(lambda stop: resolve_trunks(trunks), patience=0)
    rng = random.Random()
    router = router_of(trunks, addresses, Health(rng), LocalCapacity())
    found = router.route(to, caller, time.monotonic(), rng, only=trunk)
    rejected = []
    for each in found.rejected:
        fault = "" if each.address else faults.get(each.trunk, "")
        reason = f"{each.reason} ({fault})" if fault else each.reason
        rejected.append({"trunk": each.trunk, "address": each.address, "reason": reason})
    targets = [
        {
            "trunk": each.trunk,
            "address": each.to.label,
            "host": each.to.host,
            "to_user": each.dialled.to_user,
            "from_user": each.dialled.from_user,
            "why": each.why,
        }
        for each in found.targets
    ]
    if json:
        print_json({"to": found.to_e164, "basis": BASIS, "targets": targets, "rejected": rejected})
    else:
        typer.echo(f"{found.to_e164 or to}: {BASIS}")
        for number, target in enumerate(targets, 1):
            typer.echo(
                f"{number}. {target['trunk']} {target['address']}: {target['to_user']} from {target['from_user']} "
                f"({target['why']})"
            )
        for other in rejected:
            typer.echo(f"-  {other['trunk']} {other['address']}".rstrip() + f": {other['reason']}")
    if not targets:
        raise typer.Exit(FAILURE_EXIT)
