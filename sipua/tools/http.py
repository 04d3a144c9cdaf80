"""Tools behind a URL: one signed POST for a call, one JSON answer.

The signature is that of Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature: HMAC-SHA256 over id, time
and body), which libraries in most languages check; a receiver refuses what is older than five minutes. The id is that
of the call's row in the ledger and also the idempotency key: a request is repeated only where the connection failed,
with the same id. Answers are bounded, redirects are not followed, and no proxy is taken from the environment.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import orjson

from sipua import __version__
from sipua.config_file import SIGNING_PREFIX
from sipua.ports import Clock
from sipua.tools.context import ToolContext
from sipua.tools.files import HttpTool
from sipua.tools.registry import Result, Tool, by_schema
from sipua.tools.schema import Arguments, ToolError

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3.0
RETRIES = 2
BACKOFF_S = 0.2  # doubled
ANSWER_MAX_BYTES = 65_536
ERROR_MAX_CHARS = 300
CONNECTIONS_MAX = 100

UNREACHABLE = "the service that does this cannot be reached: say so, or do without it"
UNREADABLE = "the service that does this gave an answer that cannot be read: do without it"


def signature(secret: str, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks."""
    key = (
        base64.b64decode(secret.removeprefix(SIGNING_PREFIX))
        if secret.startswith(SIGNING_PREFIX)
        else secret.encode()
    )
    signed = f"{id}.{timestamp}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{digest}"}


def request_body(name: str, arguments: Arguments, context: ToolContext) -> bytes:
    call = {
        "id": str(context.call_id),
        "direction": context.direction,
        "caller": context.caller,
        "called": context.called,
        "trunk": context.trunk,
        "country": context.country,
        "locale": context.locale,
    }
    body = {"id": str(context.id), "tool": name, "arguments": dict(arguments), "call": call}
    return json.dumps(body, ensure_ascii=False).encode()


def answer(status: int, body: bytes) -> Result:
    """What the model reads of an answer. An error may explain itself: ``{"error": "…"}``."""
    try:
        value: Any = orjson.loads(body) if body.strip() else {}  # no text of it is half a character
    except orjson.JSONDecodeError:
        value = None
    if not 200 <= status < 300:
        told = value.get("error") if isinstance(value, dict) else None
        what = f": {told[:ERROR_MAX_CHARS]}" if isinstance(told, str) and told else ": do without it"
        raise ToolError(f"the service that does this answered {status}{what}")
    if value is None:
        raise ToolError(UNREADABLE)
    return value if isinstance(value, dict) else {"result": value}


class HttpTools:
    """One client for all of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._client = httpx.AsyncClient(
            headers={"User-Agent": f"sipua/{__version__}", "Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    def tool(self, spec: HttpTool, secret: str) -> Tool:
        async def run(arguments: Arguments, context: ToolContext) -> Result:
            return await self._call(spec, secret, arguments, context)

        parts = urlsplit(spec.url)
        server = f"{parts.scheme}://{parts.netloc}"
        return by_schema(spec.name, spec.description, spec.parameters, spec.timeout_s, run, server)

    async def _call(self, spec: HttpTool, secret: str, arguments: Arguments, context: ToolContext) -> Result:
        body = request_body(spec.name, arguments, context)
        for attempt in range(RETRIES + 1):
            if attempt:
                await asyncio.sleep(BACKOFF_S * 2 ** (attempt - 1))
            timestamp = int(self._clock.now().wall.timestamp())
            headers = signature(secret, str(context.id), timestamp, body)
            headers |= {"Content-Type": "application/json", "Idempotency-Key": str(context.id)}
            if context.traceparent:
                headers["traceparent"] = context.traceparent
            try:
                return answer(*await self._post(spec, headers, body))
            except (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError) as error:
                log.warning("tool %s: attempt %d: %s", spec.name, attempt + 1, _reason(error))
            except httpx.HTTPError as error:
                log.warning("tool %s: %s", spec.name, _reason(error))
                break
        raise ToolError(UNREACHABLE)

    async def _post(self, spec: HttpTool, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        timeout = httpx.Timeout(spec.timeout_s, connect=min(CONNECT_TIMEOUT_S, spec.timeout_s))
        async with self._client.stream(
            "POST", spec.url, headers=dict(headers), content=body, timeout=timeout
        ) as response:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise ToolError(UNREADABLE)
            found = bytearray()
            async for chunk in response.aiter_raw():
                found += chunk
                if len(found) > ANSWER_MAX_BYTES:
                    log.warning("tool %s: an answer of more than %d bytes", spec.name, ANSWER_MAX_BYTES)
                    raise ToolError("the answer of the service that does this is too long: ask for less")
            return response.status_code, bytes(found)


def _reason(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
