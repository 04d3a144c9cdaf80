"""A process of the bench that is asked and answers, on cores of its own. It ends with its pipe, or with its parent."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Collection
from multiprocessing.connection import Connection
from typing import Any

from sipua.errors import LocalError

END_TIMEOUT_S = 5.0


class Worker:
    """``main(pipe)`` runs in it and reads what is asked; EOFError is its end."""

    def __init__(self, name: str, main: Callable[[Connection], None], cpus: Collection[int]) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_run, args=(main, theirs, frozenset(cpus)), name=name, daemon=True
        )
        self._process.start()
        theirs.close()

    async def ask(self, *question: Any) -> Any:
        """Its answer. LocalError if it ends instead; what it had to say is on stderr."""
        try:
            self._pipe.send(question)
            return await asyncio.to_thread(self._pipe.recv)
        except (EOFError, OSError):
            raise LocalError(f"a process of the bench ended: {self.name}") from None

    def end(self) -> None:
        """Whatever it is doing."""
        self._process.terminate()
        self._process.join(END_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()


def _run(main: Callable[[Connection], None], pipe: Connection, cpus: frozenset[int]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends us
    os.sched_setaffinity(0, cpus)
    with contextlib.suppress(EOFError, BrokenPipeError):
        main(pipe)
