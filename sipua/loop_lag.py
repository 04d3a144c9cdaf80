"""How late the event loop comes to what is due: what keeps it from the audio shows here, also while no call is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY_S = 0.25


async def watch_loop(observe: Callable[[float], None]) -> None:
    """For ever; ``observe`` gets seconds."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + EVERY_S
        await asyncio.sleep(EVERY_S)
        observe(max(0.0, loop.time() - due))
