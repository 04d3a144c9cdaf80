"""The application: the routers of all parts, what holds around them, faults as problems, the OpenAPI document."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from sipua import __version__
from sipua.ports import Clock
from sipua.web.body import BODY_TIMEOUT_S
from sipua.web.bounds import AT_ONCE, Bounds
from sipua.web.document import document_of, methods_at
from sipua.web.guard import Guard
from sipua.web.limits import Rate
from sipua.web.problem import Problem, answer, invalid, what
from storage.errors import StoreError

log = logging.getLogger(__name__)


def build_site(
    guard: Guard,
    clock: Clock,
    *,
    routers: Sequence[APIRouter],
    prefixed: Sequence[APIRouter] = (),
    path_prefix: str = "",
    rate: Rate,
    at_once: int = AT_ONCE,
    body_timeout_s: float = BODY_TIMEOUT_S,
) -> FastAPI:
    """``prefixed``: routers whose routes are below ``path_prefix`` too, if there is one. ``rate``: of one address."""
    site = FastAPI(
        title="sipua", version=__version__, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )  # fmt: skip
    for router in (*routers, *prefixed):
        site.include_router(router)
    for router in prefixed if path_prefix else ():
        site.include_router(router, prefix=path_prefix, include_in_schema=False)
    document = document_of(site, guard)

    @site.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> Response:
        await guard.must_be_on(request)
        return Response(document, media_type="application/json")

    site.add_exception_handler(RequestValidationError, _on_invalid)
    site.add_exception_handler(StarletteHTTPException, _on_problem)
    site.add_exception_handler(StoreError, _on_store)
    site.add_exception_handler(Exception, _on_bug)
    site.add_middleware(Bounds, clock=clock, rate=rate, at_once=at_once, body_timeout_s=body_timeout_s)
    return site


async def _on_problem(request: Request, error: Exception) -> Response:
    if isinstance(error, Problem):
        return answer(error)
    assert isinstance(error, StarletteHTTPException)
    path, status = request.url.path, error.status_code
    if status == 404:
        return answer(Problem(404, "there is nothing here; /openapi.json says what there is"))
    if status == 405:
        allowed = ", ".join(methods_at(request.app, path))  # starlette names those of one route
        return answer(Problem(405, f"allowed here: {allowed}", headers={"Allow": allowed}))
    return answer(Problem(status, headers=error.headers))


async def _on_invalid(_: Request, error: Exception) -> Response:
    """Places and what is allowed; never what was sent."""
    assert isinstance(error, RequestValidationError)
    return answer(invalid([(each["loc"], what(each)) for each in error.errors()]))


async def _on_store(_: Request, error: Exception) -> Response:
    log.warning("< HTTP without the database: %s", error)
    return answer(
        Problem(503, "the database does not answer now", reason="store", headers={"Retry-After": "5"})
    )


async def _on_bug(_: Request, __: Exception) -> Response:
    """uvicorn writes the traceback."""
    return answer(Problem(500, "a fault of ours; the log has it"))
