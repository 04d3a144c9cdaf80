"""Tells somebody that a caller wants to be called back: a signed POST, a command, or both.

Each is tried again with pauses, and not for ever: what nobody could be told is logged, and ``notified_at`` of its row
stays NULL (``sipua callbacks`` shows it). What still waits at the end of the process counts as not told. The body has
the form of Standard Webhooks, and is the command's stdin; its ``id`` is that of the row, by which a receiver knows a
repetition.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx

from sipua import __version__
from sipua.callback_settings import CallbackSettings
from sipua.children import plain_environment
from sipua.errors import RemoteError
from sipua.metrics import Metrics
from sipua.ports import Clock
from sipua.tools.callback import Wish
from sipua.tools.http import CONNECT_TIMEOUT_S, signature

log = logging.getLogger(__name__)

PAUSES_S = (2.0, 10.0, 60.0, 300.0)  # between the tries
TRY_S = 15.0
END_S = 3.0  # for what waits when the process ends
WAITING_MAX = 256  # requests that are being told; more are left to `sipua callbacks`


class NotTold(RemoteError):
    """This time."""

    reason = "not_told"


Channel = Callable[[UUID, bytes], Awaitable[None]]


class CallbackNotifier:
    """One per process; to be entered, for its connections. ``on_told`` notes that somebody knows."""

    def __init__(
        self,
        settings: CallbackSettings,
        secret: str,
        on_told: Callable[[UUID], None],
        metrics: Metrics,
        clock: Clock,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._on_told = on_told
        self._metrics = metrics
        self._clock = clock
        self._pauses_s = pauses_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._channels: list[Channel] = []
        if settings.notify_url:
            self._channels.append(self._post)
        if settings.notify_command:
            self._channels.append(self._run)
        self._client = httpx.AsyncClient(
            headers={"User-Agent": f"sipua/{__version__}", "Content-Type": "application/json"},
            timeout=httpx.Timeout(TRY_S, connect=CONNECT_TIMEOUT_S),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_S)
        if self._tasks:
            log.warning("%d call-back requests have been told to nobody: sipua callbacks", len(self._tasks))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    def tell(self, wish: Wish) -> None:
        """Begins to. Never blocks."""
        if not self._channels:
            return
        if len(self._tasks) >= WAITING_MAX:
            self._failed(wish, f"{WAITING_MAX} others wait")
            return
        task = asyncio.create_task(self._tell(wish), name="callback-notification")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, wish: Wish) -> None:
        body, left, why = body_of(wish), list(self._channels), ""
        for pause_s in (0.0, *self._pauses_s):
            await asyncio.sleep(pause_s)
            for channel in tuple(left):
                try:
                    async with asyncio.timeout(TRY_S):
                        await channel(wish.id, body)
                except (NotTold, TimeoutError) as error:
                    why = str(error) or f"no answer within {TRY_S:g} s"
                    log.warning("call=%s call-back %s: %s", wish.call_id, wish.reference, why)
                else:
                    left.remove(channel)
            if not left:
                self._metrics.callbacks.labels("told").inc()
                self._on_told(wish.id)
                return
        self._failed(wish, why)

    def _failed(self, wish: Wish, why: str) -> None:
        self._metrics.callbacks.labels("failed").inc()
        log.error("call=%s call-back %s: nobody could be told: %s", wish.call_id, wish.reference, why)

    async def _post(self, id: UUID, body: bytes) -> None:
        timestamp = int(self._clock.now().wall.timestamp())
        headers = signature(self._secret, str(id), timestamp, body) | {"Idempotency-Key": str(id)}
        try:
            async with self._client.stream(
                "POST", self._settings.notify_url, headers=headers, content=body
            ) as response:
                status = response.status_code
        except httpx.HTTPError as error:
            raise NotTold(f"callbacks.notify_url: {str(error) or type(error).__name__}") from None
        if not 200 <= status < 300:
            raise NotTold(f"callbacks.notify_url answered {status}")

    async def _run(self, id: UUID, body: bytes) -> None:
        """A session of its own: with a command that takes too long those go that it has started."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._settings.notify_command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
                env=plain_environment(), start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise NotTold(f"callbacks.notify_command: {error}") from None
        try:
            await process.communicate(body)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            raise NotTold(f"callbacks.notify_command ended with {process.returncode}")


def body_of(wish: Wish) -> bytes:
    """What is told."""
    data = asdict(wish) | {"id": str(wish.id), "call_id": str(wish.call_id)}
    at: datetime = data.pop("at")
    return json.dumps({"type": "callback.requested", "timestamp": at.isoformat(), "data": data}).encode()
