"""Events of a session that somebody else holds, as rows."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.ingest.told import ITEMS_MAX, Story
from storage import codec
from storage.facts import CallChanged, Event, Fact, Group, ToolCalled, ToolDone, Transcript
from storage.statements import build
from storage.words import EventType

CALL = UUID(int=7)
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
AUDIO = "UklGRgAAAA" * 50


def story(after: datetime | None = None) -> Story:
    return Story(CALL, T0, locale="rw", after=after)


def told(*events: Mapping[str, Any], by: Story | None = None) -> list[Fact]:
    """What follows, each a second after the other."""
    found: list[Fact] = []
    to = by or story()
    for number, event in enumerate(events, 1):
        found += to.on_event(event, T0 + timedelta(seconds=number))
    return found


def kinds(facts: list[Fact]) -> list[str]:
    return [fact.type if isinstance(fact, Event) else type(fact).__name__ for fact in facts]


def item(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "id": "item_1", "status": "completed", **more}


WORDS = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Muraho"}]}
CALLED = {"call_id": "call_1", "name": "search", "arguments": '{"query": "moto"}'}

# What is told, and what is kept of it: types of voice_events, and facts of other kinds.
TABLE: list[tuple[dict[str, Any], list[str]]] = [
    ({"type": "session.created", "session": {"id": "s", "model": "m"}},
     ["openai_session_created", "CallChanged", "answered"]),
    ({"type": "session.updated", "session": {"id": "s"}}, ["openai_session_updated"]),
    ({"type": "response.created", "response": {"id": "r"}}, ["openai_response_created"]),
    ({"type": "response.done", "response": {"id": "r", "status": "completed"}}, ["openai_response_done"]),
    ({"type": "input_audio_buffer.committed", "item_id": "i"}, ["openai_audio_buffer_committed"]),
    ({"type": "input_audio_buffer.speech_started", "item_id": "i"}, ["openai_input_audio_buffer_speech_started"]),
    ({"type": "input_audio_buffer.speech_stopped", "item_id": "i"}, ["openai_input_audio_buffer_speech_stopped"]),
    ({"type": "conversation.item.added", "item": item("message", role="user")}, ["openai_conversation_item_created"]),
    ({"type": "conversation.item.created", "item": item("message", role="user")}, ["openai_conversation_item_created"]),
    ({"type": "conversation.item.done", "item": {"id": "item_1", "status": "completed", **WORDS}},
     ["Transcript", "transcript_segment"]),
    ({"type": "error", "error": {"code": "x", "message": "y"}}, ["error"]),
    ({"type": "conversation.item.input_audio_transcription.completed", "item_id": "i", "transcript": "Yego"},
     ["Transcript", "transcript_segment"]),
    ({"type": "response.output_audio_transcript.done", "item_id": "i", "transcript": "Muraho"},
     ["CallChanged", "Transcript", "transcript_segment"]),
    ({"type": "response.output_text.done", "item_id": "i", "text": "Muraho"},
     ["CallChanged", "Transcript", "transcript_segment"]),
    ({"type": "response.output_audio.delta", "item_id": "i", "delta": AUDIO}, ["CallChanged"]),
    ({"type": "response.function_call_arguments.done", **CALLED}, ["ToolCalled", "tool_call"]),
    ({"type": "response.output_item.done", "item": item("function_call", **CALLED)}, ["ToolCalled", "tool_call"]),
    ({"type": "response.output_item.done", "item": item("mcp_call", name="t", server_label="s", output="{}")},
     ["ToolCalled", "tool_call", "ToolDone"]),
    ({"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c", "output": "{}"}},
     ["ToolDone"]),
    ({"type": "rate_limits.updated"}, []),
    ({"type": "input_audio_buffer.append", "audio": AUDIO}, []),
    ({"type": "response.output_audio_transcript.delta", "item_id": "i", "delta": "Mu"}, ["CallChanged"]),
    ({"type": "conversation.item.input_audio_transcription.completed", "item_id": "i", "transcript": " "}, []),
    ({"type": "no.such.event", "deep": {"audio": AUDIO}}, []),
    ({}, []),
    ({"type": 7}, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("event", "kept"), TABLE, ids=lambda each: str(each.get("type")) if isinstance(each, dict) else ""
)
def test_what_is_kept_of_an_event(event: dict[str, Any], kept: list[str]) -> None:
    facts = told(event)
    assert kinds(facts) == kept
    assert AUDIO[:40] not in repr(facts)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["item", "response", "output", "error", "call_id", "id", "type", "role", "content", "session",
                         "transcript", "name", "arguments", "usage", "event_id", "item_id"]), inner, max_size=5),
    max_leaves=12,
), st.sampled_from([str(event.get("type")) for event, _ in TABLE]))  # fmt: skip
def test_no_shape_of_an_event_is_too_much(anything: Any, type: str) -> None:
    event = (
        {**anything, "type": type}
        if isinstance(anything, dict)
        else {"type": type, "item": anything, "response": anything}
    )
    facts = told(event, event)
    assert {fact.type for fact in facts if isinstance(fact, Event)} <= set(get_args(EventType))
    build(facts)


def test_an_event_that_comes_twice_is_the_same_rows_in_every_process() -> None:
    events = [{**event, "event_id": f"event_{n}"} for n, (event, _) in enumerate(TABLE)]

    def ids(by: Story) -> set[UUID]:
        return {
            f.id for f in told(*events, by=by) if isinstance(f, Event | Transcript | ToolCalled | ToolDone)
        }

    one = story()
    first = ids(one)
    assert ids(story()) == first
    assert ids(one) <= first


def test_words_that_come_late_stand_where_they_were_spoken() -> None:
    facts = told(
        {"type": "input_audio_buffer.speech_started", "item_id": "u1"},
        {"type": "conversation.item.added", "item": {"type": "message", "role": "assistant", "id": "a1"}},
        {"type": "response.output_audio_transcript.done", "item_id": "a1", "transcript": "Muraho"},
        {"type": "conversation.item.input_audio_transcription.completed", "item_id": "u1", "transcript": "Hello"},
        {"type": "response.done", "response": {"output": [
            {"type": "message", "role": "assistant", "id": "a1", "status": "completed",
             "content": [{"transcript": "Muraho"}]}]}},
    )  # fmt: skip
    said = sorted((f for f in facts if isinstance(f, Transcript)), key=lambda f: f.t or T0)
    assert [(f.role, f.content, f.lang) for f in said] == [
        ("user", "Hello", "rw"),
        ("assistant", "Muraho", "rw"),
    ]


@given(st.randoms(use_true_random=False), st.integers(0, 3600))
def test_times_of_words_strictly_increase_whatever_the_clock_does(rng: random.Random, before_s: int) -> None:
    after = T0 + timedelta(seconds=before_s)
    to = story(after)
    facts: list[Fact] = []
    for number in range(12):
        role, now = rng.choice(["user", "assistant"]), T0 + timedelta(seconds=rng.uniform(-60, 60))
        facts += to.on_event({"type": "conversation.item.done", "item": {**WORDS, "id": f"i{number}", "role": role,
                                                                         "status": "completed"}}, now)  # fmt: skip
    times = [f.t for f in facts if isinstance(f, Transcript) and f.t]
    assert len(times) == 12
    assert all(a < b for a, b in zip([after, *times], times, strict=False))


RESULTS: list[tuple[Any, bool, Any, str | None]] = [
    ('{"n": 1}', True, {"n": 1}, None),
    ("plain", True, {"output": "plain"}, None),
    ("[1]", True, {"output": "[1]"}, None),
    ('{"error": "no seats"}', False, {"error": "no seats"}, "no seats"),
    ('{"error": {"message": "m"}}', False, {"error": {"message": "m"}}, "m"),
    ('{"success": false}', False, {"success": False}, "not successful"),
    ("", True, None, None),
    (None, True, None, None),
    ("x" * 70_000, True, None, None),
]


@pytest.mark.parametrize(("output", "success", "result", "error"), RESULTS)
def test_a_result_completes_the_row_of_its_call(
    output: Any, success: bool, result: Any, error: str | None
) -> None:
    to = story()
    called, *_ = told({"type": "response.function_call_arguments.done", **CALLED}, by=to)
    [done] = told({"type": "conversation.item.added", "item": {
        "type": "function_call_output", "call_id": "call_1", "output": output}}, by=to)[-1:]  # fmt: skip
    assert isinstance(called, ToolCalled)
    assert isinstance(done, ToolDone)
    assert (done.id, done.success, done.result, done.error) == (called.id, success, result, error)
    assert (called.tool, called.args) == ("search", {"query": "moto"})


def test_a_tool_whose_name_comes_first_has_its_arguments_later() -> None:
    facts = told(
        {
            "type": "response.output_item.added",
            "item": {"type": "function_call", "call_id": "c", "name": "search"},
        },
        {"type": "response.function_call_arguments.done", "call_id": "c", "arguments": "[]"},
    )
    [called] = [fact for fact in facts if isinstance(fact, ToolCalled)]
    assert (called.tool, called.args) == ("search", None)


def test_no_key_of_a_session_is_kept() -> None:
    secrets = {"client_secret": {"value": "ek_secret"}, "tools": [{"authorization": "Bearer secret"}]}
    facts = told({"type": "session.created", "session": {"id": "s", **secrets}})
    assert "secret" not in repr(facts)


def test_the_first_sound_is_measured_once() -> None:
    delta = {"type": "response.output_audio.delta"}
    changes = [f for f in told(delta, delta) if isinstance(f, CallChanged)]
    assert [f.first_time_to_assistant_seconds for f in changes] == [1.0]


def test_a_group_can_be_kept_in_the_spool() -> None:
    group: Group = tuple(told(*(event for event, _ in TABLE)))
    assert codec.decode(codec.encode(group)) == group
    assert json.loads(codec.encode(group))


def test_of_one_response_so_many_items_are_taken() -> None:
    items = [item("function_call", **{**CALLED, "call_id": f"call_{n}"}) for n in range(ITEMS_MAX + 9)]
    found = told({"type": "response.done", "response": {"id": "r", "output": items}})
    assert kinds(found).count("ToolCalled") == ITEMS_MAX


def test_events_without_an_id_are_known_by_what_they_say() -> None:
    """Also where a number is none that all understand."""
    events = [{"type": "error", "error": {"code": "a", "message": n}} for n in ("x", "y", 2**70, 2**71)]
    again = [{"error": {"message": "x", "code": "a"}, "type": "error"}]
    ids = [fact.id for fact in told(*events, *again) if isinstance(fact, Event)]
    assert len(ids) == 5
    assert len(set(ids)) == 4
    assert ids[0] == ids[-1]
