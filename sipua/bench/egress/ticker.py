"""The control: wakes up every 20 ms and does nothing, so its gaps are the machine's."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection

TICK_S = 0.020


def main(pipe: Connection) -> None:
    """Answers every question with when it woke up since the one before."""
    woken: list[float] = []
    due = time.monotonic()
    while True:
        due += TICK_S
        time.sleep(max(0.0, due - time.monotonic()))
        woken.append(time.time())
        if pipe.poll():
            pipe.recv()
            pipe.send(woken)
            woken = []
