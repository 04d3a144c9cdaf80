"""``sipua bench``: measurements that users can repeat."""

from __future__ import annotations

import typer

app = typer.Typer(help="Measurements: ratios and times in one run.", no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """Measurements: ratios and times in one run."""
