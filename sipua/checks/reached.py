"""Whether anybody listens behind a URL."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from sipua.checks.report import Check

CONNECT_S = 5.0


async def reached(name: str, url: str) -> Check:
    """Connected to; nothing is asked."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(parts.hostname, port, ssl=parts.scheme == "https")
            writer.close()
    except (OSError, TimeoutError) as error:
        why = str(error) or f"nothing within {CONNECT_S:g} s"
        return Check(name, "fail", f"{parts.hostname}:{port}: {why}", "start the service, or mend url")
    return Check(name, "ok", f"{parts.hostname}:{port} answers")
