"""JSON answers: how they are described in the OpenAPI document, and how they are written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from fastapi import Response

Schema = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

_TYPES: Mapping[str, Schema] = {
    "text": {"type": "string"},
    "uuid": {"type": "string", "format": "uuid"},
    "time": {"type": "string", "format": "date-time"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "flag": {"type": "boolean"},
    "object": {"type": "object"},
    "texts": {"type": "array", "items": {"type": "string"}},
    "objects": {"type": "array", "items": {"type": "object"}},
}


def shape(**fields: str | Schema | tuple[str, ...]) -> Schema:
    """An object with all of these: a word of ``_TYPES`` (with ? also null), the words that are allowed, or a schema."""
    return {
        "type": "object",
        "required": list(fields),
        "properties": {k: _field(v) for k, v in fields.items()},
    }


def with_some(schema: Schema, **fields: str) -> Schema:
    """``schema``, which may also have these."""
    return {**schema, "properties": schema["properties"] | {k: _field(v) for k, v in fields.items()}}


def several(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    """Or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def _field(field: str | Schema | tuple[str, ...]) -> Schema:
    if isinstance(field, tuple):
        return {"type": "string", "enum": list(field)}
    if isinstance(field, dict):
        return field
    found = dict(_TYPES[field.removesuffix("?")])
    return {**found, "type": [found["type"], "null"]} if field.endswith("?") else found


def told(schema: Schema, text: str, example: Any = None, *, status: int = 200) -> Responses:
    """For ``responses=`` of a route."""
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {status: {"description": text, "content": {"application/json": content}}}


def json_answer(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A small one; what may be long is ``long_answer``."""
    return Response(orjson.dumps(document), status, dict(headers or {}), "application/json")


async def long_answer(document: Mapping[str, Any]) -> Response:
    """Written in a thread, in pieces: the whole of a long call would hold up the loop, whichever thread writes it."""
    body = await asyncio.to_thread(lambda: b"".join(_pieces(document)))
    return Response(body, media_type="application/json")


def _pieces(document: Mapping[str, Any]) -> Iterator[bytes]:
    between = b"{"
    for name, value in document.items():
        yield between + orjson.dumps(name) + b":"
        between = b","
        if isinstance(value, list):
            yield b"["
            for number, item in enumerate(value):
                yield (b"," if number else b"") + orjson.dumps(item)
            yield b"]"
        else:
            yield orjson.dumps(value)
    yield b"}" if document else b"{}"
