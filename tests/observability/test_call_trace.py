"""The trace of a call from its facts: which spans, how long, under whom; and that nothing private is in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from sipua.call_trace import CALLS_MAX, CallTraces, Span, is_sampled, root_of, tool_span, traceparent
from storage.facts import (
    CallChanged,
    CallCreated,
    CallEnded,
    Event,
    Fact,
    SessionEnded,
    SessionOpened,
    ToolCalled,
    ToolDone,
    Transcript,
)
from storage.trunk_facts import CallAttempt

T0 = datetime(2026, 11, 23, 8, tzinfo=UTC)
CALL, SESSION, TOOL, SLOW = (UUID(int=number << 90 | number) for number in (5, 6, 7, 8))


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


CONNECTED = {"connect_seconds": 0.5, "opened_for": "first"}
SPOKEN = {"latency_seconds": 0.8, "first_audio_at": at(8.5).isoformat()}
# when, and what becomes known then
A_CALL: list[tuple[float, Fact]] = [
    (0, CallCreated(CALL, "outbound", from_e164="+250788123456", to_e164="+250788654321", started_at=T0)),
    (1, CallAttempt(uuid4(), CALL, 1, "a", "192.0.2.1:5060", 503, "Busy", 400, "next", at(0.1))),
    (2, CallAttempt(uuid4(), CALL, 2, "b", "192.0.2.2:5060", 200, "OK", 900, "done", at(0.6))),
    (2, CallChanged(CALL, at(2), status="ringing")),
    (3, SessionOpened(SESSION, CALL, "s", "gpt", started_at=at(3), metadata=CONNECTED)),
    (4, CallChanged(CALL, at(4), status="in_progress")),
    (5, CallChanged(CALL, at(5), first_time_to_assistant_seconds=0.4)),
    (7, Transcript(uuid4(), CALL, 1, "user", "my secret is 4711")),
    (9, Event(uuid4(), CALL, "transcript_segment", at(8), SPOKEN)),
    (10, ToolCalled(TOOL, CALL, "https://x.example", "book", {"seats": 2}, at(10))),
    (10.5, ToolCalled(SLOW, CALL, None, "search", {}, at(10.5))),
    (11, ToolDone(TOOL, CALL, False, error="no seat for +250788123456")),
    (12, Event(uuid4(), CALL, "error", at(12), {"reason": "response_failed", "message": "of +250788123456"})),
    (13, CallChanged(CALL, at(13), metadata={"transfer": {"department": "sales", "state": "requested"}})),
    (15, CallChanged(CALL, at(15), metadata={"transfer": {"department": "sales", "state": "failed", "code": 486}})),
    (16, SessionEnded(SESSION, CALL, at(16))),
    (17, CallEnded(CALL, at(17), 13, "completed", "resolved", {"rtp": {"lost": 3, "quality": {"mos": 4.2}}})),
]  # fmt: skip
# name: begins, ends, why it failed
EXPECTED = [
    ("attempt", 0.1, 0.5, "503"),
    ("attempt", 0.6, 1.5, ""),
    ("voice connect", 2.5, 3, ""),
    ("setup", 0, 4, ""),
    ("turn", 7.7, 8.5, ""),
    ("tool", 10, 11, "error"),
    ("transfer", 13, 15, "failed"),
    ("voice session", 3, 16, ""),
    ("tool", 10.5, 17, "ended"),
    ("call", 0, 17, ""),
]


def told(facts: Sequence[tuple[float, Fact]], traces: CallTraces | None = None) -> list[Span]:
    traces = CallTraces() if traces is None else traces
    return [span for when, fact in facts for span in traces.take([fact], at(when))]


def test_a_call_of_everything() -> None:
    spans = told(A_CALL)
    assert [
        (each.name, (each.start - T0).total_seconds(), (each.end - T0).total_seconds(), each.failed)
        for each in spans
    ] == EXPECTED
    root = spans[-1]
    assert (root.call, root.id, root.parent) == (CALL, root_of(CALL), 0)
    assert all(each.parent == root.id for each in spans[:-1])
    assert len({each.id for each in spans}) == len(spans)
    assert root.attributes["sipua.rtp.mos"] == 4.2
    assert root.attributes["sipua.first_audio_seconds"] == 0.4
    assert [note[1] for note in root.notes] == ["ringing", "error"]
    seen = repr(spans)
    assert not any(each in seen for each in ("250788123456", "250788654321", "4711", "no seat"))


def test_a_call_that_nobody_answered_has_a_setup_that_failed() -> None:
    ended = CallEnded(CALL, at(9), 0, "failed", "no_route", {"end_reason": "no_route"})
    spans = told([A_CALL[0], (9, ended)])
    assert [(each.name, each.failed) for each in spans] == [("setup", "no_route"), ("call", "no_route")]


def test_a_tools_service_is_told_the_span_that_stands_for_its_call() -> None:
    (span,) = [each for each in told(A_CALL) if each.attributes.get("sipua.tool") == "book"]
    assert span.id == tool_span(TOOL)
    assert traceparent(CALL, TOOL) == f"00-{CALL.hex}-{span.id:016x}-01"


def test_calls_that_never_end_are_bounded() -> None:
    traces = CallTraces()
    for _ in range(CALLS_MAX + 10):
        traces.take([CallCreated(uuid4(), "inbound")], T0)
    assert len(traces) == CALLS_MAX


@given(st.uuids(version=4), st.floats(0, 1))
def test_a_share_of_calls_is_the_same_calls_for_everybody(call: UUID, share: float) -> None:
    assert is_sampled(call, 1.0)
    assert not is_sampled(call, 0.0)
    assert len(told([(0, CallCreated(call, "inbound"))], traces := CallTraces(share))) == 0
    assert len(traces) == is_sampled(call, share)


def test_a_tenth_is_about_a_tenth() -> None:
    assert 700 < sum(is_sampled(uuid4(), 0.1) for _ in range(10_000)) < 1300


@given(st.lists(st.sampled_from([fact for _, fact in A_CALL]), max_size=60), st.permutations(A_CALL))
@settings(max_examples=50)
def test_facts_in_any_order_and_number_make_no_error(
    facts: list[Fact], shuffled: list[tuple[float, Fact]]
) -> None:
    traces = CallTraces()
    for fact in [*facts, *(fact for _, fact in shuffled)]:
        traces.take([fact], T0)
    traces.take([A_CALL[0][1], A_CALL[-1][1]], T0)
    assert len(traces) == 0
