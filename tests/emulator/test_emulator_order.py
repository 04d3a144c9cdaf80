"""The order of a spoken turn, a text turn and a tool round: tables of ours, held to recordings where at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from .driven import Driven, Event

_DELTAS = ("response.output_audio.delta", "response.output_audio_transcript.delta")
_TRANSCRIPTION = "conversation.item.input_audio_transcription."
_ANSWER_START = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
_ANSWER_END = [
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]
_AUDIO_ANSWER = [
    *_ANSWER_START,
    "+".join(_DELTAS),
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    *_ANSWER_END,
]
_OPENING = ["session.created", "session.updated"]
_ITEM = ["conversation.item.added", "conversation.item.done"]

SPOKEN_TURN = [
    *_OPENING,
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    *_ITEM,
    *_AUDIO_ANSWER,
]
TEXT_TURN = [*_OPENING, *_ITEM, *_AUDIO_ANSWER]
TOOL_ROUND = [
    *_OPENING,
    *_ITEM,
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    *_ITEM,
    *_ANSWER_START,
    "response.output_text.delta",
    "response.output_text.done",
    *_ANSWER_END,
]

SCRIPT = """
rate_limits = false
[[turn]]
user = "Hello, my name is Example."
say = "Hello, Example! Great to meet you."
"""
WEATHER = """
rate_limits = false
[[turn]]
user = "What is the weather in London?"
[[turn.tool]]
name = "get_weather"
arguments = { city = "London" }
say = "It is foggy and 12 degrees in London."
"""
TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}


def skeleton(events: list[Event]) -> list[str]:
    """Event types in order: runs of one type are one, interleaved audio and transcript deltas are one,
    the caller's transcription (which comes when it likes) is left out."""
    found: list[str] = []
    for event in events:
        kind = "+".join(_DELTAS) if event["type"] in _DELTAS else event["type"]
        if not kind.startswith(_TRANSCRIPTION) and (not found or found[-1] != kind):
            found.append(kind)
    return found


def spoken_turn() -> list[Event]:
    session = Driven(SCRIPT)
    session.listen()
    session.ask()
    session.run()
    return session.events


def text_turn() -> list[Event]:
    session = Driven(SCRIPT)
    session.listen()
    _say(session, "Say a short greeting.")
    session.send("response.create")
    session.run()
    return session.events


def tool_round() -> list[Event]:
    session = Driven(WEATHER)
    session.listen()
    session.update(output_modalities=["text"], tools=[TOOL])
    _say(session, "What is the weather in London?")
    session.send("response.create")
    session.run()
    call_id = session.of("response.function_call_arguments.done")[0]["call_id"]
    output = {"type": "function_call_output", "call_id": call_id, "output": "foggy"}
    session.send("conversation.item.create", item=output)
    assert session.run() == []  # answers come on response.create only
    session.send("response.create")
    session.run()
    return session.events


def _say(session: Driven, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    session.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})


TURNS = {
    "audio_in_server_vad_turn": (spoken_turn, SPOKEN_TURN),
    "text_in_audio_out_turn": (text_turn, TEXT_TURN),
    "tool_call_round": (tool_round, TOOL_ROUND),
}


@pytest.mark.parametrize("name", TURNS)
def test_the_order_of_a_turn_is_the_table(name: str) -> None:
    perform, expected = TURNS[name]
    assert skeleton(perform()) == expected


def _recording(name: str) -> list[Event]:
    folder = os.environ.get("REALTIME_RECORDINGS")
    if not folder:
        pytest.skip("REALTIME_RECORDINGS names no folder with recordings")
    lines = (Path(folder) / f"{name}.jsonl").read_text().splitlines()
    return [entry["event"] for entry in map(json.loads, lines) if entry["direction"] == "server"]


@pytest.mark.parametrize("name", TURNS)
def test_the_order_of_a_turn_is_that_of_the_recording(name: str) -> None:
    assert skeleton(_recording(name)) == TURNS[name][1]


@pytest.mark.parametrize("name", TURNS)
def test_the_fields_of_every_event_are_those_of_the_recording(name: str) -> None:
    """Same names in the same order, for each type of event and of item."""
    theirs = {_signature(event): _shape(event) for event in _recording(name)}
    ours = {_signature(event): _shape(event) for event in TURNS[name][0]()}
    assert ours == {key: theirs[key] for key in ours}


def _signature(event: Event) -> tuple[str, ...]:
    item = event.get("item", {})
    return (event["type"], item.get("type", ""), item.get("role", ""), item.get("status", ""))


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return [
            (key, _shape(each))
            for key, each in value.items()
            if key not in ("parameters", "tools", "output", "format")
        ]
    if isinstance(value, list):
        return [_shape(each) for each in value[:1]]
    return None


def test_transcription_comes_during_the_answer_and_is_labelled() -> None:
    events = [event for event in spoken_turn() if event["type"].startswith(_TRANSCRIPTION)]
    assert {event["type"] for event in events[:-1]} == {_TRANSCRIPTION + "delta"}
    assert events[-1]["transcript"] == "[script] Hello, my name is Example."
    assert "".join(event["delta"] for event in events[:-1]) == " [script] Hello, my name is Example."


def test_text_deltas_are_padded_to_a_multiple_of_sixteen() -> None:
    padded = [event for event in spoken_turn() + tool_round() if "obfuscation" in event]
    assert padded
    assert all((len(event["delta"]) + len(event["obfuscation"])) % 16 == 0 for event in padded)
