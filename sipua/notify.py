"""Tells somebody outside: a signed POST, or a program that is given the same on stdin. One try, or NotTold."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from datetime import datetime

import httpx

from sipua import __version__
from sipua.children import plain_environment
from sipua.errors import RemoteError
from sipua.tools.http import CONNECT_TIMEOUT_S, signature

TRY_S = 15.0
Client = httpx.AsyncClient


class NotTold(RemoteError):
    """This time."""

    reason = "not_told"


def http_client() -> Client:
    """To be entered or closed. No redirects, no proxy of the environment."""
    return Client(
        headers={"User-Agent": f"sipua/{__version__}", "Content-Type": "application/json"},
        timeout=httpx.Timeout(TRY_S, connect=CONNECT_TIMEOUT_S),
        follow_redirects=False,
        trust_env=False,
    )


async def post_signed(
    client: Client, where: str, url: str, secret: str, id: str, body: bytes, now: datetime
) -> None:
    """``where`` names the setting. The answer's body is not read."""
    headers = signature(secret, id, int(now.timestamp()), body) | {"Idempotency-Key": id}
    try:
        async with client.stream("POST", url, headers=headers, content=body) as response:
            status = response.status_code
    except httpx.HTTPError as error:
        raise NotTold(f"{where}: {str(error) or type(error).__name__}") from None
    if not 200 <= status < 300:
        raise NotTold(f"{where} answered {status}")


async def run_told(where: str, command: Sequence[str], body: bytes) -> None:
    """A session of its own: with a command that takes too long those go that it has started."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            env=plain_environment(), start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise NotTold(f"{where}: {error}") from None
    try:
        await process.communicate(body)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise NotTold(f"{where} ended with {process.returncode}")
