"""Tells somebody that a caller wants to be called back: a signed POST, a command, or both.

Each is tried again with pauses, and not for ever: what nobody could be told is logged, and ``notified_at`` of its row
stays NULL (``sipua callbacks`` shows it). What still waits at the end of the process counts as not told. The body has
the form of Standard Webhooks, and is the command's stdin; its ``id`` is that of the row, by which a receiver knows a
repetition.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from types import TracebackType
from typing import Self
from uuid import UUID

from sipua.callback_settings import CallbackSettings
from sipua.metrics import Metrics
from sipua.notify import TRY_S, NotTold, http_client, post_signed, run_told
from sipua.ports import Clock
from sipua.tools.callback import Wish

log = logging.getLogger(__name__)

PAUSES_S = (2.0, 10.0, 60.0, 300.0)  # between the tries
END_S = 3.0  # for what waits when the process ends
WAITING_MAX = 256  # requests that are being told; more are left to `sipua callbacks`


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
        self._client = http_client()

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
        url, now = self._settings.notify_url, self._clock.now().wall
        await post_signed(self._client, "callbacks.notify_url", url, self._secret, str(id), body, now)

    async def _run(self, id: UUID, body: bytes) -> None:
        await run_told("callbacks.notify_command", self._settings.notify_command, body)


def body_of(wish: Wish) -> bytes:
    """What is told."""
    data = asdict(wish) | {"id": str(wish.id), "call_id": str(wish.call_id)}
    at: datetime = data.pop("at")
    return json.dumps({"type": "callback.requested", "timestamp": at.isoformat(), "data": data}).encode()
