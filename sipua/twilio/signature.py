"""``X-Twilio-Signature``: whether Twilio has sent a request, as its account's auth token proves. No I/O, no clock.

Signed is the URL as Twilio saw it, with the port or without (Twilio is not sure of it), and behind it the fields of the
form, sorted, each value once. Of a JSON body the URL has its SHA-256 as ``bodySHA256``, and no fields follow. A shared
key signs with HMAC-SHA256 and says so in a header.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs, urlsplit, urlunsplit

HEADER = "X-Twilio-Signature"
SETTINGS_HEADER = "X-Twilio-Webhooks-Signature-Settings"
_PORTS = {"https": 443, "http": 80}
_ALGORITHMS = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}


def is_signed(
    token: str, url: str, fields: Iterable[tuple[str, str]], body: bytes, signature: str, settings: str = ""
) -> bool:
    """``fields`` of a form, each name as often as it came; ``settings``: the header of that name."""
    algorithm = _ALGORITHMS.get(_algorithm(settings))
    if algorithm is None:
        return False
    told = parse_qs(urlsplit(url).query).get("bodySHA256")
    has_hash = True
    if told is not None and not (fields := list(fields)):
        has_hash = hmac.compare_digest(
            hashlib.sha256(body).hexdigest(), told[0].encode("ascii", "replace").decode()
        )
    text = "".join(name + value for name, value in sorted(set(fields)))
    signed = [
        hmac.compare_digest(_signature(token, each + text, algorithm), signature.encode())
        for each in _both(url)
    ]
    return has_hash and any(signed)


def _signature(token: str, text: str, algorithm: str) -> bytes:
    return base64.b64encode(hmac.new(token.encode(), text.encode("utf-8", "replace"), algorithm).digest())


def _algorithm(settings: str) -> str:
    for part in settings.split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return value.strip().upper()
    return "HMAC_SHA1"


def _both(url: str) -> Iterator[str]:
    """With the port, and without."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    bare = host if parts.port is None else host.rpartition(":")[0]
    yield urlunsplit(parts._replace(netloc=bare))
    yield urlunsplit(parts._replace(netloc=f"{bare}:{parts.port or _PORTS.get(parts.scheme, 443)}"))
