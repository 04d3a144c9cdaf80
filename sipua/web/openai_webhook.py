"""``POST /webhooks/openai``: whether OpenAI has signed it is known before a byte of it is understood.

Who sends no signature of the right time is answered before the body is read, which is bounded; nothing is written for
a webhook that is refused, but a count and now and then a line in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from sipua.metrics import Metrics
from sipua.openai_webhook import BODY_MAX_BYTES, NotAnEvent, Told, read_event
from sipua.ports import Clock
from sipua.seldom import Seldom
from sipua.signed_webhook import Refusal, is_signed, stamp_of
from sipua.web.body import read_body
from sipua.web.guard import source_of
from sipua.web.problem import Problem, problems

log = logging.getLogger(__name__)

PATH = "/webhooks/openai"
WHY = {
    Refusal.UNSIGNED: "webhook-id, webhook-timestamp and webhook-signature (v1,…) are needed",
    Refusal.STALE: "webhook-timestamp is more than five minutes off",
    Refusal.FORGED: "no secret of ours made webhook-signature",
}
_SIGNED: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    ],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
}
_ANSWER = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"enum": ["accepted", "rejected", "ignored", "noted", "duplicate"]}},
}


_TAKEN: dict[int | str, dict[str, Any]] = {
    200: {"description": "taken", "content": {"application/json": {"schema": _ANSWER}}}
}


def openai_webhook_router(
    secrets: Sequence[bytes], received: Callable[[Told], Awaitable[str]], metrics: Metrics, clock: Clock
) -> APIRouter:
    """``received`` says what was made of one that is genuine."""
    router = APIRouter(tags=["webhooks"])
    told_of = Seldom()

    def refused(request: Request, why: Refusal) -> Problem:
        metrics.webhooks.labels("unknown", why.value).inc()
        source = source_of(request)
        unsaid = told_of.unsaid((source, why), clock.now().monotonic)
        if unsaid is not None:
            more = f" ({unsaid} like it were not logged)" if unsaid else ""
            log.warning("< a webhook from %s is refused: %s%s", source or "-", why.value, more)
        return Problem(401, WHY[why], reason=why.value, headers={"Connection": "close"})

    @router.post(
        PATH, summary="OpenAI tells of something", openapi_extra=_SIGNED,
        responses=_TAKEN | problems(_400="it is signed, and no event", _401="it is not signed, or not now"),
    )  # fmt: skip
    async def openai(request: Request) -> Response:
        stamp = stamp_of(request.headers, clock.now().wall.timestamp())
        if isinstance(stamp, Refusal):
            raise refused(request, stamp)
        body = await read_body(request, BODY_MAX_BYTES)
        if not is_signed(stamp, body, secrets):
            raise refused(request, Refusal.FORGED)
        try:
            told = read_event(stamp.id, body)
        except NotAnEvent as error:
            metrics.webhooks.labels("unknown", "invalid").inc()
            log.warning("webhook %s is signed, and no event: %s", stamp.id, error)
            raise Problem(400, str(error), reason="invalid") from None
        return Response(orjson.dumps({"status": await received(told)}), media_type="application/json")

    return router
