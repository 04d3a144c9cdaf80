"""Signed links: whoever has one may fetch one thing for a short time, without a token. No I/O; ``now`` is Unix time.

The key is the process's own and dies with it, as all links from before do.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

LINK_S = 300


class BadLink(Exception):
    """It was not signed here, or not for this."""


class ExpiredLink(BadLink):
    """It was good once."""


@dataclass(frozen=True)
class Links:
    """``base`` is what links begin with: "" makes them relative to the server."""

    base: str = ""
    valid_s: int = LINK_S
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def to(self, path: str, now: float) -> tuple[str, int]:
        """The link to ``path`` and when it expires."""
        expires = int(now) + self.valid_s
        return f"{self.base}{path}?expires={expires}&signature={self._signature(path, expires)}", expires

    def check(self, path: str, expires: str, signature: str, now: float) -> None:
        """Raises BadLink, ExpiredLink."""
        until = int(expires) if expires.isascii() and expires.isdecimal() and len(expires) <= 12 else 0
        right = self._signature(path, until)
        if not hmac.compare_digest(right.encode(), signature.encode("utf-8", "surrogateescape")):
            raise BadLink
        if now >= until:
            raise ExpiredLink

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(self.key, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()
