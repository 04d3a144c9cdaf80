"""What holds for every request, around all routes: how many at once, how often from one address, how long a body may
be, which headers every answer has, and one line in the log.

The line names the route, not the path: a path may hold a telephone number.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import Request

from sipua.ports import Clock
from sipua.web.body import BUDGET, BodyBudget, Message, Receive, declared_length
from sipua.web.guard import source_of, too_often
from sipua.web.limits import Buckets, Rate, network_of
from sipua.web.problem import Problem, answer

log = logging.getLogger(__name__)

AT_ONCE = 64  # requests that have no answer yet …
SHARES = 4  # … of which one address may have a quarter: bodies that do not come would keep all others out
NOT_COUNTED = frozenset({"/healthz", "/readyz"})  # who asks them kills what does not answer
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",  # calls are nobody else's
}

Send = Callable[[Message], Awaitable[None]]
Scope = Message
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Bounds:
    """An ASGI middleware, the outermost of ours. ``rate``: of one address."""

    def __init__(
        self, app: App, *, clock: Clock, rate: Rate, at_once: int = AT_ONCE, body_timeout_s: float = 10.0
    ) -> None:
        self._app = app
        self._clock = clock
        self._asked = Buckets(rate)
        self._at_once = at_once
        self._body_timeout_s = body_timeout_s
        self._open: Counter[str] = Counter()  # by source; those without any are left out

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        told = _Told(scope, send, self._clock.now().monotonic)
        source = network_of(source_of(request))
        try:
            self._let_in(request, source)
        except Problem as problem:
            await answer(problem)(scope, receive, told)
            told.log(source_of(request), self._clock.now().monotonic)
            return
        if request.url.path not in NOT_COUNTED:
            self._open[source] += 1
            told.on_start = partial(self._answered, source)
        budget = BodyBudget(receive, declared_length(request), self._body_timeout_s)
        scope[BUDGET] = budget
        try:
            await self._app(scope, budget, told)
        finally:
            if not told.status:
                told.on_start()
            told.log(source_of(request), self._clock.now().monotonic)

    def _let_in(self, request: Request, source: str) -> None:
        if request.url.path in NOT_COUNTED:
            return
        if self._open.total() >= self._at_once:
            raise Problem(503, "too many requests at once", reason="busy", headers={"Retry-After": "1"})
        if self._open[source] >= max(1, self._at_once // SHARES):
            raise too_often(1, "too many requests at once from this address")
        wait_s = self._asked.take(source, self._clock.now().monotonic)
        if wait_s:
            raise too_often(wait_s, "too many requests from this address")

    def _answered(self, source: str) -> None:
        self._open[source] -= 1
        if not self._open[source]:
            del self._open[source]


class _Told:
    """The ``send`` of one request: sees its status, adds the headers."""

    def __init__(self, scope: Scope, send: Send, began: float) -> None:
        self.status = 0
        self.on_start: Callable[[], None] = lambda: None
        self._scope = scope
        self._send = send
        self._began = began

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.on_start()
            headers: list[Any] = list(message.get("headers", ()))
            there = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in HEADERS.items() if name not in there]
            message["headers"] = headers
        await self._send(message)

    def log(self, source: str, now: float) -> None:
        route = getattr(self._scope.get("route"), "path_format", "-")
        level = (
            logging.DEBUG if self._scope["method"] in ("GET", "HEAD") and self.status < 400 else logging.INFO
        )
        log.log(
            level, "< HTTP %s %s from %s: %d in %.0f ms",
            self._scope["method"][:16], route, source or "-", self.status, (now - self._began) * 1000,
        )  # fmt: skip
