"""Bodies of requests: bounded in size and in time, whoever reads them.

Every request has a ``BodyBudget`` in place of its ``receive``; a route that takes more than the usual says so by
``read_body``. What is too long by its own word is refused before any of it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from sipua.web.problem import Problem, invalid, what

BODY_TIMEOUT_S = 10.0
BODY_MAX_BYTES = 64 << 10  # of a route that says nothing else
BUDGET = "sipua.body"  # its key in the scope

M = TypeVar("M", bound=BaseModel)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class BodyBudget:
    """The ``receive`` of one request. ``declared``: its Content-Length, None where there is none."""

    def __init__(self, receive: Receive, declared: int | None, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self.most = BODY_MAX_BYTES
        self._receive = receive
        self._declared = declared
        self._timeout_s = timeout_s
        self._until: float | None = None
        self._came = 0
        self._is_whole = False

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()  # waits for the client to go away
        if (self._declared or 0) > self.most:
            raise too_long(self.most)
        if self._until is None:
            self._until = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise Problem(
                408,
                f"the body was not complete within {self._timeout_s:g} s",
                headers={"Connection": "close"},
            ) from None
        self._came += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self._came > self.most:
            raise too_long(self.most)
        return message


async def read_body(request: Request, most: int) -> bytes:
    """All of it, at most ``most`` bytes. Problem 413, 408."""
    budget: BodyBudget = request.scope.get(BUDGET) or BodyBudget(request.receive, declared_length(request))
    budget.most = most
    found = bytearray()
    while True:
        message = await budget()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the connection ended within the body")
        found += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(found)
        await asyncio.sleep(0)  # what has come already is given without a pause


async def read_json(request: Request, model: type[M], most: int = BODY_MAX_BYTES) -> M:
    """A JSON object as the model has it. Problem 400, 408, 413, 415, 422; what was sent is not repeated."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "expected Content-Type: application/json")
    try:
        return model.model_validate_json(await read_body(request, most), strict=True)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
    if faults[0]["type"] == "json_invalid":
        raise Problem(400, faults[0]["msg"])
    raise invalid([(("body", *each["loc"]), what(each)) for each in faults])


def json_body(
    model: type[BaseModel], example: Mapping[str, Any], *, leave_out: Collection[str] = ()
) -> dict[str, Any]:
    """What ``read_json`` takes, for ``openapi_extra=`` of a route."""
    schema = model.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    schema["properties"] = {k: v for k, v in schema["properties"].items() if k not in leave_out}
    content = {"application/json": {"schema": schema, "example": dict(example)}}
    return {"requestBody": {"required": True, "content": content}}


def declared_length(request: Request) -> int | None:
    """None where it is not told."""
    length = request.headers.get("Content-Length", "")
    return int(length[:20]) if length.isdecimal() else None


def too_long(most: int) -> Problem:
    return Problem(413, f"the body is longer than the {most} bytes allowed here")
