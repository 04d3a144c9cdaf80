"""Who may use a route: a bearer token of the tokens file, or the session that the dashboard made from one.

Who has no token is told 401, who has another role 403 with the role that it takes, who asks too often 429. A right
token is never locked out by wrong ones from the same address (a proxy's may be everybody's); wrong ones are slowed
down. Without a tokens file nothing that asks for a role is there: 404.

A route has ``who: Principal = Depends(guard.requires(Role.READ))`` (FastAPI cannot find ``guard`` in an annotation),
and reads its body with ``sipua.web.body``: FastAPI would read it before it asks who sends it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from fastapi import Request

from sipua.ports import Clock
from sipua.seldom import Seldom
from sipua.web.limits import Buckets, Rate, network_of
from sipua.web.problem import Problem
from sipua.web.tokens import Role, Token, find_token

__all__ = ["Guard", "Principal", "Role", "Sessions", "TokenSource", "source_of"]

log = logging.getLogger(__name__)

FAILURES = Rate(per_s=1 / 6, burst=10)  # wrong tokens of one address
OFF = "this part is off: http.tokens_file names no file of tokens (`sipua token add` makes one, docs/http.md)"
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="sipua"'}


@dataclass(frozen=True)
class Principal:
    """Who asks, as the tokens file names it."""

    name: str
    roles: frozenset[Role]

    def may(self, role: Role) -> bool:
        return role.is_in(self.roles)


class Sessions(Protocol):
    """Cookies that stand for a token (the dashboard's)."""

    def principal(self, request: Request) -> Principal | None:
        """None where the request has no session. Problem where it has one that is not to be used so (CSRF)."""


class TokenSource(Protocol):
    @property
    def tokens(self) -> tuple[Token, ...]: ...


class Guard:
    """One per process. ``tokens`` None: everything that asks for a role is off."""

    def __init__(self, tokens: TokenSource | None, clock: Clock, rate: Rate) -> None:
        self.sessions: Sessions | None = None
        self._tokens = tokens
        self._clock = clock
        self._asked = Buckets(rate)
        self._failed = Buckets(FAILURES)
        self._told = Seldom()
        self._roles: dict[Callable[..., Any], Role] = {}

    @property
    def is_on(self) -> bool:
        return self._tokens is not None

    def requires(self, role: Role) -> Callable[[Request], Awaitable[Principal]]:
        """For ``Depends``: the principal, or a Problem."""

        async def principal(request: Request) -> Principal:
            who = self.principal_of(request)
            if not who.may(role):
                raise Problem(403, f"this takes a token with the role {role.value}", reason="role")
            return who

        self._roles[principal] = role
        return principal

    def role_of(self, dependency: Callable[..., Any] | None) -> Role | None:
        """What ``requires`` was given to make it; for the OpenAPI document."""
        return self._roles.get(dependency) if dependency is not None else None

    async def must_be_on(self, request: Request) -> None:
        """For ``Depends`` of a page that has no role (the login): Problem 404 without a tokens file."""
        if self._tokens is None:
            raise Problem(404, OFF, reason="off")

    def principal_of(self, request: Request) -> Principal:
        """Problem 401, 404 (off), 429."""
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if self._tokens is None:
            raise Problem(404, OFF, reason="off")
        who = None
        if scheme.lower() == "bearer":
            who = self.authenticate(secret.strip(), source_of(request))
        elif self.sessions is not None:
            who = self.sessions.principal(request)
        if who is None:
            raise Problem(
                401, "this takes a token: Authorization: Bearer TOKEN", reason="no_token", headers=CHALLENGE
            )
        self._count(who)
        return who

    def authenticate(self, secret: str, source: str) -> Principal:
        """Whose token it is. Problem 401, and 429 where too many wrong ones came from ``source``."""
        assert self._tokens is not None
        now = self._clock.now()
        token = find_token(self._tokens.tokens, secret)
        if token is not None and not token.is_expired(now.wall):
            return Principal(token.name, token.roles)
        if wait_s := self._failed.take(network_of(source), now.monotonic):
            raise too_often(wait_s, "too many wrong tokens from this address")
        self._tell(source, token, now.monotonic)
        if token is not None and token.expires is not None:
            raise Problem(
                401, f"the token has expired on {_day(token.expires)}", reason="expired", headers=_invalid()
            )
        raise Problem(401, "the token is not known here", reason="unknown_token", headers=_invalid())

    def _count(self, who: Principal) -> None:
        if wait_s := self._asked.take(who.name, self._clock.now().monotonic):
            raise too_often(wait_s, "too many requests with this token")

    def _tell(self, source: str, token: Token | None, now: float) -> None:
        unsaid = self._told.unsaid(network_of(source), now)
        if unsaid is not None:
            what = "an unknown token" if token is None else f"the expired token {token.name}"
            more = f" ({unsaid} like it were not logged)" if unsaid else ""
            log.warning("< HTTP from %s with %s%s", source, what, more)


def source_of(request: Request) -> str:
    """The address that asks; of a trusted proxy's request the one that it tells."""
    return request.client.host if request.client is not None else ""


def too_often(wait_s: float, detail: str) -> Problem:
    return Problem(429, detail, reason="rate", headers={"Retry-After": str(max(1, math.ceil(wait_s)))})


def _invalid() -> dict[str, str]:
    return {"WWW-Authenticate": f'{CHALLENGE["WWW-Authenticate"]}, error="invalid_token"'}


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d")
