"""Cut an SQL file into statements, so that an error can name the one it came from (and as the history keeps them).

Knows comments, quoted strings and identifiers, and dollar quotes; not ``E'…\\'…'`` escapes or ``BEGIN ATOMIC``
bodies, which our files do not use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""--[^\n]*            # comment to the end of the line
      | /\*.*?\*/           # block comment
      | '(?:[^']|'')*'      # string
      | "(?:[^"]|"")*"      # identifier
      | \$(\w*)\$.*?\$\1\$  # dollar quote
      | ;
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    """``text`` without the semicolon and without comments before it; ``line`` counts from 1."""

    text: str
    line: int

    @property
    def head(self) -> str:
        """The first words, for a message."""
        words = " ".join(self.text.split())
        return words if len(words) <= 100 else words[:99] + "…"


def split(sql: str) -> list[Statement]:
    """All statements of ``sql`` in order; pieces that are only comments or space are none."""
    statements: list[Statement] = []
    start = 0
    ends = [match.start() for match in _TOKEN.finditer(sql) if match[0] == ";"]
    for end in [*ends, len(sql)]:
        begin = _skip_blank(sql, start, end)
        text = sql[begin:end].rstrip()
        if text:
            statements.append(Statement(text, sql.count("\n", 0, begin) + 1))
        start = end + 1
    return statements


def _skip_blank(sql: str, begin: int, end: int) -> int:
    """The first position from ``begin`` that is neither space nor comment."""
    while begin < end:
        if sql[begin].isspace():
            begin += 1
        elif comment := _COMMENT.match(sql, begin, end):
            begin = comment.end()
        else:
            break
    return begin
