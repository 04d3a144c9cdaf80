"""Session defaults, strict updates, the echo."""

from __future__ import annotations

from typing import Any

import pytest

from .driven import PCMU, Driven, Event, error_of


@pytest.mark.parametrize(
    ("model", "voice", "silence_ms"),
    [("gpt-realtime", "alloy", 200), ("gpt-realtime-mini", "alloy", 200), ("gpt-realtime-2.1", "marin", 500)],
)
def test_defaults_per_model(model: str, voice: str, silence_ms: int) -> None:
    session = Driven(model=model).events[0]["session"]
    assert session["model"] == model
    assert session["audio"]["output"]["voice"] == voice
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == silence_ms
    assert session["expires_at"] == 1_800_003_600


def _input(**fields: Any) -> Event:
    return {"audio": {"input": fields}}


def _output(**fields: Any) -> Event:
    return {"audio": {"output": fields}}


def _vad(**fields: Any) -> Event:
    return _input(turn_detection={"type": "server_vad", **fields})


REFUSED: list[tuple[Event, str, str]] = [
    ({"temperature": 0.8}, "unknown_parameter", "session.temperature"),
    ({"voice": "alloy"}, "unknown_parameter", "session.voice"),
    ({"input_audio_format": "pcm16"}, "unknown_parameter", "session.input_audio_format"),
    ({"type": "transcription"}, "invalid_value", "session.type"),
    ({"instructions": 5}, "invalid_type", "session.instructions"),
    ({"output_modalities": ["audio", "text"]}, "invalid_value", "session.output_modalities"),
    ({"output_modalities": ["smell"]}, "invalid_value", "session.output_modalities[0]"),
    ({"max_output_tokens": 0}, "integer_below_min_value", "session.max_output_tokens"),
    ({"max_output_tokens": 5000}, "integer_above_max_value", "session.max_output_tokens"),
    ({"reasoning": {"effort": "low"}}, "unknown_parameter", "session.reasoning"),
    ({"include": ["everything"]}, "invalid_value", "session.include[0]"),
    (_input(format={"type": "audio/pcm"}), "missing_required_parameter", "session.audio.input.format.rate"),
    (_input(format={"type": "audio/pcm", "rate": 16000}), "invalid_value", "session.audio.input.format.rate"),
    (
        _input(format={"type": "audio/pcmu", "rate": 8000}),
        "unknown_parameter",
        "session.audio.input.format.rate",
    ),
    (
        _output(format={"type": "audio/pcma", "rate": 8000}),
        "unknown_parameter",
        "session.audio.output.format.rate",
    ),
    (_input(format={"type": "g711_ulaw"}), "invalid_value", "session.audio.input.format.type"),
    (_input(format="pcm16"), "invalid_type", "session.audio.input.format"),
    (_output(voice="fable"), "invalid_value", "session.audio.output.voice"),
    (_output(voice="onyx"), "invalid_value", "session.audio.output.voice"),
    (_output(voice="nova"), "invalid_value", "session.audio.output.voice"),
    (_output(speed=2.0), "decimal_above_max_value", "session.audio.output.speed"),
    (_input(noise_reduction={"type": "none"}), "invalid_value", "session.audio.input.noise_reduction.type"),
    (
        _input(transcription={"model": "whisper-9"}),
        "invalid_value",
        "session.audio.input.transcription.model",
    ),
    (
        _input(transcription={"model": "whisper-1", "language": "rw"}),
        "invalid_value",
        "session.audio.input.transcription.language",
    ),
    (
        _input(transcription={"model": "gpt-realtime-whisper", "languages": ["en", "rw"]}),
        "invalid_value",
        "session.audio.input.transcription.languages[1]",
    ),
    (
        _input(turn_detection={"threshold": 0.5}),
        "missing_required_parameter",
        "session.audio.input.turn_detection.type",
    ),
    (_input(turn_detection={"type": "magic"}), "invalid_value", "session.audio.input.turn_detection.type"),
    (_vad(threshold=1.5), "decimal_above_max_value", "session.audio.input.turn_detection.threshold"),
    (
        _vad(silence_duration_ms=-1),
        "integer_below_min_value",
        "session.audio.input.turn_detection.silence_duration_ms",
    ),
    (
        _vad(idle_timeout_ms=100),
        "integer_below_min_value",
        "session.audio.input.turn_detection.idle_timeout_ms",
    ),
    (_vad(eagerness="low"), "unknown_parameter", "session.audio.input.turn_detection.eagerness"),
    (_vad(create_response=1), "invalid_type", "session.audio.input.turn_detection.create_response"),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
    ({"tools": [{"type": "function", "function": {}}]}, "unknown_parameter", "session.tools[0].function"),
    ({"tools": [{"type": "function", "name": "a b"}]}, "invalid_value", "session.tools[0].name"),
    ({"tools": [{"type": "web_search"}]}, "invalid_value", "session.tools[0].type"),
    ({"tools": [{"type": "mcp"}]}, "missing_required_parameter", "session.tools[0].server_label"),
    ({"tools": {}}, "invalid_type", "session.tools"),
    ({"tool_choice": "maybe"}, "invalid_value", "session.tool_choice"),
    ({"truncation": "sometimes"}, "invalid_value", "session.truncation"),
]


