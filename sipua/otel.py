"""Spans to a receiver of OpenTelemetry's protocol over HTTP; the only importer of opentelemetry.

A thread of its own sends them in batches from a bounded queue, so a receiver that is slow or gone costs spans and no
call. The exporter tries each batch again by itself, for ``TIMEOUT_S``.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from sipua import __version__
from sipua.call_trace import Span

log = logging.getLogger(__name__)

QUEUE_SPANS = 4096
BATCH_SPANS = 256
EVERY_S = 1.0
TIMEOUT_S = 5.0
CLOSE_WAIT_S = 2.0
SAY_EVERY_S = 60.0
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
SCOPE = InstrumentationScope("sipua", __version__)


class Exporting:
    """``close`` sends what waits, but not for long."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], identity: Mapping[str, object]) -> None:
        logging.getLogger("opentelemetry").setLevel(
            logging.CRITICAL
        )  # a line per try: we say it once a minute
        self.dropped = 0
        self._endpoint = endpoint
        self._said_at: float | None = None
        self._exporter = OTLPSpanExporter(endpoint, headers=dict(headers), timeout=TIMEOUT_S)
        named = {"service.name": "sipua", "service.version": __version__}
        attributes = {f"sipua.{key}": str(value) for key, value in identity.items()}
        self._resource = Resource(
            {**named, **attributes, "service.instance.id": str(identity.get("instance", ""))}
        )
        self._queue: queue.Queue[Span | None] = queue.Queue(QUEUE_SPANS)
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def put(self, spans: Iterable[Span]) -> None:
        """Never waits."""
        for span in spans:
            try:
                self._queue.put_nowait(span)
            except queue.Full:
                self.dropped += 1

    def close(self) -> None:
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=CLOSE_WAIT_S)
        self._thread.join(CLOSE_WAIT_S)
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _run(self) -> None:
        is_over = False
        while not is_over:
            batch: list[Span] = []
            while len(batch) < BATCH_SPANS:
                try:
                    span = self._queue.get(timeout=EVERY_S if batch else None)
                except queue.Empty:
                    break
                if span is None:
                    is_over = True
                    break
                batch.append(span)
            self._send(batch)

    def _send(self, batch: Sequence[Span]) -> None:
        if not batch:
            return
        result = self._exporter.export([readable(each, self._resource) for each in batch])
        if result is not SpanExportResult.SUCCESS:
            self.dropped += len(batch)
            now = time.monotonic()
            if self._said_at is None or now - self._said_at > SAY_EVERY_S:
                self._said_at = now
                log.warning("traces: %s takes none, %d spans are lost so far", self._endpoint, self.dropped)


def readable(span: Span, resource: Resource) -> ReadableSpan:
    """As the SDK has it."""
    parent = _context(span, span.parent) if span.parent else None
    return ReadableSpan(
        span.name,
        context=_context(span, span.id),
        parent=parent,
        resource=resource,
        attributes={"sipua.call": str(span.call), **span.attributes},
        events=[Event(name, attributes, _ns(at)) for at, name, attributes in span.notes],
        kind=SpanKind.CLIENT if span.name in ("tool", "attempt", "voice connect") else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, span.failed) if span.failed else Status(StatusCode.UNSET),
        start_time=_ns(span.start),
        end_time=max(_ns(span.start), _ns(span.end)),
        instrumentation_scope=SCOPE,
    )


def _context(span: Span, id: int) -> SpanContext:
    return SpanContext(span.call.int, id, is_remote=False, trace_flags=SAMPLED)


def _ns(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000
