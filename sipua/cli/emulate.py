"""``sipua emulate``: stand-ins for what is outside, the voice service and the line to a phone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sipua.cli.command import Json, print_json, run
from sipua.config_file import secret_file
from sipua.errors import ConfigError
from sipua.line.ends import End
from sipua.line.run import LineOptions, run_line, trace_of
from sipua.log import configure_logging
from sipua.realtime.emulator import (
    FAULTS,
    EmulatorOptions,
    Hook,
    parse_fault,
    serve_emulator,
    webhook_key,
)

app = typer.Typer(
    help="Stand-ins for the voice service and for the line to a phone.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _emulate() -> None:
    """Stand-ins for the voice service and for the line to a phone."""


@app.command("realtime")
def realtime(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 = any free one, told in the ready line.")] = 0,
    script: Annotated[Path | None, typer.Option(help="What it says (TOML, docs/emulator.md).")] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="[SESSION:]NAME[=ARG], may be repeated; see --list-faults.")
    ] = None,
    list_faults: Annotated[bool, typer.Option("--list-faults", help="Name the faults and end.")] = False,
    speed: Annotated[float, typer.Option(help="How much faster than real time it speaks.")] = 4.0,
    session_cap: Annotated[float, typer.Option(help="Seconds after which a session expires.")] = 3600.0,
    api_key: Annotated[str | None, typer.Option(help="The only key it accepts; else any.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Folder for what callers say, one WAV a session.")
    ] = None,
    webhook: Annotated[
        str,
        typer.Option(help="URL that is told of calls which POST /emulator/calls makes (docs/emulator.md)."),
    ] = "",
    webhook_secret: Annotated[
        Path | None, typer.Option("--webhook-secret", help="File with the whsec_ secret that signs them.")
    ] = None,
    json: Json = False,
) -> None:
    """Speak the OpenAI Realtime (GA) protocol from a script. Prints one JSON line when ready."""
    if list_faults:
        if json:
            print_json({"faults": [{"name": name, "description": text} for name, text in FAULTS.items()]})
            return
        for name, text in FAULTS.items():
            typer.echo(f"{name:24} {text}")
        return
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port}: allowed 0..65535")
    if speed <= 0 or session_cap <= 0:
        raise ConfigError("--speed and --session-cap must be greater than 0")
    if bool(webhook) != (webhook_secret is not None):
        raise ConfigError("--webhook and --webhook-secret: both or neither")
    hook = None
    if webhook_secret is not None:
        hook = Hook(
            webhook, webhook_key(secret_file("--webhook-secret", str(webhook_secret)).get_secret_value())
        )
    configure_logging("warning", "console")
    options = EmulatorOptions(
        host=host,
        port=port,
        script=script,
        faults=[parse_fault(text) for text in fault or []],
        speed=speed,
        session_cap_s=session_cap,
        api_key=api_key,
        record=record,
        hook=hook,
    )

    def ready(bound_host: str, bound_port: int) -> None:
        print_json(
            {
                "event": "ready",
                "http": f"{bound_host}:{bound_port}",
                "base_url": f"http://{bound_host}:{bound_port}/v1",
                "pid": os.getpid(),
            }
        )

    run(lambda stop: serve_emulator(options, ready=ready, stop=stop))


@app.command("line")
def line(
    to_near: Annotated[
        str,
        typer.Option(
            help="Trace of what the near end hears: a file, or a name as `sipua bench jitter` has it."
        ),
    ] = "",
    to_far: Annotated[str, typer.Option(help="Trace of what the far end hears.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of the generated traces.")] = 1,
    capture: Annotated[Path | None, typer.Option(help="Folder for near.pcap and far.pcap.")] = None,
    json: Json = False,
) -> None:
    """Join two network namespaces by a bad line for RTP (root). Prints one JSON line when ready, one at the end."""
    options = LineOptions(
        to_near=trace_of(to_near, seed) if to_near else None,
        to_far=trace_of(to_far, seed) if to_far else None,
        capture=capture,
    )
    configure_logging("warning", "console")

    def ready(near: End, far: End) -> None:
        places = {
            name: {"namespace": end.namespace, "address": end.address}
            for name, end in (("near", near), ("far", far))
        }
        print_json({"event": "ready", **places, "pid": os.getpid()})

    counts = run(lambda stop: run_line(options, stop, ready))
    print_json({"event": "ended", **counts})
