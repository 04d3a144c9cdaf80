"""``sipua init DIR``: a commented configuration to start from. Recordings are not copied: the shipped ones are used."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from sipua.cli.command import Json, print_json
from sipua.errors import LocalError
from sipua.resources import shipped_conf

KINDS = ("*.toml", "*.md", "*.csv", "*.yml", "grafana/*.json")


def init(
    directory: Annotated[Path, typer.Argument(help="Folder to make; existing files are never overwritten.")],
    json: Json = False,
) -> None:
    """Write sipua.toml, trunk files, languages, instructions, alerts and examples into DIRECTORY."""
    source = shipped_conf()
    written: list[str] = []
    kept: list[str] = []
    for file in sorted(path for kind in KINDS for path in source.rglob(kind) if path.is_file()):
        target = directory / file.relative_to(source)
        if target.exists():
            kept.append(str(target))
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        except OSError as error:
            raise LocalError(f"{target} cannot be written: {error.strerror}") from None
        written.append(str(target))
    if json:
        print_json({"written": written, "kept": kept})
        return
    for name in written:
        typer.echo(f"wrote {name}")
    for name in kept:
        typer.echo(f"kept  {name} (it was there)")
    typer.echo(
        f"Next: set OPENAI_API_KEY, then `sipua doctor --conf {directory}` and `sipua serve --conf {directory}`."
    )
