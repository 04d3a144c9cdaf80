"""The thread that owns pjsua2: what runs on it is its owner's; commands come in from asyncio through a queue.

The queue is bounded by its users: each command is awaited by somebody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import pjsua2 as pj

from sipua.errors import LocalError, SipuaError

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 10.0
OVER = "the SIP thread has ended"

T = TypeVar("T")


class LibraryThread:
    """Runs ``begin``, whose result ``start`` returns, then ``serve`` until ``is_stopping``, then ``end``, in any case.

    ``serve`` calls ``run_commands`` between its turns. ``failed`` is told why if it raised.
    """

    def __init__(
        self,
        begin: Callable[[], tuple[str, int]],
        serve: Callable[[], None],
        end: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        self._begin, self._serve, self._end, self._failed = begin, serve, end, failed
        self._loop = asyncio.get_running_loop()
        self._commands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._gate = threading.Lock()  # between submit and the thread's end: no command may be left behind
        self._is_over = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pjsua2", daemon=True)
        self._started: Future[tuple[str, int]] = Future()
        self._done = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def waiting(self) -> int:
        """Commands that have not begun."""
        return len(self._commands)

    async def start(self) -> tuple[str, int]:
        """Starts it; what ``begin`` returned or raised."""
        self._thread.start()
        try:
            return await asyncio.wrap_future(self._started)
        except asyncio.CancelledError:
            self._stopping.set()
            raise

    async def stop(self) -> None:
        """Tells it to end and joins it; bounded."""
        self._stopping.set()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._done.wait()
        except TimeoutError:
            log.error("the SIP thread did not end within %g s", STOP_TIMEOUT_S)
            return  # a daemon: it goes with the process
        await asyncio.to_thread(self._thread.join, 5.0)

    async def submit(self, command: Callable[[], T]) -> T:
        """Runs ``command`` on it. LocalError when it has ended."""
        future: Future[T] = Future()
        with self._gate:
            if self._is_over:
                raise LocalError(OVER)
            self._commands.append((command, future))
        return await asyncio.wrap_future(future)

    def run_commands(self) -> None:
        """What has been submitted; on the thread."""
        while self._commands:
            command, future = self._commands.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(command())
            except pj.Error as error:
                future.set_exception(LocalError(f"pjsua2: {error.title}: {error.reason}"))
            except Exception as error:  # noqa: BLE001 - belongs to whoever awaits the future
                # without its frames: they hold directors, which must not be freed on another thread
                future.set_exception(error.with_traceback(None))

    def _run(self) -> None:
        failure = ""
        self._started.set_running_or_notify_cancel()  # from here on it cannot be cancelled
        try:
            self._started.set_result(self._begin())
            self._serve()
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(_mapped(error))
            else:
                failure = f"{type(error).__name__}: {error}"
                log.critical("the SIP thread died", exc_info=True)
        finally:
            try:
                self._end()
            finally:
                if failure:
                    self._failed(failure)
                self._refuse_commands()
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    self._loop.call_soon_threadsafe(self._done.set)

    def _refuse_commands(self) -> None:
        with self._gate:
            self._is_over = True
        while self._commands:
            _, future = self._commands.popleft()
            if future.set_running_or_notify_cancel():
                future.set_exception(LocalError(OVER))


def _mapped(error: BaseException) -> SipuaError:
    if isinstance(error, SipuaError):
        return error
    return LocalError(f"pjsua2 did not start: {type(error).__name__}: {error}")
