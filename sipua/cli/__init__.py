"""The command line. Each command is one module, imported when it is asked for; errors are mapped to exit codes here.

0 done; 1 something failed; 2 wrong usage; 78 (EX_CONFIG) a configuration fault. With ``--json`` stdout holds JSON
only; everything for people goes to stderr.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from sipua.cli.command import CONFIG_EXIT, FAILURE_EXIT, print_json, wants_json
from sipua.errors import ConfigError, SipuaError, Stopped
from sipua.log import is_json

# A command is the function, or the Typer of subcommands, of the module of the same name.
COMMANDS = (
    "serve", "demo", "init", "call", "dial", "chat", "calls", "show", "tail", "export", "route", "trunks", "trunk",
    "catalog", "callbacks", "alerts", "db", "migrate", "purge", "doctor", "token",
    "emulate", "drill", "bench", "version",
)  # fmt: skip


class Commands(TyperGroup):
    """Imports one command, not all: the whole costs a second, `sipua version` a fraction of it."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"sipua.cli.{cmd_name}")
        subcommands = getattr(module, "app", None)
        if isinstance(subcommands, typer.Typer):
            return get_command(subcommands)
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        single.command(cmd_name)(getattr(module, cmd_name))
        return get_command(single)


app = typer.Typer(
    name="sipua",
    cls=Commands,
    help="A SIP user agent that answers phone calls with a voice model and keeps every call in PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def sipua() -> None:
    """A SIP user agent that answers phone calls with a voice model and keeps every call in PostgreSQL."""


def main() -> None:
    """Entry point of the ``sipua`` script and of ``python -m sipua``."""
    try:
        app()
    except ConfigError as error:
        _tell("configuration fault", error)
        sys.exit(CONFIG_EXIT)
    except Stopped as error:
        _tell("stopped", error)
        sys.exit(FAILURE_EXIT)
    except SipuaError as error:
        _tell("failed", error)
        sys.exit(FAILURE_EXIT)


def _tell(what: str, error: SipuaError) -> None:
    if wants_json(sys.argv):
        print_json({"error": {"kind": what, "reason": error.reason, "message": str(error)}})
    if is_json():
        logging.getLogger("sipua").critical("%s: %s", what, error)
        return
    print("sipua: stopped" if isinstance(error, Stopped) else f"sipua: {what}: {error}", file=sys.stderr)
