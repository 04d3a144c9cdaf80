"""``/whatsapp``: Meta's webhook. What is answered is ``sipua.webhook``'s; here is how much is read, and how."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from sipua.web.body import declared_length, read_body
from sipua.webhook import BODY_MAX_BYTES, NOT_SIGNED, WhatsAppWebhook
from sipua.whatsapp import is_signature

SMALL_BODY_BYTES = (
    64 << 10
)  # as nearly all webhooks are; larger ones are signed for in a thread (3 MB: 2 ms) …
BODIES_MAX = 2  # … and so many of them read at once, for this loop carries audio

_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "it is signed, and no webhook", **_TEXT},
    401: {"description": "it is not signed by the app", **_TEXT},
    503: {"description": "too many at once", **_TEXT},
}
_SIGNED: dict[str, Any] = {
    "parameters": [
        {
            "name": "X-Hub-Signature-256", "in": "header", "required": True,
            "schema": {"type": "string", "pattern": "^sha256=[0-9a-f]{64}$"},
        }
    ],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
}  # fmt: skip
_QUERY: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}
        for name in ("hub.mode", "hub.verify_token", "hub.challenge")
    ]
}


def whatsapp_router(webhook: WhatsAppWebhook) -> APIRouter:
    router = APIRouter(tags=["webhooks"])
    room = asyncio.Semaphore(BODIES_MAX)

    @router.get(
        "/whatsapp", summary="Meta asks who entered the webhook", openapi_extra=_QUERY,
        responses={200: {"description": "the challenge", **_TEXT}, 403: {"description": "not the token", **_TEXT}},
    )  # fmt: skip
    async def verified(request: Request) -> Response:
        status, text = webhook.verified(request.query_params)
        return PlainTextResponse(text, status)

    @router.post(
        "/whatsapp", summary="Meta tells of messages", openapi_extra=_SIGNED,
        responses={200: {"description": "taken", **_TEXT}, **_REFUSALS},
    )  # fmt: skip
    async def whatsapp(request: Request) -> Response:
        signature = request.headers.get("X-Hub-Signature-256", "")
        if not is_signature(signature):
            return PlainTextResponse(NOT_SIGNED[1], NOT_SIGNED[0], headers={"Connection": "close"})
        length = declared_length(request)
        if length is not None and length <= SMALL_BODY_BYTES:
            return await received(request, signature)
        if room.locked():
            return PlainTextResponse("busy", 503, headers={"Retry-After": "5"})
        async with room:
            return await received(request, signature)

    async def received(request: Request, signature: str) -> Response:
        body = await read_body(request, BODY_MAX_BYTES)
        if len(body) > SMALL_BODY_BYTES:
            signed = await asyncio.to_thread(webhook.is_signed, body, signature)
        else:
            signed = webhook.is_signed(body, signature)
        status, text = webhook.told(body) if signed else NOT_SIGNED
        return PlainTextResponse(text, status)

    return router
