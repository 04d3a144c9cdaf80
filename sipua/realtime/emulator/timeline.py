"""Timed processes without a clock: generators that yield the seconds until they want to go on.

A response is written as one function from top to bottom with ``yield delay_s`` where the service would take
its time. Delays count from when the step was due, not from when it was run, so late calls cause no drift.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count

Steps = Generator[float, None, None]


@dataclass(order=True, slots=True)
class _Entry:
    due: float
    order: int
    process: Process = field(compare=False)


class Process:
    """A running generator; cancelling it closes the generator where it stands."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
        self._steps.close()

    def step(self) -> float | None:
        return next(self._steps, None)


class Timeline:
    """Runs processes in the order of their due times; :meth:`advance` is the only thing that moves them."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._order = count()

    def start(self, steps: Steps, now: float) -> Process:
        """Puts a process at ``now``; its first step runs at the next :meth:`advance`."""
        process = Process(steps)
        self._push(now, process)
        return process

    def _push(self, due: float, process: Process) -> None:
        heapq.heappush(self._heap, _Entry(due, next(self._order), process))

    def due(self) -> float | None:
        while self._heap and self._heap[0].process.cancelled:
            heapq.heappop(self._heap)
        return self._heap[0].due if self._heap else None

    def pop(self, now: float) -> tuple[float, Process] | None:
        """The next process that is due at ``now``, with its due time."""
        due = self.due()
        if due is None or due > now:
            return None
        entry = heapq.heappop(self._heap)
        return entry.due, entry.process

    def run(self, due: float, process: Process) -> None:
        delay_s = process.step()
        if delay_s is not None and not process.cancelled:
            self._push(due + max(0.0, delay_s), process)

    def clear(self) -> None:
        for entry in self._heap:
            entry.process.cancel()
        self._heap.clear()
