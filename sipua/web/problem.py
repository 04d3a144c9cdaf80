"""What goes wrong, as RFC 9457 has it: ``application/problem+json`` with status, title and detail.

A detail names the thing and what is allowed; it never repeats a secret or what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import HTTPException, Response

MEDIA_TYPE = "application/problem+json"
SCHEMA_NAME = "Problem"
WHERE_MAX = 100  # characters of a place in what was sent: its keys are the sender's
ERRORS_MAX = 20
SCHEMA: Mapping[str, Any] = {
    "title": SCHEMA_NAME,
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "reason": {"type": "string", "description": "A short word for programs."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["where", "what"],
                "properties": {"where": {"type": "string"}, "what": {"type": "string"}},
            },
        },
    },
    "examples": [
        {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "there is no such call"}
    ],
}


class Problem(HTTPException):
    """Raised by a route or what it depends on; becomes the answer. ``more``: members of its own, such as ``errors``."""

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        title: str = "",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.title = title or HTTPStatus(status).phrase
        self.more = more

    @property
    def status(self) -> int:
        return self.status_code


def answer(problem: Problem) -> Response:
    document = {"type": "about:blank", "title": problem.title, "status": problem.status}
    if problem.detail:
        document["detail"] = problem.detail
    return Response(
        orjson.dumps(document | problem.more), problem.status, dict(problem.headers or {}), MEDIA_TYPE
    )


def what(fault: Mapping[str, object]) -> str:
    """One of pydantic's faults in words."""
    if fault["type"] == "extra_forbidden":
        return "there is no such name; /openapi.json says which there are"
    return str(fault["msg"])


def invalid(faults: Sequence[tuple[Sequence[int | str], str]]) -> Problem:
    """422 for what does not fit: (place, what is allowed)."""
    errors = [
        {
            "where": ".".join(str(part) for part in place)[:WHERE_MAX],
            "what": text.removeprefix("Value error, "),
        }
        for place, text in faults[:ERRORS_MAX]
    ]
    return Problem(422, "; ".join(f"{each['where']}: {each['what']}" for each in errors), errors=errors)


def described(status: int, text: str = "") -> dict[str, Any]:
    """A response of the OpenAPI document."""
    return {
        "description": text or HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{SCHEMA_NAME}"}}},
    }


def problems(**texts: str) -> dict[int | str, dict[str, Any]]:
    """For ``responses=`` of a route: ``problems(_404="there is no such call")``."""
    return {int(code[1:]): described(int(code[1:]), text) for code, text in texts.items()}