@pytest.mark.parametrize(("update", "code", "param"), REFUSED, ids=[f"{r[2]}-{r[1]}" for r in REFUSED])
def test_a_bad_update_is_refused_and_changes_nothing(update: Event, code: str, param: str) -> None:
    session = Driven()
    body = {"type": "realtime", "instructions": "Be brief.", **update}
    error = error_of(session.send("session.update", session=body, event_id="evt-1"))
    assert (error["code"], error["param"], error["event_id"]) == (code, param, "evt-1")
    (echo,) = session.update()
    assert echo["session"] == session.events[0]["session"]


def test_type_is_required() -> None:
    error = error_of(Driven().send("session.update", session={"instructions": "x"}))
    assert (error["code"], error["param"]) == ("missing_required_parameter", "session.type")


ACCEPTED: list[Event] = [
    {},
    PCMU,
    {"model": "ignored"},
    {"max_output_tokens": "inf"},
    {"tracing": "auto"},
    {"tracing": {"workflow_name": "x"}},
    {"truncation": {"type": "retention_ratio", "retention_ratio": 0.8}},
    {"tool_choice": {"type": "function", "name": "x"}},
    _input(noise_reduction={"type": "near_field"}),
    _input(transcription={"model": "whisper-1", "language": "sw"}),
    _input(transcription={"model": "gpt-transcribe", "language": "rw"}),
    _input(turn_detection={"type": "semantic_vad", "eagerness": "high"}),
    _input(turn_detection=None, transcription=None, noise_reduction=None),
    _output(voice="sage", speed=1.25),
]


@pytest.mark.parametrize("update", ACCEPTED, ids=str)
def test_a_good_update_is_echoed_as_effective(update: Event) -> None:
    (echo,) = Driven().update(**update)
    assert echo["type"] == "session.updated"
    session = echo["session"]
    assert session["model"] == "gpt-realtime"
    for side, fields in update.get("audio", {}).items():
        for key, value in fields.items():
            have = session["audio"][side][key]
            assert have == value or {**have, **value} == have


def test_a_voice_of_ones_own_is_echoed_by_its_id() -> None:
    (echo,) = Driven().update(**_output(voice={"id": "voice_123"}))
    assert echo["session"]["audio"]["output"]["voice"] == "voice_123"


def test_absent_keeps_and_null_clears() -> None:
    session = Driven()
    session.update(**_vad(silence_duration_ms=900))
    (echo,) = session.update(**_vad(threshold=0.7))
    assert echo["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 900
    (echo,) = session.update(**_input(turn_detection=None))
    assert echo["session"]["audio"]["input"]["turn_detection"] is None


def test_the_voice_is_locked_after_the_first_audio() -> None:
    session = Driven()
    assert session.update(**_output(voice="cedar"))[0]["type"] == "session.updated"
    session.send("response.create")
    session.run()
    assert error_of(session.update(**_output(voice="marin")))["code"] == "cannot_update_voice"
    assert session.update(**_output(voice="cedar"))[0]["type"] == "session.updated"


def test_reasoning_belongs_to_the_second_generation() -> None:
    (echo,) = Driven(model="gpt-realtime-2.1").update(reasoning={"effort": "minimal"})
    assert echo["session"]["reasoning"] == {"effort": "minimal"}


@pytest.mark.parametrize(("length", "ok"), [(512, True), (513, False)])
def test_event_ids_have_at_most_512_characters(length: int, ok: bool) -> None:
    events = Driven().send("session.update", session={"type": "realtime"}, event_id="x" * length)
    assert (events[0]["type"] == "session.updated") == ok
