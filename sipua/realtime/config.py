"""What we ask of a voice session: frozen values, checked once, and their GA wire shape.

Theory: in ``session.update`` an absent key means "leave as it is" and ``null`` means "off". A new session has
server VAD on, and transcription and noise reduction off; so only ``turn_detection`` needs an explicit null,
and whatever is None elsewhere is left out. The model is chosen by the URL: ``session.update`` ignores it.
Bad values are ConfigError, so that start is refused with the key, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from sipua.errors import ConfigError
from sipua.realtime.names import CUSTOM_VOICE_PREFIX

SPEED_RANGE = (0.25, 1.5)
MAX_OUTPUT_TOKENS_RANGE = (1, 4096)
IDLE_TIMEOUT_MS_RANGE = (5000, 30000)
NOISE_REDUCTIONS = ("near_field", "far_field")
EAGERNESS = ("low", "medium", "high", "auto")
EFFORTS = ("minimal", "low", "medium", "high", "xhigh")
TRUNCATIONS = ("auto", "disabled")
LOGPROBS = "item.input_audio_transcription.logprobs"


def _voice(voice: str | None) -> str | dict[str, str] | None:
    if voice is not None and voice.startswith(CUSTOM_VOICE_PREFIX):
        return {"id": voice}
    return voice


def _truncation(value: str | float | None) -> str | dict[str, Any] | None:
    if value is None or isinstance(value, str):
        return value
    return {"type": "retention_ratio", "retention_ratio": value}


def _set_only(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _one_of(key: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{key}: {value!r} is not one of {', '.join(allowed)}")


def _between(key: str, value: float | None, allowed: tuple[float, float]) -> None:
    if value is not None and not allowed[0] <= value <= allowed[1]:
        raise ConfigError(f"{key}: {value!r} is not between {allowed[0]} and {allowed[1]}")


class AudioFormat(Enum):
    """Codec of both directions of a session; a phone call's own codec needs no conversion."""

    PCMU = "audio/pcmu"
    PCMA = "audio/pcma"
    PCM24 = "audio/pcm"

    @property
    def wire(self) -> dict[str, Any]:
        """The format as the service spells it: ``audio/pcm`` needs its rate, the G.711 ones take none."""
        return {"type": self.value, "rate": 24000} if self is AudioFormat.PCM24 else {"type": self.value}

    @property
    def bytes_per_ms(self) -> int:
        """8 kHz × 1 byte for G.711, 24 kHz × 2 bytes for PCM."""
        return 48 if self is AudioFormat.PCM24 else 8


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """The service's own VAD. None means its default; some fields belong to one kind only."""

    kind: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: int | None = None
    eagerness: Literal["low", "medium", "high", "auto"] | None = None

    def __post_init__(self) -> None:
        _one_of("turn_detection.kind", self.kind, ("server_vad", "semantic_vad"))
        if self.eagerness is not None:
            _one_of("turn_detection.eagerness", self.eagerness, EAGERNESS)
        _between("turn_detection.threshold", self.threshold, (0.0, 1.0))
        _between("turn_detection.prefix_padding_ms", self.prefix_padding_ms, (0, 60_000))
        _between("turn_detection.silence_duration_ms", self.silence_duration_ms, (0, 60_000))
        _between("turn_detection.idle_timeout_ms", self.idle_timeout_ms, IDLE_TIMEOUT_MS_RANGE)
        server_only = ("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms")
        foreign = ("eagerness",) if self.kind == "server_vad" else server_only
        for name in foreign:
            if getattr(self, name) is not None:
                raise ConfigError(f"turn_detection.{name} does not belong to {self.kind}: leave it out")

    def wire(self) -> dict[str, Any]:
        names = (
            "threshold",
            "prefix_padding_ms",
            "silence_duration_ms",
            "create_response",
            "interrupt_response",
            "idle_timeout_ms",
            "eagerness",
        )
        return {"type": self.kind} | _set_only({name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class Transcription:
    """Transcription of the caller. ``language`` is ISO 639-1; the model may refuse it (Kinyarwanda): see ``hints``.

    ``language_prompt`` is never sent beside a language; it becomes the prompt where that is refused.
    """

    model: str
    language: str | None = None
    prompt: str | None = None
    language_prompt: str | None = None
    has_logprobs: bool = False  # asked for by the session's ``include``; may be refused, too

    def wire(self) -> dict[str, Any]:
        return _set_only({"model": self.model, "language": self.language, "prompt": self.prompt})


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Everything one session is asked to be. Whether the service knows model and voice is said by ``names``.

    ``truncation`` as a number is the share of the context that is kept when it is full. ``extra`` is merged last into
    the top level of the session (``tracing``, ``include``, ``parallel_tool_calls`` …), unchecked.
    """

    model: str
    instructions: str = ""
    voice: str | None = "marin"
    audio_format: AudioFormat = AudioFormat.PCMU
    turn_detection: TurnDetection | None = TurnDetection()
    transcription: Transcription | None = None
    noise_reduction: Literal["near_field", "far_field"] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    speed: float | None = None
    max_output_tokens: int | Literal["inf"] | None = None
    output_modality: Literal["audio", "text"] = "audio"
    reasoning_effort: str | None = None
    truncation: str | float | None = None
    extra: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("model: empty; name a Realtime model, for example gpt-realtime-2.1")
        if self.voice == "":
            raise ConfigError("voice: empty; name a voice of the service, for example marin")
        if self.noise_reduction is not None:
            _one_of("noise_reduction", self.noise_reduction, NOISE_REDUCTIONS)
        if self.reasoning_effort is not None:
            _one_of("reasoning_effort", self.reasoning_effort, EFFORTS)
        if isinstance(self.truncation, str):
            _one_of("truncation", self.truncation, TRUNCATIONS)
        else:
            _between("truncation", self.truncation, (0.0, 1.0))
        _one_of("output_modality", self.output_modality, ("audio", "text"))
        _between("speed", self.speed, SPEED_RANGE)
        if self.max_output_tokens != "inf":
            _between("max_output_tokens", self.max_output_tokens, MAX_OUTPUT_TOKENS_RANGE)

    def to_session(self) -> dict[str, Any]:
        """The ``session`` of ``session.update``, GA shape."""
        turn_detection = self.turn_detection.wire() if self.turn_detection is not None else None
        audio_input = {"format": self.audio_format.wire} | _set_only(
            {
                "noise_reduction": {"type": self.noise_reduction} if self.noise_reduction else None,
                "transcription": self.transcription.wire() if self.transcription else None,
            }
        )
        audio_output = {"format": self.audio_format.wire} | _set_only(
            {"voice": _voice(self.voice), "speed": self.speed}
        )
        return (
            {"type": "realtime", "output_modalities": [self.output_modality]}
            | _set_only(
                {
                    "instructions": self.instructions or None,
                    "tools": [dict(tool) for tool in self.tools] or None,
                    "tool_choice": self.tool_choice,
                    "max_output_tokens": self.max_output_tokens,
                    "reasoning": {"effort": self.reasoning_effort} if self.reasoning_effort else None,
                    "truncation": _truncation(self.truncation),
                    "include": [LOGPROBS] if self.transcription and self.transcription.has_logprobs else None,
                }
            )
            | {"audio": {"input": audio_input | {"turn_detection": turn_detection}, "output": audio_output}}
            | dict(self.extra or {})
        )
