"""Standard Webhooks: whether a request was signed with a secret of ours, just now. No I/O, no clock.

``webhook-signature`` holds one or several ``v1,BASE64`` apart by spaces (a sender that changes its secret signs with
both), and any of our secrets may have made any of them. Signed is ``ID.TIMESTAMP.BODY``, HMAC-SHA256. The timestamp is
that of the delivery, so a replay older than ``TOLERANCE_S`` is refused; a younger one is known by its id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sipua.errors import ConfigError

TOLERANCE_S = 300  # of both clocks, and of the way here
SECRETS_MAX = 8
SIGNATURES_MAX = 8  # of one request: each costs a comparison for each secret
PREFIX = "whsec_"
KEY_MIN_BYTES = 16  # what is shorter is a slip, not a key
_ID = re.compile(r"[!-~]{1,256}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_SIGNATURE = re.compile(r"v1,([A-Za-z0-9+/]{43}=)")


class Refusal(StrEnum):
    """Why it is not believed."""

    UNSIGNED = "unsigned"  # a header is missing, or is none of this scheme
    STALE = "stale"  # too old, or from the future
    FORGED = "forged"


@dataclass(frozen=True, slots=True)
class Stamp:
    """The headers of a request whose time is right; whether it is genuine says ``is_signed``."""

    id: str
    timestamp: str
    signatures: tuple[str, ...]


def stamp_of(headers: Mapping[str, str], now: float) -> Stamp | Refusal:
    """Before the body is read. ``headers`` in lower case, ``now`` in Unix seconds."""
    id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    signatures = tuple(
        found[1]
        for part in headers.get("webhook-signature", "")[:4096].split()
        if (found := _SIGNATURE.fullmatch(part))
    )
    if not (_ID.fullmatch(id) and _SECONDS.fullmatch(timestamp) and signatures):
        return Refusal.UNSIGNED
    if abs(now - int(timestamp)) > TOLERANCE_S:
        return Refusal.STALE
    return Stamp(id, timestamp, signatures[:SIGNATURES_MAX])


def is_signed(stamp: Stamp, body: bytes, secrets: Sequence[bytes]) -> bool:
    """By one of the secrets; takes as long whichever it was."""
    signed = f"{stamp.id}.{stamp.timestamp}.".encode() + body
    found = False
    for secret in secrets:
        digest = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
        for signature in stamp.signatures:
            found |= hmac.compare_digest(digest, signature)
    return found


def read_secrets(where: str, text: str) -> tuple[bytes, ...]:
    """The keys of a file, a secret a line, ``#`` for remarks. ConfigError names ``where``, never what stands there."""
    lines = [line.strip() for line in text.splitlines()]
    given = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= len(given) <= SECRETS_MAX:
        raise ConfigError(f"{where}: {len(given)} secrets; allowed: 1 to {SECRETS_MAX}, one a line")
    return tuple(_key(where, number, line) for number, line in enumerate(given, 1))


def _key(where: str, number: int, line: str) -> bytes:
    allowed = f"allowed: {PREFIX} and base64 of at least {KEY_MIN_BYTES} bytes, as OpenAI shows it"
    if not line.startswith(PREFIX):
        raise ConfigError(f"{where}: secret {number} does not begin with {PREFIX}; {allowed}")
    try:
        key = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise ConfigError(f"{where}: secret {number} is no base64; {allowed}") from None
    if len(key) < KEY_MIN_BYTES:
        raise ConfigError(f"{where}: secret {number} is too short; {allowed}")
    return key
