"""``docs/columns.md`` as a table: what is said of each column of the shared tables."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).parent.parent / "docs" / "columns.md"
_ROW = re.compile(r"\| `([a-z0-9_]+)` \| (written|NULL) \| .+ \|")


def sections() -> dict[str, list[str]]:
    """Lines by heading."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in _PAGE.read_text().splitlines():
        if line.startswith("## "):
            lines = found[line.removeprefix("## ")] = []
        lines.append(line)
    return found


def columns_of(table: str) -> dict[str, bool]:
    """Whether a column is written, by name."""
    return {match[1]: match[2] == "written" for line in sections()[table] if (match := _ROW.fullmatch(line))}


def cells(heading: str) -> list[list[str]]:
    """The rows of another table of the page."""
    rows = [line for line in sections()[heading] if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1:]]
