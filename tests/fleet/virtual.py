"""An asyncio loop whose time passes only while everybody waits: hours in milliseconds, the same every time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sipua.ports import Moment

T = TypeVar("T")
EPOCH = datetime(2026, 11, 22, tzinfo=UTC)


class _Selector(selectors.DefaultSelector):
    """Passes the time instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for ever"
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._passing = _Selector()
        super().__init__(self._passing)

    def time(self) -> float:
        return self._passing.now


class VirtualClock:
    """``sipua.ports.Clock`` of the running loop."""

    def now(self) -> Moment:
        seconds = asyncio.get_running_loop().time()
        return Moment(seconds, EPOCH + timedelta(seconds=seconds))


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a test's coroutine on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
