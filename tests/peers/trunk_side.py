"""The registrar of ``tests.pjsua2.registrar`` on a thread of its own, for tests that start whole processes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from tests.pjsua2.registrar import Registrar, started


@contextlib.contextmanager
def trunk_side(**values: Any) -> Iterator[Registrar]:
    """Listening on a free port; its attributes may be read and set from the test."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="registrar")
    thread.start()
    registrar = asyncio.run_coroutine_threadsafe(started(lambda: Registrar(**values)), loop).result(5)
    try:
        yield registrar
    finally:
        asyncio.run_coroutine_threadsafe(_closed(registrar), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def _closed(registrar: Registrar) -> None:
    registrar.transport.close()
    await asyncio.sleep(0)  # the loop closes its socket on the next turn
