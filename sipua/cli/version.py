"""``sipua version``: what is installed, pjsua2's build and limits included."""

from __future__ import annotations

import platform

import typer

from sipua import __version__
from sipua.cli.command import Json, print_json
from sipua.pj.build import probe_library


def version(json: Json = False) -> None:
    """Print versions and the limits of the pjsua2 that is in force."""
    facts = probe_library()
    if json:
        pjsua2 = {
            "version": facts.version,
            "build": facts.build,
            "max_calls": facts.max_calls,
            "tls": facts.tls,
        }
        print_json({"sipua": __version__, "python": platform.python_version(), "pjsua2": pjsua2})
        return
    typer.echo(f"sipua {__version__}, Python {platform.python_version()}")
    typer.echo(f"pjsua2 {facts.version} ({facts.build}: {facts.distribution}), TLS {facts.tls}")
    typer.echo(f"{facts.max_calls} calls and {facts.max_accounts} accounts per process")
