"""The command line. Each command is one module; this one puts them together and maps errors to exit codes.

0 done; 1 something failed; 2 wrong usage; 78 (EX_CONFIG) a configuration fault. With ``--json`` stdout holds JSON
only; everything for people goes to stderr.
"""

from __future__ import annotations

import sys

import typer

from sipua.cli import bench, call, demo, doctor, emulate, init, migrate, serve, version
from sipua.cli.command import CONFIG_EXIT, FAILURE_EXIT, print_json, wants_json
from sipua.errors import ConfigError, SipuaError

app = typer.Typer(
    name="sipua",
    help="A SIP user agent that answers phone calls with a voice model and keeps every call in PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("call")(call.call)
app.command("migrate")(migrate.migrate)
app.command("doctor")(doctor.doctor)
app.command("version")(version.version)
app.add_typer(emulate.app, name="emulate")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Entry point of the ``sipua`` script and of ``python -m sipua``."""
    try:
        app()
    except ConfigError as error:
        _tell("configuration fault", error)
        sys.exit(CONFIG_EXIT)
    except SipuaError as error:
        _tell("failed", error)
        sys.exit(FAILURE_EXIT)


def _tell(what: str, error: SipuaError) -> None:
    if wants_json(sys.argv):
        print_json({"error": {"kind": what, "reason": error.reason, "message": str(error)}})
    print(f"sipua: {what}: {error}", file=sys.stderr)
