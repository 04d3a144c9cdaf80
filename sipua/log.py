"""Logging: structlog in front of the standard library, one line an entry, to stderr.

stdout belongs to results. ``call=<id>`` and process identity are bound by whoever logs; never a full phone number,
transcript, key or DTMF digit.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(level: str, format: str) -> None:
    """Sets up the root logger once per process."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if format == "json":
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
