"""Traces of calls, where ``[tracing] endpoint`` wants them: a writer that looks at the facts that pass it.

Off it is not there at all, and OpenTelemetry is not imported (``sipua.otel`` is its only importer).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Protocol
from uuid import UUID

from sipua.call_trace import CallTraces, Span, is_sampled, root_of, span_id, traceparent
from sipua.config_file import secret_file
from sipua.errors import ConfigError
from sipua.identity import Identity
from sipua.metrics import Metrics
from sipua.ports import Clock
from sipua.settings import Settings
from storage.facts import CallEnded, Group

log = logging.getLogger(__name__)

LEDGER_WAIT_S = 60.0  # a trace says at most that the rows of its call took so long
LAST_ROWS_S = 1.0
NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
FLUSHES_MAX = 256  # calls whose last rows are waited for
Traceparent = Callable[[UUID, UUID], str]  # of a call and a call of a tool; "": none


class Facts(Protocol):
    """Where facts go."""

    def put(self, group: Group) -> None: ...


class Writer(Facts, Protocol):
    """storage.writer.LedgerWriter."""

    async def flush(self, timeout: float, *, hurried: bool = True) -> bool: ...


class TracedWriter:
    """Facts go on to ``writer`` as they are; spans go to ``sink``."""

    def __init__(
        self, writer: Writer, sink: Callable[[Sequence[Span]], None], clock: Clock, share: float
    ) -> None:
        self._writer = writer
        self._sink = sink
        self._clock = clock
        self._share = share
        self._traces = CallTraces(share)
        self._waiting: set[asyncio.Task[None]] = set()

    def put(self, group: Group) -> None:
        self._writer.put(group)
        self._sink(self._traces.take(group, self._clock.now().wall))
        for fact in group:
            if not isinstance(fact, CallEnded) or not is_sampled(fact.call_id, self._share):
                continue
            if len(self._waiting) < FLUSHES_MAX:
                task = asyncio.create_task(self._wait_for_rows(fact), name="trace of rows")
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)

    async def settle(self) -> None:
        """The end: rows that are on their way are waited for, not long."""
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=LAST_ROWS_S)

    async def _wait_for_rows(self, end: CallEnded) -> None:
        """How long the last rows of a call are on their way."""
        is_done = await self._writer.flush(LEDGER_WAIT_S, hurried=False)
        id = end.call_id
        self._sink(
            [
                Span(
                    id, span_id(id.bytes + b"ledger"), root_of(id), "ledger", end.ended_at, self._clock.now().wall, {},
                    "" if is_done else "late",
                )
            ]
        )  # fmt: skip


def traceparent_of(settings: Settings) -> Traceparent:
    """For requests to tools that are forwarded."""
    tracing = settings.tracing
    if not tracing.endpoint:
        return lambda call, tool: ""
    return lambda call, tool: traceparent(call, tool) if is_sampled(call, tracing.sample) else ""


@asynccontextmanager
async def traced(
    writer: Writer, settings: Settings, identity: Identity, metrics: Metrics, clock: Clock
) -> AsyncIterator[Facts]:
    """``writer`` itself where nothing is traced."""
    tracing = settings.tracing
    if not tracing.endpoint:
        yield writer
        return
    from sipua.otel import Exporting

    exporting = Exporting(tracing.endpoint, headers_of(tracing.headers_file), identity.as_dict())
    metrics.standing.reads(
        {
            "sipua_traces_dropped_total": lambda: exporting.dropped,
            "sipua_traces_queue_spans": lambda: exporting.waiting,
        }
    )
    watched = TracedWriter(writer, exporting.put, clock, tracing.sample)
    try:
        yield watched
        await watched.settle()
    finally:
        await asyncio.to_thread(exporting.close)


def check_tracing(settings: Settings) -> None:
    """ConfigError names what is missing, before anything has begun."""
    if not settings.tracing.endpoint:
        return
    headers_of(settings.tracing.headers_file)
    for name in NEEDED:
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise ConfigError(f"tracing.endpoint: {name} is missing: pip install 'sipua[otel]'")


def headers_of(file: str) -> dict[str, str]:
    """``Name: value`` a line. Raises ConfigError."""
    if not file:
        return {}
    found = {}
    for number, line in enumerate(secret_file("tracing", file).get_secret_value().splitlines(), 1):
        name, colon, value = line.partition(":")
        if not colon or not name.strip().replace("-", "").isalnum():
            raise ConfigError(f"tracing.headers_file = {file!r}, line {number}: allowed is `Name: value`")
        found[name.strip()] = value.strip()
    return found
