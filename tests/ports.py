"""Ports that are told to a program before it listens on them.

Nobody else may get one in between. So they lie below those that Linux gives out by itself (32,768 and above), every
worker of pytest-xdist has its own, and no process gets one twice; two checkouts at once begin at different places.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket

FIRST, LAST = 20_000, 32_000
ROW = 10  # to each belong its neighbours: RTCP, a TLS listener beside UDP, a range of eight
WORKERS = 8
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ROWS = range(FIRST, LAST, ROW)[_worker % WORKERS :: WORKERS]
_turns = itertools.count(
    secrets.randbelow(len(_ROWS))
)  # not of random, which has the same seed in every worker


def free_port(host: str = "127.0.0.1") -> int:
    """An even port that nobody has at the moment, neither for UDP nor for TCP; its row is free too."""
    for row in map(_row, itertools.islice(_turns, len(_ROWS))):
        if all(_is_free(host, port) for port in row):
            return row[2]
    raise RuntimeError(f"no ten free ports in a row from {FIRST} to {LAST}")


def _row(turn: int) -> range:
    first = _ROWS[turn % len(_ROWS)]
    return range(first, first + ROW)


def _is_free(host: str, port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True
