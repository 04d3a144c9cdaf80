"""Make values fit for PostgreSQL: no NUL characters or lone surrogates, NULL instead of '', JSON that is JSON.

Model output and SIP headers are other people's bytes; none of them may cost a row.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

# PostgreSQL refuses a row whose indexed value is over 2704 bytes (54000), and a Call-ID may be longer.
KEY_LIMIT = 255  # characters
DEPTH_LIMIT = (
    64  # of a JSON tree: json.dumps and our own walk end at some 900, by an error that costs the row
)
_PLAIN = frozenset((type(None), bool, int))
_DIGEST_LENGTH = 64  # sha256 in hex


def text(value: str | None) -> str | None:
    """The text without NUL and lone surrogates; None where nothing is left."""
    if not value:
        return None
    if value.isascii() and "\0" not in value:  # nearly all, and 0.1 µs
        return value
    value = value.replace("\0", "")
    try:
        value.encode()
    except UnicodeEncodeError:
        value = value.encode("utf-8", "replace").decode()
    return value or None


def key(value: str | None) -> str | None:
    """A text that may stand in an index: a longer one is its beginning, ``#`` and its SHA-256, still its own."""
    value = text(value)
    if value is None or len(value) <= KEY_LIMIT:
        return value
    return value[: KEY_LIMIT - 1 - _DIGEST_LENGTH] + "#" + hashlib.sha256(value.encode()).hexdigest()


def time(value: datetime | None) -> str | None:
    """ISO 8601 with its offset; a naive time is taken as UTC."""
    if value is None:
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()


def tree(value: Any, depth: int = DEPTH_LIMIT) -> Any:
    """A JSON tree of plain types: texts cleaned, NaN and infinities None, unknown objects as their text.

    What is nested deeper than ``depth`` is left out.
    """
    kind = type(value)  # before the match, which asks abstract classes: four times as quick
    if kind is str:
        return text(value) or ""
    if kind in _PLAIN:
        return value
    if kind is dict and depth > 0:
        return {text(str(key)) or "_": tree(item, depth - 1) for key, item in value.items()}
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case str():
            return text(value) or ""
        case Mapping() | list() | tuple() | set() | frozenset() if depth <= 0:
            return "(nested too deeply)"
        case Mapping():
            return {text(str(key)) or "_": tree(item, depth - 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [tree(item, depth - 1) for item in value]
        case datetime():
            return time(value)
        case date():
            return value.isoformat()
        case bytes():
            return f"({len(value)} bytes)"
        case _:
            return text(str(value)) or ""


def dumps(value: Any) -> str:
    """Compact JSON of an already cleaned tree."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
