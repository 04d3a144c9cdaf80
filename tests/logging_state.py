"""A fixture for all tests, taken over by ``conftest.py``: whatever a test does to logging ends with it.

A command that is run within the process of the tests sets up the root logger as it does in its own process.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from logging import Logger

import pytest


@pytest.fixture(autouse=True)
def logging_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {
        each: each.level for each in (root, *root.manager.loggerDict.values()) if isinstance(each, Logger)
    }
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    for logger, level in levels.items():  # one that was made since has the level that its module gave it
        if logger.level != level:
            logger.setLevel(level)
