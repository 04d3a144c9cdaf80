"""Calls that dead processes left at OpenAI's SIP: nobody talks in them any more, and each minute costs. Hung up.

Besides everything else: nothing waits for it, and one that cannot be ended is said in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sipua.errors import RemoteError
from sipua.openai_calls import CallGone, OpenAICalls
from sipua.realtime.backend import OpenAIBackend
from sipua.tasks import tell_of_a_bug

log = logging.getLogger(__name__)

WAITING_MAX = 1000  # calls; the rest of such a crash ends by the service's own limit
HANG_UP_S = 15.0  # of one, tries included


class LeftCalls:
    """``take`` from anywhere on the loop; ``run`` ends them, one after another, until it is cancelled."""

    def __init__(self, backend: OpenAIBackend) -> None:
        self._backend = backend
        self._waiting: asyncio.Queue[str] = asyncio.Queue(WAITING_MAX)

    def take(self, call_ids: Sequence[str]) -> None:
        """Their ids at OpenAI."""
        for place, id in enumerate(call_ids):
            try:
                self._waiting.put_nowait(id)
            except asyncio.QueueFull:
                log.error("%d calls that were left at the voice service are not ended", len(call_ids) - place)
                return

    async def run(self) -> None:
        async with OpenAICalls(self._backend) as calls:
            while True:
                await self._end(calls, await self._waiting.get())

    async def _end(self, calls: OpenAICalls, id: str) -> None:
        try:
            async with asyncio.timeout(HANG_UP_S):
                await calls.hang_up(id)
            log.warning("a call that a dead process had left at the voice service was ended")
        except CallGone:
            log.info("a call that a dead process had left at the voice service is over")
        except (RemoteError, TimeoutError) as error:
            why = str(error) or "no answer"
            log.error("a call that a dead process left at the voice service may still be up: %s", why)


@asynccontextmanager
async def left_calls(backend: OpenAIBackend) -> AsyncIterator[LeftCalls]:
    """Those that are taken are ended for as long as it is open."""
    left = LeftCalls(backend)
    task = asyncio.create_task(left.run(), name="left-calls")
    task.add_done_callback(tell_of_a_bug)
    try:
        yield left
    finally:
        task.cancel()
        await asyncio.wait({task})
