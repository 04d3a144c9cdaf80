"""The border to websockets: opening a connection, and its errors mapped once into ours.

Theory: a refusal can come as an HTTP status at the upgrade or as an ``error`` event after it; both become
the same errors here and in the core. 4xx is for good (key, model, URL), 429 and 5xx may pass, everything
below HTTP is "unreachable". websockets logs headers and frames at DEBUG, which would put keys and speech
into a log: its logger is ours and never goes below INFO. Redirects are not followed: the key belongs to one
host.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from sipua.errors import RealtimeClosed, RealtimeError, RealtimeRefused, RealtimeUnreachable
from sipua.realtime.endpoint import Endpoint
from sipua.realtime.severity import Severity, severity_of

MAX_FRAME_BYTES = 16 << 20  # of one message: the service's own limit for an append is 15 MiB
CLOSE_TIMEOUT_S = 1.0  # the closing handshake; after it the socket is cut
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 20.0
# Beyond 8 KiB (half a second of G.711) in its buffer we queue ourselves, where it shows how far behind the service is.
WRITE_LIMIT_BYTES = (8192, 2048)

wire_logger = logging.getLogger("sipua.realtime.websocket")
wire_logger.setLevel(logging.INFO)

WHAT_TO_CHECK = {
    400: "check the model and that OPENAI_BASE_URL is a GA Realtime service",
    401: "check OPENAI_API_KEY",
    403: "check that OPENAI_API_KEY may use this model",
    404: "check OPENAI_BASE_URL and the model",
}


class _Connect(ws_connect):
    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def connect(endpoint: Endpoint, timeout_s: float) -> ClientConnection:
    """An open connection. Raises RealtimeUnreachable or RealtimeRefused: the host and what to check."""
    host = endpoint.host
    try:
        return await _Connect(
            endpoint.url,
            additional_headers=endpoint.headers,
            user_agent_header="sipua",
            compression=None,
            max_size=MAX_FRAME_BYTES,
            proxy=None,
            open_timeout=timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            write_limit=WRITE_LIMIT_BYTES,
            logger=wire_logger,
        )
    except TimeoutError as exc:
        raise RealtimeUnreachable(f"{host}: no answer within {timeout_s:g} s; check OPENAI_BASE_URL") from exc
    except OSError as exc:  # DNS, refused, TLS
        raise RealtimeUnreachable(f"{host}: {exc.strerror or exc}; check OPENAI_BASE_URL") from exc
    except InvalidStatus as exc:
        raise _refused_upgrade(host, exc) from exc
    except (InvalidHandshake, ConnectionClosed, WebSocketException) as exc:
        raise RealtimeUnreachable(f"{host}: does not speak WebSocket ({exc}); check OPENAI_BASE_URL") from exc


def _refused_upgrade(host: str, exc: InvalidStatus) -> RealtimeError:
    status = exc.response.status_code
    code = error_code(exc.response.body)
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = exc.response.reason_phrase
    what = f"{host}: HTTP {status} {phrase}" + (f" ({code})" if code else "")
    return refusal(what, status, code, "at the WebSocket upgrade")


def refusal(what: str, status: int, code: str | None, where: str) -> RealtimeError:
    """The error that an HTTP status is; ``what`` names host, status and code."""
    fatal = severity_of(code) is Severity.FATAL_ACCOUNT
    error: RealtimeError
    if not fatal and (status >= 500 or status in (408, 429)):
        error = RealtimeUnreachable(f"{what} {where}; try again later", code=code)
    else:
        hint = WHAT_TO_CHECK.get(status, "check OPENAI_BASE_URL, OPENAI_API_KEY and the model")
        error = RealtimeRefused(f"{what}; {hint}", code=code)
    error.http_status = status
    return error


def error_code(body: bytes | bytearray | None) -> str | None:
    """The service's error code in a JSON body; its message is left out, it may quote the key."""
    try:
        error = orjson.loads(body or b"")["error"]
        code = error["code"] or error["type"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return code if isinstance(code, str) and len(code) <= 80 else None


def closed_error(host: str, exc: ConnectionClosed, code: str | None) -> RealtimeClosed:
    """The end of a connection; ``code`` is the last error code of the service, if it sent one."""
    frame = exc.rcvd
    reason = frame.reason[:120] if frame is not None else ""
    if code is None and reason and reason.replace("_", "").isalnum():
        code = reason
    if frame is not None:
        how = f"closed by the service with {frame.code}" + (f" ({reason})" if reason else "")
    elif exc.sent is not None:
        how = f"given up: {exc.sent.reason or exc.sent.code}"
    else:
        how = "lost without a close frame"
    what = f"{host}: connection {how}" + (f" after error {code}" if code and code != reason else "")
    error = RealtimeClosed(what, close_code=frame.code if frame is not None else 0, code=code)
    if severity_of(code) is Severity.FATAL_ACCOUNT:
        error.retryable = False
    return error


def closed_while_opening(host: str, exc: ConnectionClosed, code: str | None) -> RealtimeError:
    """As `closed_error`, before the session was ready: what must never be retried is a refusal."""
    error = closed_error(host, exc, code)
    return error if error.retryable else RealtimeRefused(str(error), code=error.code)


async def say_goodbye(ws: ClientConnection) -> None:
    """The closing handshake, bounded: a peer that takes no data would hold ``close`` in its drain."""
    try:
        async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
            await ws.close()
    except TimeoutError:
        ws.transport.abort()
