"""``/healthz``, ``/readyz``, ``/metrics``.

``/healthz`` says that the process lives; ``/readyz`` asks each part (SIP thread, database) and names the one that is
not ready with 503. Names and figures of the parts are for who may read, unless they are open to all (http.metrics).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from sipua.metrics import CONTENT_TYPE, Metrics
from sipua.web.guard import Guard, Principal, Role
from sipua.web.problem import Problem, problems

Check = Callable[[], Awaitable[str]]  # "" when ready, else why not
READY_TIMEOUT_S = 2.0

_STATUS = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"type": "string"},
        "checks": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


_FIGURES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}
}


def health_router(
    metrics: Metrics,
    checks: Mapping[str, Check],
    refresh: Callable[[], None],
    guard: Guard,
    *,
    is_open: bool,
    check_timeout_s: float = READY_TIMEOUT_S,
) -> APIRouter:
    """``refresh`` copies counters that are kept elsewhere into ``metrics`` before a scrape."""
    router = APIRouter(tags=["health"])
    parts = {name: Part(check, check_timeout_s) for name, check in checks.items()}
    reader = guard.requires(Role.READ)

    async def may_read(request: Request) -> Principal | None:
        """None: everybody may."""
        return None if is_open else await reader(request)

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", summary="Whether the process lives", responses=_told(200, "it does"))
    async def healthz() -> Response:
        return _json({"status": "ok"})

    @router.head("/readyz", include_in_schema=False)
    @router.get(
        "/readyz", summary="Whether calls can be taken", responses=_told(200, "they can") | _told(503, "not now")
    )  # fmt: skip
    async def readyz(request: Request) -> Response:
        texts = await asyncio.gather(*(part.told() for part in parts.values()))
        ready = all(text == "ok" for text in texts)
        document: dict[str, object] = {"status": "ready" if ready else "not ready"}
        try:
            await may_read(request)
        except Problem:  # who may not is told no more than that
            pass
        else:
            document["checks"] = dict(zip(parts, texts, strict=True))
        return _json(document, 200 if ready else 503)

    @router.get(
        "/metrics",
        summary="Figures for Prometheus",
        description="Open to all or for tokens with the role read, as http.metrics says.",
        responses=_FIGURES
        | problems(_401="no token, where one is asked for", _403="another role", _404="off: there are no tokens"),
        openapi_extra={"security": [{}, {"bearer": []}]},
    )  # fmt: skip
    async def scrape(request: Request) -> Response:
        await may_read(request)
        refresh()
        return Response(await asyncio.to_thread(metrics.render), media_type=CONTENT_TYPE)

    return router


def _told(status: int, text: str) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": text, "content": {"application/json": {"schema": _STATUS}}}}


def _json(document: Mapping[str, object], status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


class Part:
    """One check, running once at most however many ask. Its answer is not waited for longer than ``timeout_s``,
    whatever it does when it is cancelled: psycopg waits ten seconds for a server that hangs.
    """

    def __init__(self, check: Check, timeout_s: float) -> None:
        self._check = check
        self._timeout_s = timeout_s
        self._task: asyncio.Future[str] | None = None

    async def told(self) -> str:
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._check())
        task = self._task
        await asyncio.wait((task,), timeout=self._timeout_s)
        if task.done() and not task.cancelled():
            return task.result() or "ok"
        task.cancel()
        return f"no answer within {self._timeout_s:g} s"
