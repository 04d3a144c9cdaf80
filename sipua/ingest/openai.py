"""Client secrets: keys with which somebody else opens a Realtime session that is configured as ours are.

What the service refuses becomes one of the errors that the voice sessions have; keys stand in headers and in the
answer alone, never in an error or a log line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx

from sipua import __version__
from sipua.errors import RealtimeError, RealtimeRefused, RealtimeRejectedConfig, RealtimeUnreachable
from sipua.realtime.config import SessionConfig
from sipua.realtime.endpoint import Endpoint
from sipua.realtime.events import ServiceError
from sipua.realtime.hints import without_refused
from sipua.realtime.severity import SEVERITY_BY_CODE, Severity

TIMEOUT_S = 8.0  # of a secret, with what is tried again
CONNECT_TIMEOUT_S = 3.0
PAUSE_S = 0.3  # before what may have passed is tried again
TRIES = 3
BODY_MAX = 262_144  # bytes of an answer


class Endpoints(Protocol):
    """``sipua.realtime.backend.OpenAIBackend``, as far as it is needed here."""

    def endpoint(self, model: str) -> Endpoint: ...


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """``session_id`` is the service's, "" if it told none."""

    value: str = field(repr=False)
    expires_at: int  # seconds since 1970
    session_id: str
    session: Mapping[str, Any]


class OpenAIHttp:
    """One per process; to be entered, for its connections."""

    def __init__(self, endpoints: Endpoints, model: str) -> None:
        self._endpoints = endpoints
        self._model = model
        self._client = httpx.AsyncClient(
            headers={"User-Agent": f"sipua/{__version__}"},
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def client_secret(self, config: SessionConfig, lifetime_s: int) -> ClientSecret:
        """For a session as configured. RealtimeError; a refused hint of a language is left out instead."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._until_told(config, lifetime_s)
        except TimeoutError:
            raise RealtimeUnreachable(f"no client secret within {TIMEOUT_S:g} s") from None

    async def _until_told(self, config: SessionConfig, lifetime_s: int) -> ClientSecret:
        left = TRIES
        while True:
            left -= 1
            try:
                return await self._asked(config, lifetime_s)
            except _Refused as refused:
                instead = without_refused(config.transcription, refused.error)
                if instead is None or not left:
                    raise refused.meant from None
                config = replace(config, transcription=instead)
            except RealtimeUnreachable:
                if not left:
                    raise
                await asyncio.sleep(PAUSE_S)

    async def _asked(self, config: SessionConfig, lifetime_s: int) -> ClientSecret:
        body = {
            "expires_after": {"anchor": "created_at", "seconds": lifetime_s},
            "session": {"model": config.model, **config.to_session()},
        }
        status, told = await self._post("/client_secrets", body)
        if status != 200:
            raise _refused(status, told)
        value, expires_at, session = told.get("value"), told.get("expires_at"), told.get("session")
        if not isinstance(value, str) or not value or type(expires_at) is not int:
            raise RealtimeRejectedConfig("the voice service's answer holds no client secret")
        known = session if isinstance(session, dict) else {}
        session_id = known.get("id")
        return ClientSecret(value, expires_at, session_id if isinstance(session_id, str) else "", known)

    async def _post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
        endpoint = self._endpoints.endpoint(self._model)
        url = http_url(endpoint.url, path)
        try:
            async with self._client.stream("POST", url, headers=dict(endpoint.headers), json=body) as answer:
                read = bytearray()
                async for chunk in answer.aiter_bytes():
                    read += chunk
                    if len(read) > BODY_MAX:
                        raise RealtimeRejectedConfig(f"an answer of more than {BODY_MAX} bytes")
        except httpx.HTTPError as error:
            raise RealtimeUnreachable(f"{endpoint.host}: {str(error) or type(error).__name__}") from None
        return answer.status_code, _document(answer, bytes(read))


class _Refused(Exception):
    """Not by what it may have been asked later: ``error`` as an event would say it, ``meant`` for whoever asked."""

    def __init__(self, error: ServiceError, meant: RealtimeError) -> None:
        super().__init__()
        self.error = error
        self.meant = meant


def http_url(websocket_url: str, path: str) -> str:
    """Of the HTTP interface beside a session's WebSocket, which has the model in its query."""
    parts = urlsplit(websocket_url)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "model"]
    scheme = {"ws": "http", "wss": "https"}[parts.scheme]
    return urlunsplit((scheme, parts.netloc, parts.path + path, urlencode(query), ""))


def _document(answer: httpx.Response, body: bytes) -> Mapping[str, Any]:
    try:
        found = httpx.Response(answer.status_code, content=body).json()
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _refused(status: int, told: Mapping[str, Any]) -> Exception:
    """What an answer that is no 200 means: of the account, of what was asked, or of the moment."""
    found = told.get("error")
    error = found if isinstance(found, dict) else {}
    code, message, param = (
        text[:500] if isinstance(text := error.get(name), str) else None
        for name in ("code", "message", "param")
    )
    severity = SEVERITY_BY_CODE.get(code or "")
    said = f"the voice service answered {status}{f' {code}' if code else ''}"
    if severity is Severity.FATAL_ACCOUNT or status in (401, 403):
        return RealtimeRefused(said, code=code)
    if status == 429 or status >= 500 or severity is Severity.RETRY_ONCE:
        return RealtimeUnreachable(said, code=code)
    meant = RealtimeRejectedConfig(f"{said}{f' at {param}' if param else ''}", code=code)
    error_event = ServiceError(code, message or "", param, event_id=None, severity=Severity.FATAL_CALL)
    return _Refused(error_event, meant)
