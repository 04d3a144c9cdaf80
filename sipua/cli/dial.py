"""``sipua dial NUMBER``: the running agent calls somebody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from sipua.cli.agent import asked
from sipua.cli.command import FAILURE_EXIT, Conf, Json, print_json, settings_of
from sipua.trunks.attempt import CallRules

PATIENCE_S = CallRules().total_timeout_s + 15.0  # the agent gives up before


def dial(
    number: Annotated[str, typer.Argument(help="The number to call.")],
    caller: Annotated[
        str, typer.Option("--from", help="Number to present (else the trunk's caller_id).")
    ] = "",
    trunk: Annotated[str, typer.Option(help="On this trunk alone.")] = "",
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Have the running agent call NUMBER and talk. Returns when it is answered (exit 0) or not (exit 1)."""
    request = {"command": "dial", "number": number, "from": caller, "trunk": trunk}
    answer = asked(settings_of(conf), request, timeout_s=PATIENCE_S)
    if json:
        print_json(answer)
    else:
        for each in answer["attempts"]:
            typer.echo(_attempt(each))
        typer.echo(
            f"{answer['status']} ({answer['reason']}), SIP {answer['sip_code']}, call {answer['call']}"
        )
    if answer["reason"] != "answered":
        raise typer.Exit(FAILURE_EXIT)


def _attempt(each: Mapping[str, Any]) -> str:
    code = f", SIP {each['code']}" if each["code"] else ""
    return f"{each['trunk']} at {each['target']}: {each['reason']}{code} after {each['ms']} ms: {each['decision']}"
