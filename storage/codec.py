"""Facts as bytes and back, for the spool: JSON, because a spool outlives the version that wrote it.

A group is ``[[kind, {field: value}], …]``, without what is None, and a field added with a default reads from old files.
Any other change of a fact needs a new ``VERSION``: a file says which one it has. JSON trees of others are taken as they
are where they are JSON, else cleaned (``storage.clean``); the writer cleans them for the database in any case.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

from storage import clean
from storage.facts import Fact, Group

VERSION = 1

Convert = Callable[[Any], Any]
_Field = tuple[str, Convert | None, Convert | None]  # name, into JSON, out of it; None: as it is


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    make: type[Fact]
    values: Callable[[Any], tuple[Any, ...]]
    fields: tuple[_Field, ...]
    required: tuple[str, ...]  # may be None all the same


class NotAFact(ValueError):
    """A record that this version does not understand."""


def encode(group: Group) -> bytes:
    """Raises TypeError, ValueError, KeyError, AttributeError or RecursionError for what is no fact of ours."""
    try:
        return _dumps([[type(fact).__name__, _fields(fact)] for fact in group]).encode()
    except (TypeError, RecursionError):  # keys that are no texts, depths that are no JSON
        return _dumps([[type(fact).__name__, _cleaned(fact)] for fact in group]).encode()


def decode(payload: bytes) -> Group:
    """Raises NotAFact."""
    try:
        return tuple(_fact(kind, values) for kind, values in json.loads(payload))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise NotAFact(f"{type(error).__name__} in a record of {len(payload)} bytes") from None


_dumps = json.JSONEncoder(
    separators=(",", ":"), default=clean.tree
).encode  # in ASCII: lone surrogates get through


def _fields(fact: Fact) -> dict[str, Any]:
    shape = _SHAPES[type(fact).__name__]
    return {
        name: value if into is None else into(value)
        for (name, into, _), value in zip(shape.fields, shape.values(fact), strict=True)
        if value is not None
    }


def _cleaned(fact: Fact) -> dict[str, Any]:
    return {name: value for name, value in clean.tree(_fields(fact)).items() if value is not None}


def _fact(kind: str, values: dict[str, Any]) -> Fact:
    shape = _SHAPES[kind]
    for name, _, out in shape.fields:
        if out is not None and values.get(name) is not None:
            values[name] = out(values[name])
    for name in shape.required:
        values.setdefault(name, None)
    return shape.make(**values)


def _shape(kind: type[Fact]) -> _Shape:
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    values = (
        attrgetter(*(f.name for f in fields))
        if len(fields) > 1
        else lambda fact: (getattr(fact, fields[0].name),)
    )
    lacking = (dataclasses.MISSING, dataclasses.MISSING)
    return _Shape(
        kind,
        values,
        tuple((f.name, *_converts(hints[f.name])) for f in fields),
        tuple(
            f.name
            for f in fields
            if (f.default, f.default_factory) == lacking and type(None) in get_args(hints[f.name])
        ),
    )


def _converts(hint: Any) -> tuple[Convert | None, Convert | None]:
    """How a value of this type goes into JSON and out of it; None: as it is."""
    kinds = {
        get_origin(kind) or kind for kind in (get_args(hint) if type(None) in get_args(hint) else [hint])
    }
    if UUID in kinds:
        return UUID.__str__, UUID
    if datetime in kinds:
        return datetime.isoformat, datetime.fromisoformat
    return None, tuple if tuple in kinds else None


_SHAPES: dict[str, _Shape] = {kind.__name__: _shape(kind) for kind in get_args(Fact)}
