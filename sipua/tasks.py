"""Tasks that nobody awaits until the process ends, and work that is done whatever happens.

If one of the former fails, that is a bug, and must be said when it happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine

log = logging.getLogger(__name__)


def tell_of_a_bug(task: asyncio.Task[None]) -> None:
    """A done-callback: logs what ended the task, unless it was cancelled or came to its end."""
    if not task.cancelled() and task.exception() is not None:
        log.error("%s failed by a bug", task.get_name(), exc_info=task.exception())


async def to_the_end(closing: Coroutine[None, None, None]) -> None:
    """Awaits it whatever happens to us meanwhile: a row that is not closed would stay open for ever."""
    task = asyncio.ensure_future(closing)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()
