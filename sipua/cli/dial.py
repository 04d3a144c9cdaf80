"""``sipua dial TO``: the running agent calls somebody and talks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import uuid4

import typer

from sipua.cli.agent import refused
from sipua.cli.command import FAILURE_EXIT, Conf, Json, print_json, run, settings_of
from sipua.cli.numbers import check_number
from sipua.control import ask, watch
from sipua.errors import ConfigError, LocalError
from sipua.trunks.attempt import CallRules

MACHINE_EXIT = 3
ANSWER_PATIENCE_S = (
    CallRules().total_timeout_s + 60.0
)  # the agent gives up before, and knows who has answered
CALL_PATIENCE_S = 24 * 3600.0  # with --wait: trunks limit the length of calls
ANSWERED_BY = {
    "person": "a person has answered ({why}, {after_ms} ms after the answer)",
    "machine": "a machine has answered ({why}, {after_ms} ms after the answer)",
    "unsure": "who has answered cannot be told ({why}): taken for a person",
}
TOLD: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "attempt": lambda it: "{trunk} at {target}: {reason}{} after {ms} ms: {decision}".format(_code(it), **it),
    "call": lambda it: {"ringing": "ringing", "talking": "answered"}.get(it["state"], ""),
    "answered_by": lambda it: ANSWERED_BY[it["by"]].format(**it),
    "transcript": lambda it: "{role}: {text}".format(**it),
    "error": lambda it: "error: {reason}: {message}".format(**it),
}


def dial(
    number: Annotated[str, typer.Argument(metavar="TO", help="The number to call.")],
    caller: Annotated[
        str, typer.Option("--from", help="Number to present (else the trunk's caller_id).")
    ] = "",
    trunk: Annotated[str, typer.Option(help="On this trunk alone.")] = "",
    language: Annotated[
        str, typer.Option(help="Begin in this language (else by memory or the number): en, fr, rw, sw …")
    ] = "",
    purpose: Annotated[str, typer.Option(help="What the agent is to know about why it calls.")] = "",
    instructions: Annotated[
        Path | None, typer.Option(help="A file with instructions for this call, instead of those of all.")
    ] = None,
    machine: Annotated[
        str,
        typer.Option(
            help="If a machine answers: hang_up, leave_message, ignore or off (else as configured)."
        ),
    ] = "",
    message: Annotated[str, typer.Option(help="What leave_message says (else as configured).")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also outside calling hours, and once more today.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until the call is over; prints what is said.")
    ] = False,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Have the running agent call TO and talk.

    Exit 0 once a person has answered (or nobody can tell), 3 if a machine has, 1 if nobody; with --wait after the call.
    """
    settings = settings_of(conf)
    request = {
        "command": "dial", "id": str(uuid4()), "to": check_number("TO", number),
        "from": check_number("--from", caller) if caller else "", "trunk": trunk, "language": language,
        "purpose": purpose, "instructions": _read(instructions), "answering_machine": machine, "message": message,
        "force": force, "until": "ended" if wait else "answered",
    }  # fmt: skip
    shows = TOLD if wait else {name: how for name, how in TOLD.items() if name != "transcript"}

    async def work(_: asyncio.Event) -> dict[str, Any]:
        telling = None
        if not json:
            started = asyncio.Event()
            telling = asyncio.create_task(_tell(settings.state_path, request["id"], shows, started))
            await asyncio.wait(
                {telling, asyncio.ensure_future(started.wait())}, return_when="FIRST_COMPLETED"
            )
        try:
            patience_s = CALL_PATIENCE_S if wait else ANSWER_PATIENCE_S
            return await ask(settings.state_path, request, timeout_s=patience_s)
        finally:
            if telling is not None:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    answer = refused(run(work, patience=0))
    if json:
        print_json(answer)
    else:
        typer.echo(
            f"{answer['status']} ({answer['reason']}), SIP {answer['sip_code']}, call {answer['call']}"
        )
    if answer["answered_by"] == "machine":
        raise typer.Exit(MACHINE_EXIT)
    if answer["reason"] != "answered" and not (wait and answer["status"] == "completed"):
        raise typer.Exit(FAILURE_EXIT)


async def _tell(
    state_path: Path,
    call: object,
    shows: Mapping[str, Callable[[Mapping[str, Any]], str]],
    started: asyncio.Event,
) -> None:
    """What the agent reports of the call, a line each."""
    try:
        async for entry in watch(state_path):
            if entry.get("watching"):
                started.set()
            how = shows.get(cast(str, entry.get("event")))
            if how is not None and entry.get("call") == call and (line := how(entry)):
                typer.echo(line)
    except LocalError:  # no agent: whoever asks it says so
        started.set()


def _read(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"--instructions {file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--instructions {file}: is no UTF-8 text") from None


def _code(attempt: Mapping[str, Any]) -> str:
    return f", SIP {attempt['code']}" if attempt["code"] else ""
