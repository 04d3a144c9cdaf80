"""``flock`` on small files, with deadlines: polled, so that a Ctrl-C and a time-out get through.

The kernel drops such a lock with its last holder, however that ended; nothing has to be cleaned up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from storage.errors import EmbeddedError

SHARED, EXCLUSIVE = fcntl.LOCK_SH, fcntl.LOCK_EX
POLL_S = 0.02


def acquire(path: Path, kind: int, deadline: float) -> int:
    """The descriptor that holds the lock (close it to let go); ``EmbeddedError`` at ``deadline`` (monotonic)."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _try(fd, kind):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"timed out waiting for {path}: another process is starting or stopping there"
                )
            time.sleep(POLL_S)
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def held(path: Path, deadline: float) -> Iterator[None]:
    """The exclusive lock for the length of a block."""
    fd = acquire(path, EXCLUSIVE, deadline)
    try:
        yield
    finally:
        os.close(fd)


def is_free(path: Path) -> bool:
    """Whether nobody holds that lock now."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        return _try(fd, EXCLUSIVE)
    finally:
        os.close(fd)


def is_last(fd: int) -> bool:
    """Whether we are the only holder of this shared lock; we may lose it (an upgrade is not atomic).

    If neither the exclusive nor the shared lock can be had, somebody has taken the exclusive one in between:
    there are no others either.
    """
    return _try(fd, EXCLUSIVE) or not _try(fd, SHARED)


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
