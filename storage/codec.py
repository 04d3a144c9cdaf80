"""Facts as bytes and back, for the spool: JSON, because a spool outlives the version that wrote it.

A group is ``[[kind, {field: value}], …]``. What is None by default and None is left out, and a field added with a
default reads from old files. Any other change of a fact needs a new ``VERSION``: a file says which one it has.
JSON trees are cleaned on the way (``storage.clean``), as they are for the database.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

from storage import clean
from storage.facts import Fact, Group

VERSION = 1

Convert = Callable[[Any], Any]
_Field = tuple[
    str, Convert | None, Convert | None, bool
]  # name, into JSON, out of it, whether None may be left out


class NotAFact(ValueError):
    """A record that this version does not understand."""


def encode(group: Group) -> bytes:
    """Raises TypeError, ValueError, KeyError, AttributeError or RecursionError for what is no fact of ours."""
    return _dumps([[type(fact).__name__, _fields(fact)] for fact in group]).encode()


def decode(payload: bytes) -> Group:
    """Raises NotAFact."""
    try:
        return tuple(_fact(kind, values) for kind, values in json.loads(payload))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise NotAFact(f"{type(error).__name__} in a record of {len(payload)} bytes") from None


_dumps = json.JSONEncoder(separators=(",", ":")).encode  # in ASCII: lone surrogates get through


def _fields(fact: Fact) -> dict[str, Any]:
    found = {}
    for name, into, _, may_lack in _SHAPES[type(fact).__name__][1]:
        value = getattr(fact, name)
        if value is not None:
            found[name] = value if into is None else into(value)
        elif not may_lack:
            found[name] = None
    return found


def _fact(kind: str, values: dict[str, Any]) -> Fact:
    make, shape = _SHAPES[kind]
    for name, _, out, _ in shape:
        if out is not None and values.get(name) is not None:
            values[name] = out(values[name])
    return make(**values)


def _shape(kind: type[Fact]) -> list[_Field]:
    hints = get_type_hints(kind)
    return [(f.name, *_converts(hints[f.name]), f.default is None) for f in dataclasses.fields(kind)]


def _converts(hint: Any) -> tuple[Convert | None, Convert | None]:
    """How a value of this type goes into JSON and out of it; None: as it is."""
    kinds = {
        get_origin(kind) or kind for kind in (get_args(hint) if type(None) in get_args(hint) else [hint])
    }
    if UUID in kinds:
        return str, UUID
    if datetime in kinds:
        return datetime.isoformat, datetime.fromisoformat
    if tuple in kinds:
        return clean.tree, tuple
    if Mapping in kinds:
        return clean.tree, None
    return None, None


_SHAPES: dict[str, tuple[type[Fact], list[_Field]]] = {
    kind.__name__: (kind, _shape(kind)) for kind in get_args(Fact)
}
