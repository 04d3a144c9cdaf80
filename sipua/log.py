"""Logging: structlog in front of the standard library, one line an entry, to stderr.

stdout belongs to results. A line of a call has its id as ``call``: from its text, else from the task that says it
(``call_of_task``), also where it is a library's. Never a full phone number, transcript, key or DTMF digit: whoever logs
sees to it, and ``sipua.redaction`` is the net below.

Lines are written by a thread of their own from a bounded queue: a reader of stderr that has stopped must not stop the
calls. What does not fit is dropped and counted. Text that a peer may have had a hand in cannot forge lines or move the
cursor: what is not printable is written as an escape.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import logging.handlers
import queue
import re
import sys
import threading
from collections.abc import Iterable, Mapping, MutableMapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import structlog

from sipua.redaction import Redaction

call_of_task: ContextVar[str] = ContextVar(
    "call_of_task", default=""
)  # of what runs in it, tasks of it included
CALL = re.compile(r"\bcall=([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
OURS = ("sipua", "rtp", "storage")
QUEUE_LIMIT = 10_000  # lines
CLOSE_WAIT_S = 2.0
LEVELS = ("debug", "info", "warning", "error", "critical")


class LineQueue(logging.handlers.QueueHandler):
    """Hands lines to a thread that writes them with ``target``; never blocks. ``close`` waits for it, but not long."""

    queue: queue.Queue[logging.LogRecord | None]

    def __init__(self, target: logging.Handler, redacted: Redaction | None = None) -> None:
        super().__init__(queue.Queue(QUEUE_LIMIT))
        self._redacted = redacted or Redaction()
        self.dropped = 0
        self.lines = dict.fromkeys(LEVELS, 0)
        self._target = target
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while (record := self.queue.get()) is not None:
            self._target.handle(record)

    def close(self) -> None:
        """What waits is written, unless nobody takes it within ``CLOSE_WAIT_S``. Called by logging at exit too."""
        with contextlib.suppress(queue.Full):
            self.queue.put(None, timeout=CLOSE_WAIT_S)
            self._thread.join(CLOSE_WAIT_S)
        super().close()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Complete text only: the frames of a traceback may hold objects that must not die on another thread.

        Of a copy, as other handlers see the record too.
        """
        record = copy.copy(record)
        record.msg, record.args = printable(self._redacted(record.getMessage())), None
        if record.exc_info:
            record.exception = self._redacted(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        named = CALL.search(record.msg)
        if call := named[1] if named is not None else call_of_task.get():
            record.call = call
        if self.dropped:
            record.lines_dropped = self.dropped
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        self.lines[record.levelname.lower() if record.levelname.lower() in self.lines else "info"] += 1
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


def line_queue() -> LineQueue | None:
    """That of this process, once its log is configured."""
    return next((each for each in logging.getLogger().handlers if isinstance(each, LineQueue)), None)


def printable(text: str) -> str:
    """``text`` on one line, with everything that is not printable escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def configure_logging(
    level: str, form: str, identity: Mapping[str, Any] | None = None, *, secrets: Iterable[str] = ()
) -> None:
    """Sets up the root logger of the process; JSON lines carry ``identity`` (node, worker, instance).

    As JSON nothing else is on stderr: warnings and what nobody caught become lines too.
    """

    def add_identity(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        entry.update(identity or {})
        return entry

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if form == "json":
        shared.append(add_identity)
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        shared.append(_once)
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for former in root.handlers:
        former.close()
    root.handlers[:] = [LineQueue(handler, Redaction(secrets))]
    root.setLevel(logging.WARNING)  # libraries; at their lower levels some tell keys and bodies
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    if logging.getLevelName(level.upper()) > logging.WARNING:
        root.setLevel(level.upper())
    if form == "json":
        _take_over()


def is_json() -> bool:
    """Whether stderr holds JSON only."""
    return sys.excepthook is _uncaught


def _once(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """People need not read an id twice."""
    if str(entry.get("call", "")) in str(entry.get("event", "")):
        entry.pop("call", None)
    return entry


def _take_over() -> None:
    """What Python would write on stderr by itself."""
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda found: _uncaught(
        found.exc_type, found.exc_value or found.exc_type(), found.exc_traceback
    )
    sys.unraisablehook = lambda found: _uncaught(
        found.exc_type, found.exc_value or found.exc_type(), found.exc_traceback
    )


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, SystemExit | KeyboardInterrupt):
        logging.getLogger("sipua").critical("nobody caught %s", kind.__name__, exc_info=(kind, error, trace))
