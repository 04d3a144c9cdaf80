"""Webhooks as the service signs and sends them (Standard Webhooks). An implementation of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import urllib.error
import urllib.request
from collections.abc import Mapping

import orjson

from sipua.errors import ConfigError, LocalError

from .wire import Event

TIMEOUT_S = 10.0
USER_AGENT = "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks; emulated)"


def key_of(secret: str) -> bytes:
    """Of a whsec_ secret. ConfigError if it is none."""
    try:
        return base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ConfigError("--webhook-secret: the file holds no whsec_ secret in base64") from None


def headers_of(key: bytes, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    digest = hmac.new(key, b".".join((id.encode(), str(timestamp).encode(), body)), hashlib.sha256).digest()
    return {
        "User-Agent": USER_AGENT,
        "Content-Type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def incoming(event_id: str, call_id: str, headers: Mapping[str, str], created_at: int) -> Event:
    """``realtime.call.incoming``."""
    listed = [{"name": name, "value": value} for name, value in headers.items()]
    return {
        "object": "event",
        "id": event_id,
        "type": "realtime.call.incoming",
        "created_at": created_at,
        "data": {"call_id": call_id, "sip_headers": listed, "sip_media_security": "srtp"},
    }


def deliver(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """The status of the answer; blocks. Raises LocalError if there is none."""
    request = urllib.request.Request(url, body, dict(headers), method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return int(refusal.code)
    except OSError as error:
        raise LocalError(f"the webhook could not be delivered: {error}") from error


def encoded(event: Event) -> bytes:
    return orjson.dumps(event)
