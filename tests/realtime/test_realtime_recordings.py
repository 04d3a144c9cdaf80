"""Recorded sessions of the live service through the core: every event is understood, in order."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai._models import construct_type
from openai.types.realtime import RealtimeClientEvent
from pydantic import BaseModel

from sipua.realtime import events as ev
from sipua.realtime.config import AudioFormat, SessionConfig
from sipua.realtime.protocol import RealtimeProtocol, State

FOLDER = os.environ.get("REALTIME_RECORDINGS")
RECORDINGS = sorted(Path(FOLDER).glob("*.jsonl")) if FOLDER else []

pytestmark = pytest.mark.skipif(
    not RECORDINGS, reason="set REALTIME_RECORDINGS to a folder of recorded sessions (JSON lines)"
)


def replay(path: Path) -> tuple[RealtimeProtocol, list[ev.Event], list[str]]:
    """(core, our events, recorded types of the server's events)."""
    core = RealtimeProtocol(SessionConfig("gpt-realtime", audio_format=AudioFormat.PCM24))
    events: list[ev.Event] = []
    types: list[str] = []
    for line in path.read_bytes().splitlines():
        entry: dict[str, Any] = orjson.loads(line)
        if entry["direction"] == "server":
            types.append(entry["event"]["type"])
            events += core.receive(orjson.dumps(entry["event"]))
        elif entry["event"]["type"] == "session.update":
            core.session_update(entry["event"]["session"])
    return core, events, types


def raw_type(event: ev.Event) -> str:
    return event.type if isinstance(event, ev.OtherEvent) else event.raw_type


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_recorded_event_is_understood(path: Path) -> None:
    core, events, types = replay(path)
    assert [raw_type(event) for event in events] == types
    assert core.counters.events == Counter(types)
    assert (core.counters.unknown, core.counters.invalid) == (0, 0)
    assert core.counters.late_audio_dropped == core.counters.duplicate_audio_dropped == 0
    assert (core.state, core.active_response_id) == (State.READY, None)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_transcript_deltas_add_up_to_the_transcript(path: Path) -> None:
    _, events, _ = replay(path)
    said: Counter[str] = Counter()
    parts: dict[str, str] = {}
    for event in events:
        if isinstance(event, ev.AssistantTranscriptDelta | ev.TextDelta | ev.UserTranscriptDelta):
            parts[event.item_id] = parts.get(event.item_id, "") + event.text
        elif isinstance(event, ev.AssistantTranscript | ev.TextDone | ev.UserTranscript):
            said[event.item_id] += 1
            assert parts[event.item_id].strip() == event.text.strip()
    assert said, "a recording without a word"


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_response_ends_completed_with_usage(path: Path) -> None:
    _, events, _ = replay(path)
    done = [event for event in events if isinstance(event, ev.ResponseDone)]
    assert done
    assert all(event.status == "completed" and event.usage for event in done)


def test_the_tool_call_is_complete() -> None:
    path = next((path for path in RECORDINGS if path.stem == "tool_call_round"), None)
    if path is None:
        pytest.skip("no tool_call_round.jsonl among the recordings")
    _, events, _ = replay(path)
    (call,) = [event for event in events if isinstance(event, ev.FunctionCall)]
    assert call.name == "get_weather"
    assert orjson.loads(call.arguments) == {"city": "London"}


def test_the_judge_accepts_what_was_recorded_from_clients() -> None:
    """The same judge that tests our client events, held against events that the service took."""
    for path in RECORDINGS:
        for line in path.read_bytes().splitlines():
            entry = orjson.loads(line)
            if entry["direction"] == "client":
                event = construct_type(type_=RealtimeClientEvent, value=entry["event"])
                assert isinstance(event, BaseModel)
                type(event).model_validate(entry["event"])
