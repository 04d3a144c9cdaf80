"""Where callers' words may be sent: over TLS, or where nobody else listens."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def check_url(url: str, key: str = "url") -> None:
    """ValueError names ``key`` and says what is allowed."""
    try:
        parts = urlsplit(url)
        is_whole = (
            url.isprintable() and " " not in url and parts.port != 0
        )  # ``port`` raises where it is none
    except ValueError as error:
        raise ValueError(f"{key} = {url!r}: {error}; allowed: https://HOST/…") from None
    if not is_whole or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{key} = {url!r}: not a URL; allowed: https://HOST/…")
    if parts.username or parts.password:
        raise ValueError(f"{key}: a secret does not belong in it; use secret_env or secret_file")
    if parts.scheme == "http" and not _is_near(parts.hostname):
        raise ValueError(f"{key} = {url!r}: callers' words would cross the network unencrypted; use https")


def _is_near(host: str) -> bool:
    """This machine, or a network of our own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_private
