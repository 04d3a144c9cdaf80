"""The OpenAPI document: what FastAPI finds in the routes, with the roles, the refusals and the problems around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from sipua.web.guard import Guard, Role
from sipua.web.problem import SCHEMA, SCHEMA_NAME, described

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a token of `sipua token add`"},
}  # fmt: skip
ALL = {429: "too often; Retry-After says when", 503: "too many at once, or the database does not answer"}
GUARDED = {
    401: "no token, an unknown or an expired one",
    403: "a token with another role",
    404: "there is none such",
}
WITH_BODY = {408: "the body did not come in time", 413: "the body is too long"}
INVALID = {422: "something does not fit; errors names each"}


def document_of(site: FastAPI, guard: Guard) -> bytes:
    """As JSON."""
    document = site.openapi()
    components = document.setdefault("components", {})
    components["securitySchemes"] = SCHEMES
    schemas = components.setdefault("schemas", {})
    schemas[SCHEMA_NAME] = SCHEMA
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own; ours are problems
        schemas.pop(name, None)
    roles = {each.unique_id: role_of(each, guard) for each in operations_of(site)}
    for path in document["paths"].values():
        for operation in path.values():
            _complete(operation, roles.get(operation["operationId"]))
    return orjson.dumps(document)


def operations_of(site: FastAPI) -> Iterator[RouteContext]:
    """Of all routers that are in it."""
    return (each for each in iter_route_contexts(site.routes) if isinstance(each.original_route, APIRoute))


def role_of(route: RouteContext, guard: Guard) -> Role | None:
    return next(filter(None, (guard.role_of(each.call) for each in _all(route.dependant))), None)


def methods_at(site: FastAPI, path: str) -> list[str]:
    """Of all routes with this path."""
    found = [each for each in operations_of(site) if each.path_regex.match(path)]
    exact = [each for each in found if ":path}" not in str(each.path)]  # an id of a call may have slashes
    return sorted({method for each in exact or found for method in each.methods or ()})


def _all(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for each in dependant.dependencies:
        yield from _all(each)


def _complete(operation: dict[str, Any], role: Role | None) -> None:
    responses: dict[str, Any] = operation["responses"]
    refusals = dict(ALL)
    if role is not None:
        operation["security"] = [{"bearer": []}]
        operation["description"] = f"{operation.get('description', '')}\n\nRole: {role.value}.".strip()
        refusals |= GUARDED
    if "requestBody" in operation:
        refusals |= WITH_BODY
    if "422" in responses and "HTTPValidationError" in str(responses["422"]):
        del responses["422"]
        refusals |= INVALID
    for status, text in refusals.items():
        responses.setdefault(str(status), described(status, text))
