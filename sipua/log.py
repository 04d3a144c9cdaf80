"""Logging: structlog in front of the standard library, one line an entry, to stderr.

stdout belongs to results. ``call=<id>`` and process identity are bound by whoever logs; never a full phone number,
transcript, key or DTMF digit.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog


def configure_logging(level: str, form: str, identity: Mapping[str, Any] | None = None) -> None:
    """Sets up the root logger of the process; JSON lines carry ``identity`` (node, worker, instance)."""

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
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "uvicorn.error", "websockets", "asyncio", "psycopg.pool"):
        logging.getLogger(noisy).setLevel(max(logging.getLogger().level, logging.WARNING))
