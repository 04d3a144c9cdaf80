"""The configuration: its wire shape, what is refused, and what the official SDK says about both."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from openai.types.realtime import RealtimeSessionCreateRequest, realtime_audio_config_output

from sipua.errors import ConfigError
from sipua.realtime.config import AudioFormat, SessionConfig, Transcription, TurnDetection
from sipua.realtime.names import VOICES

TOOL = {"type": "function", "name": "hang_up", "description": "", "parameters": {"type": "object"}}
FULL = SessionConfig(
    "gpt-realtime-2.1",
    instructions="Be brief.",
    voice="cedar",
    audio_format=AudioFormat.PCMA,
    turn_detection=TurnDetection("server_vad", 0.6, 300, 500, True, False, 6000),
    transcription=Transcription("gpt-transcribe", "sw", "A farmer calls."),
    noise_reduction="near_field",
    tools=(TOOL,),
    tool_choice="auto",
    speed=1.1,
    max_output_tokens=400,
    reasoning_effort="low",
    extra={"include": ["item.input_audio_transcription.logprobs"]},
)


def test_full_configuration_in_the_wire_shape() -> None:
    assert FULL.to_session() == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "Be brief.",
        "tools": [TOOL],
        "tool_choice": "auto",
        "max_output_tokens": 400,
        "reasoning": {"effort": "low"},
        "audio": {
            "input": {
                "format": {"type": "audio/pcma"},
                "noise_reduction": {"type": "near_field"},
                "transcription": {"model": "gpt-transcribe", "language": "sw", "prompt": "A farmer calls."},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.6,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "create_response": True,
                    "interrupt_response": False,
                    "idle_timeout_ms": 6000,
                },
            },
            "output": {"format": {"type": "audio/pcma"}, "voice": "cedar", "speed": 1.1},
        },
        "include": ["item.input_audio_transcription.logprobs"],
    }


def test_only_set_values_are_sent_and_vad_off_is_an_explicit_null() -> None:
    small = SessionConfig("m", voice=None, turn_detection=None, audio_format=AudioFormat.PCM24)
    pcm = {"type": "audio/pcm", "rate": 24000}
    assert small.to_session() == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {"input": {"format": pcm, "turn_detection": None}, "output": {"format": pcm}},
    }


@pytest.mark.parametrize(
    "config",
    [
        FULL,
        SessionConfig("m"),
        SessionConfig("m", voice="voice_1234", max_output_tokens="inf", output_modality="text"),
        SessionConfig("m", turn_detection=TurnDetection("semantic_vad", eagerness="high")),
        SessionConfig("m", truncation="disabled", reasoning_effort="xhigh"),
        SessionConfig("m", truncation=0.8),
        SessionConfig("m", turn_detection=None, audio_format=AudioFormat.PCM24),
    ],
)
def test_the_sdk_knows_every_field(config: SessionConfig) -> None:
    wire = config.to_session()
    assert RealtimeSessionCreateRequest.model_validate(wire).model_dump(exclude_unset=True) == wire


def test_voices_are_the_sdks() -> None:
    literal = get_args(realtime_audio_config_output.Voice)[1]
    assert get_args(literal) == VOICES


@pytest.mark.parametrize(("form", "per_ms"), [("PCMU", 8), ("PCMA", 8), ("PCM24", 48)])
def test_bytes_per_millisecond(form: str, per_ms: int) -> None:
    assert AudioFormat[form].bytes_per_ms == per_ms


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"voice": ""}, "voice: empty"),
        ({"reasoning_effort": "hard"}, "minimal, low, medium, high, xhigh"),
        ({"truncation": "some"}, "truncation: 'some' is not one of auto, disabled"),
        ({"truncation": 1.5}, "truncation: 1.5 is not between 0.0 and 1.0"),
        ({"model": ""}, "model: empty"),
        ({"speed": 2.0}, "speed: 2.0 is not between 0.25 and 1.5"),
        ({"max_output_tokens": 0}, "max_output_tokens: 0 is not between 1 and 4096"),
        ({"noise_reduction": "loud"}, "near_field, far_field"),
        ({"output_modality": "video"}, "output_modality"),
    ],
)
def test_bad_values_name_the_key_and_what_is_allowed(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SessionConfig(**({"model": "m"} | fields))
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"kind": "magic"}, "server_vad, semantic_vad"),
        ({"kind": "server_vad", "eagerness": "low"}, "eagerness does not belong to server_vad"),
        ({"kind": "semantic_vad", "threshold": 0.5}, "threshold does not belong to semantic_vad"),
        ({"kind": "semantic_vad", "eagerness": "huge"}, "low, medium, high, auto"),
        ({"threshold": 1.5}, "between 0.0 and 1.0"),
        ({"idle_timeout_ms": 100}, "between 5000 and 30000"),
    ],
)
def test_bad_turn_detection(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TurnDetection(**fields)
    assert named in str(caught.value)
