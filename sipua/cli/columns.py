"""Rows in columns as wide as their cells. Into a terminal too narrow for all, some columns are left out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

WIDE = 100_000


def width_of_stdout() -> int:
    """Of the terminal; a pipe takes everything."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE


def in_columns(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    spare: Sequence[str] = (),
    right: Sequence[str] = (),
) -> list[str]:
    """Lines; ``spare`` columns go first to last where ``width`` is too small, ``right`` ones are flush right.

    What is still too wide loses its end.
    """
    shown = list(range(len(head)))
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in shown]
    for name in spare:
        if sum(widths[column] + 2 for column in shown) - 2 <= width:
            break
        shown.remove(head.index(name))
    told = []
    for line in lines:
        cells = [
            line[column].rjust(widths[column])
            if head[column] in right
            else line[column].ljust(widths[column])
            for column in shown
        ]
        text = "  ".join(cells).rstrip()
        told.append(text if len(text) <= width else text[: width - 1] + "…")
    return told


def printable(text: str) -> str:
    """Other people's text on a terminal: one line, no control characters."""
    return "".join(each if each.isprintable() else " " for each in text)
