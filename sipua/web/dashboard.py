"""The dashboard: its page, its login, the stream of what goes on, and hanging up.

What it shows of the ledger is ``sipua.web.dashboard_ledger``'s. A session is good for what lies below ``/dashboard``
and for nothing else: the routes for programs take tokens, and give full numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from sipua.web.dashboard_sessions import CookieSessions, key_of, must_be_our_page
from sipua.web.dashboard_static import HEADERS, INDEX, Pages
from sipua.web.dashboard_stream import Events, Hub
from sipua.web.guard import Guard, Principal, Role, source_of
from sipua.web.problem import Problem

log = logging.getLogger(__name__)

Json = Mapping[str, Any]


class Login(BaseModel):
    """What the login sends, once."""

    model_config = ConfigDict(extra="forbid")
    token: str = Field(min_length=1, max_length=512)


def dashboard_router(
    guard: Guard,
    sessions: CookieSessions,
    hub: Hub,
    pages: Pages,
    about: Json,
    hang_up: Callable[[UUID], bool],
) -> APIRouter:
    """Not in the OpenAPI document, as no program should use it. ``about``: of this agent, told to who is logged in.

    ``hang_up`` is False where this process has no such call.
    """
    router = APIRouter(include_in_schema=False)
    on = [Depends(guard.must_be_on)]
    reader, operator = guard.requires(Role.READ), guard.requires(Role.OPERATE)

    @router.get("/", dependencies=on)
    @router.get("/dashboard", dependencies=on)
    async def to_the_page(request: Request) -> Response:
        return RedirectResponse("dashboard/", 307)

    @router.get("/dashboard/", dependencies=on)
    async def page(request: Request) -> Response:
        return pages.answer(INDEX, request)

    @router.get("/dashboard/static/{name}", dependencies=on)
    async def file(name: str, request: Request) -> Response:
        return pages.answer(name, request)

    @router.post("/dashboard/session", dependencies=on)
    async def log_in(login: Login, request: Request) -> Response:
        must_be_our_page(request)
        who = guard.authenticate(login.token, source_of(request))
        if not who.may(Role.READ):
            raise Problem(403, "the dashboard takes a token with the role read or operate", reason="role")
        told = _json(_session(who))
        sessions.end(request, told)  # of whoever was logged in here before
        sessions.begin(login.token, request, told)
        log.info("dashboard: %s logged in from %s", who.name, source_of(request))
        return told

    @router.get("/dashboard/session")
    async def session(who: Principal = Depends(reader)) -> Response:
        return _json(_session(who))

    @router.delete("/dashboard/session", dependencies=on)
    async def log_out(request: Request) -> Response:
        must_be_our_page(request)
        told = Response(status_code=204, headers=HEADERS)
        hub.end_session(key_of(request))
        sessions.end(request, told)
        return told

    @router.get("/dashboard/events")
    async def events(request: Request, who: Principal = Depends(reader)) -> Response:
        key = key_of(request)
        if not key:
            raise Problem(403, "the stream is for the dashboard's own page", reason="foreign_page")
        stream = await hub.open(key, request.headers.get("Last-Event-ID", ""))
        return Events(
            hub,
            stream,
            lambda: sessions.holder(key) is not None,
            HEADERS | {"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @router.post("/dashboard/calls/{id}/hangup")
    async def hung_up(id: UUID, who: Principal = Depends(operator)) -> Response:
        if not hang_up(id):
            raise Problem(409, "this process has no such call: it has ended, or another process has it")
        log.info("call=%s hung up by %s from the dashboard", id, who.name)
        return Response(status_code=204, headers=HEADERS)

    def _session(who: Principal) -> Json:
        roles = [role.value for role in Role if who.may(role)]
        return {"name": who.name, "roles": roles, **about}

    return router


def _json(document: Json) -> Response:
    return Response(
        orjson.dumps(document), media_type="application/json", headers=HEADERS | {"Cache-Control": "no-store"}
    )
