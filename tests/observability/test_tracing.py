"""Traces on their way: to a real receiver, past one that is gone, and not at all where nobody wants them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from sipua.call_trace import Span, root_of
from sipua.clock import SystemClock
from sipua.errors import ConfigError
from sipua.otel import QUEUE_SPANS, Exporting
from sipua.settings import Settings
from sipua.tracing import TracedWriter, check_tracing, headers_of, traceparent_of
from sipua.tracing_settings import TracingSettings
from storage.facts import CallCreated, CallEnded, Group
from tests.observability.receiver import Receiver, attributes_of

T0, T1 = datetime(2026, 11, 23, 8, tzinfo=UTC), datetime(2026, 11, 23, 8, 0, 1, tzinfo=UTC)


def span(call: UUID, **more: str) -> Span:
    return Span(
        call,
        root_of(call),
        0,
        "call",
        T0,
        T1,
        {"sipua.trunk": "mtn"} | more,
        "no_route",
        ((T0, "ringing", {}),),
    )


def test_spans_come_to_a_receiver_as_they_were() -> None:
    call = uuid4()
    with Receiver() as receiver:
        exporting = Exporting(
            receiver.endpoint, {"Authorization": "Bearer x"}, {"node": "n", "instance": "i"}
        )
        exporting.put([span(call), Span(call, 7, root_of(call), "turn", T0, T1, {})])
        exporting.close()
    root, turn = receiver.spans
    assert root.trace_id == call.bytes
    assert (root.name, root.status.message, root.parent_span_id) == ("call", "no_route", b"")
    assert turn.parent_span_id == root.span_id
    assert attributes_of(root) == {"sipua.call": str(call), "sipua.trunk": "mtn"}
    assert root.end_time_unix_nano - root.start_time_unix_nano == 10**9
    assert [each.name for each in root.events] == ["ringing"]
    assert receiver.resources[0]["service.name"] == "sipua"
    assert receiver.resources[0]["service.instance.id"] == "i"
    assert receiver.headers[0]["authorization"] == "Bearer x"
    assert exporting.dropped == 0


def test_a_receiver_that_refuses_costs_spans_that_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(400) as receiver:
        exporting = Exporting(receiver.endpoint, {}, {})
        exporting.put([span(uuid4())])
        exporting.close()
    assert exporting.dropped == 1
    assert "takes none, 1 spans are lost so far" in caplog.text


def test_what_does_not_fit_is_dropped_at_once() -> None:
    exporting = Exporting("http://127.0.0.1:9/v1/traces", {}, {})  # discard: nobody listens
    exporting.put(span(uuid4()) for _ in range(3 * QUEUE_SPANS))
    assert exporting.waiting <= QUEUE_SPANS
    assert exporting.dropped >= QUEUE_SPANS


class Written:
    """A writer that has written all at once."""

    def __init__(self) -> None:
        self.groups: list[Group] = []

    def put(self, group: Group) -> None:
        self.groups.append(group)

    async def flush(self, timeout: float, *, hurried: bool = True) -> bool:
        assert not hurried
        return True


async def test_facts_go_on_as_they_are_and_rows_are_waited_for() -> None:
    writer, spans, call = Written(), list[Span](), uuid4()

    def sink(more: Sequence[Span]) -> None:
        spans.extend(more)

    traced = TracedWriter(writer, sink, SystemClock(), 1.0)
    groups: list[Group] = [
        (CallCreated(call, "inbound", started_at=T0),), (CallEnded(call, T1, 1, "completed", "x"),)
    ]  # fmt: skip
    for group in groups:
        traced.put(group)
    await traced.settle()
    assert writer.groups == groups
    assert [each.name for each in spans] == ["setup", "call", "ledger"]
    assert (spans[-1].start, spans[-1].failed, spans[-1].parent) == (T1, "", spans[1].id)


def settings(**tracing: object) -> Settings:
    return Settings(tracing=TracingSettings.model_validate(tracing))


def test_tools_are_told_only_of_calls_that_are_traced() -> None:
    call, tool = uuid4(), uuid4()
    assert traceparent_of(settings())(call, tool) == ""
    assert traceparent_of(settings(endpoint="http://127.0.0.1:4318", sample=0.0))(call, tool) == ""
    assert traceparent_of(settings(endpoint="http://127.0.0.1:4318"))(call, tool).startswith(
        f"00-{call.hex}-"
    )


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "ftp://h/", "http://collector.example/v1/traces", "https://u:p@h/"]
)
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        TracingSettings(endpoint=endpoint)


def test_headers_are_lines(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer a:b\nX-Scope: 7\n")
    assert headers_of(str(file)) == {"Authorization": "Bearer a:b", "X-Scope": "7"}
    file.write_text("X-Scope: 7\nsecret-of-somebody\n")
    with pytest.raises(ConfigError, match="line 2: allowed is `Name: value`") as raised:
        headers_of(str(file))
    assert "secret-of" not in str(raised.value)


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def test_off_nothing_of_it_is_there() -> None:
    """fastapi looks for opentelemetry's interface, without its SDK."""
    ours = "[n for n in sys.modules if n.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', 'sipua.otel'))]"
    assert python(f"import sys, sipua.app; print({ours})") == "[]\n"


def test_without_the_extra_it_is_named() -> None:
    check_tracing(settings(endpoint="http://127.0.0.1:4318"))  # it is there
    told = python(
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from sipua.settings import Settings; from sipua.tracing import check_tracing\n"
        "from sipua.errors import ConfigError\n"
        "try: check_tracing(Settings(tracing={'endpoint': 'http://127.0.0.1:4318'}))\n"
        "except ConfigError as error: print(error)"
    )
    assert told == "tracing.endpoint: opentelemetry.sdk is missing: pip install 'sipua[otel]'\n"
