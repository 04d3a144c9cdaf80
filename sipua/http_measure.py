"""Requests of the HTTP server, counted by the route that took them: a layer around any ASGI application.

A path is somebody else's; only the template that it matched becomes a label.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sipua.metric_families import OTHER
from sipua.metrics import Metrics
from sipua.ports import Clock

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def measured(app: App, metrics: Metrics, clock: Clock) -> App:
    """``app``, and its requests in ``metrics``; 0 for one that got no answer."""

    async def around(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        began, code = clock.now().monotonic, 0

        async def counted(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await app(scope, receive, counted)
        finally:
            route = str(getattr(scope.get("route"), "path", "")) or OTHER
            method = scope["method"] if scope["method"] in METHODS else OTHER
            metrics.http_requests.labels(method, route, code).inc()
            metrics.http_seconds.labels(route).observe(clock.now().monotonic - began)

    return around
