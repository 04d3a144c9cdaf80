"""Routers behind the real server, with the real guard, on a free port of 127.0.0.1."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
from fastapi import APIRouter

from sipua.clock import SystemClock
from sipua.http import bind_tcp, running
from sipua.ports import Clock, Moment
from sipua.web.guard import Guard, Role
from sipua.web.limits import Rate
from sipua.web.site import build_site
from sipua.web.tokens import Token, digest_of

PLENTY = Rate(100_000, 100_000)
SECRETS = {role: f"sipua_{role.value}" for role in Role}


@dataclass
class Tokens:
    """In place of a file."""

    tokens: tuple[Token, ...]


@dataclass
class HandClock:
    """A clock that a test moves."""

    moment: Moment

    def now(self) -> Moment:
        return self.moment

    def pass_s(self, seconds: float) -> None:
        self.moment = Moment(self.moment.monotonic + seconds, self.moment.wall + timedelta(seconds=seconds))


def token(role: Role, *, name: str = "", expires: datetime | None = None) -> Token:
    """The one whose secret is ``SECRETS[role]``."""
    return Token(name or role.value, frozenset({role}), digest_of(SECRETS[role]), expires)


ALL = tuple(token(each) for each in Role)


def a_guard(
    tokens: Sequence[Token] | None = ALL,
    *,
    clock: Clock | None = None,
    rate: Rate = PLENTY,
) -> Guard:
    """With one token for each role."""
    return Guard(None if tokens is None else Tokens(tuple(tokens)), clock or SystemClock(), rate)


def bearer(role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[role]}"}


@asynccontextmanager
async def serving(
    routers: Sequence[APIRouter],
    *,
    guard: Guard | None = None,
    clock: Clock | None = None,
    rate: Rate = PLENTY,
    server: dict[str, Any] | None = None,
    **site: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of them. ``server``: for ``running``; ``site``: for ``build_site``."""
    app = build_site(guard or a_guard(), clock or SystemClock(), routers=routers, rate=rate, **site)
    async with (
        running(app, bind_tcp("127.0.0.1", 0, "HTTP"), **(server or {})) as (host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}") as client,
    ):
        yield client
