"""Requests about calls that OpenAI's SIP terminates: accept, reject, refer, hang up. Errors in our tree.

A call that is gone (404) is no fault of anybody's: its caller has hung up. Nothing is followed or taken from the
environment, answers are bounded by not being read beyond their first kilobytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from sipua import __version__
from sipua.errors import RealtimeError, RealtimeUnreachable, RemoteError
from sipua.realtime import parse
from sipua.realtime.backend import OpenAIBackend
from sipua.realtime.config import SessionConfig
from sipua.realtime.connect import error_code, refusal
from sipua.realtime.events import ServiceError
from sipua.realtime.hints import without_refused

log = logging.getLogger(__name__)

REQUEST_S = 5.0  # one request; the caller hears ringing meanwhile
PAUSES_S = (0.3, 1.0)  # between tries of what may pass
ANSWER_MAX_BYTES = 16 << 10
HINTS_MAX = 3  # language, prompt, log probabilities: each may be refused once


class CallGone(RemoteError):
    """There is no such call (any more)."""

    reason = "call_gone"


class OpenAICalls:
    """To be entered, for its connections."""

    def __init__(self, backend: OpenAIBackend, *, pauses_s: tuple[float, ...] = PAUSES_S) -> None:
        self._backend = backend
        self._pauses_s = pauses_s
        self._client = httpx.AsyncClient(
            headers={"User-Agent": f"sipua/{__version__}"},
            timeout=httpx.Timeout(REQUEST_S),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def accept(self, call_id: str, config: SessionConfig) -> SessionConfig:
        """Answers it. What its session is in the end: a hint that is refused must not cost the call.

        Raises CallGone or RealtimeError.
        """
        for left in reversed(range(HINTS_MAX + 1)):
            status, body, is_repeated = await self._post(call_id, "accept", session_of(config))
            if status < 300 or (is_repeated and status in (400, 409)):
                return config  # an answer that was lost may have been a yes: the sideband tells
            instead = without_refused(config.transcription, _fault(body)) if status == 400 else None
            if instead is None or not left:
                raise self._error("accept", status, body)
            config = replace(config, transcription=instead)
        raise AssertionError("the last try returns or raises")

    async def reject(self, call_id: str, code: int) -> None:
        """Its caller gets this SIP status."""
        await self._done(call_id, "reject", {"status_code": code})

    async def refer(self, call_id: str, target: str) -> None:
        """REFER to a URI goes to its caller's side."""
        await self._done(call_id, "refer", {"target_uri": target})

    async def hang_up(self, call_id: str) -> None:
        await self._done(call_id, "hangup", None)

    async def _done(self, call_id: str, action: str, body: Mapping[str, Any] | None) -> None:
        status, answer, _ = await self._post(call_id, action, body)
        if status >= 300:
            raise self._error(action, status, answer)

    async def _post(
        self, call_id: str, action: str, body: Mapping[str, Any] | None
    ) -> tuple[int, bytes, bool]:
        """Status, body, and whether it was asked before; tried again where that can help.

        RealtimeUnreachable if there was no answer.
        """
        endpoint = self._backend.about_call(call_id, action)
        headers = dict(endpoint.headers) | ({"Content-Type": "application/json"} if body is not None else {})
        content = orjson.dumps(body) if body is not None else b""
        why = ""
        for pause_s in (*self._pauses_s, None):
            try:
                async with (
                    asyncio.timeout(REQUEST_S),
                    self._client.stream("POST", endpoint.url, headers=headers, content=content) as response,
                ):
                    answer = b""
                    async for chunk in response.aiter_bytes():
                        answer += chunk
                        if len(answer) > ANSWER_MAX_BYTES:
                            break
                if response.status_code < 500 and response.status_code not in (408, 429):
                    return response.status_code, answer, bool(why)
                why = f"HTTP {response.status_code}"
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
                why = type(error).__name__
            if pause_s is not None:
                log.warning("%s: %s of a call failed (%s), tried again", endpoint.host, action, why)
                await asyncio.sleep(pause_s)
        raise RealtimeUnreachable(f"{endpoint.host}: {action} of a call failed: {why}")

    def _error(self, action: str, status: int, body: bytes) -> RemoteError:
        if status == HTTPStatus.NOT_FOUND:
            return CallGone(f"{action}: there is no such call")
        host = self._backend.endpoint("any").host
        code = error_code(body)
        error: RealtimeError = refusal(
            f"{host}: HTTP {status}" + (f" ({code})" if code else ""), status, code, f"at {action} of a call"
        )
        return error


def session_of(config: SessionConfig) -> dict[str, Any]:
    """The body of accept: formats are what the service has agreed on with the carrier."""
    session = config.to_session() | {"model": config.model}
    for direction in ("input", "output"):
        session["audio"][direction].pop("format")
    return session


def _fault(body: bytes) -> ServiceError:
    try:
        wire = orjson.loads(body)
    except orjson.JSONDecodeError:
        wire = {}
    return parse.error(wire if isinstance(wire, dict) else {})
