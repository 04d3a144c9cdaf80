"""Tasks that nobody awaits until the process ends: if one fails, that is a bug, and must be said when it happens."""

from __future__ import annotations

import asyncio
import logging

log = logging.getLogger(__name__)


def tell_of_a_bug(task: asyncio.Task[None]) -> None:
    """A done-callback: logs what ended the task, unless it was cancelled or came to its end."""
    if not task.cancelled() and task.exception() is not None:
        log.error("%s failed by a bug", task.get_name(), exc_info=task.exception())
