"""The keys of ``[realtime]``: what we ask of the voice service, and which of it that service knows.

Ranges are checked here as the file is read; names (models, voices) by ``faults`` once it is known whose they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sipua.realtime import names
from sipua.realtime.names import HOSTED, Kind, Service
from sipua.section import Milliseconds, Section

NAMED: tuple[Kind, ...] = ("model", "transcription_model", "voice")


class VadSettings(Section):
    """Who decides that the caller has finished (RealtimeSession.audio.input.turn_detection)."""

    kind: Literal["server_vad", "semantic_vad"] = "server_vad"
    """server_vad hears silence, semantic_vad the end of a sentence."""
    threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    """Loudness that counts as speech (server_vad only)."""
    prefix_padding_ms: Milliseconds = 300
    """Audio kept from before the speech (server_vad only)."""
    silence_duration_ms: Milliseconds = 500
    """Silence that ends a turn (server_vad only)."""
    eagerness: Literal["auto", "low", "medium", "high"] = "auto"
    """How soon it answers (semantic_vad only)."""


class RealtimeSettings(Section):
    """The voice service."""

    service: Literal["auto", "openai", "azure", "compatible"] = "auto"
    """Whose names and habits count; auto = by the host of OPENAI_BASE_URL."""
    auth_header: str = Field(default="", pattern=r"^[A-Za-z0-9-]{0,64}$")
    """Header that carries the key; empty = api-key at Azure, else Authorization (with Bearer)."""
    model: str = Field(default="gpt-realtime-2.1", min_length=1)
    """Realtime model; at Azure the name of the deployment."""
    voice: str = Field(default="marin", min_length=1)
    """A voice of the service, or a custom voice_… id."""
    audio: Literal["match", "pcm24"] = "match"
    """match = the call's own G.711, passed through; pcm24 = 24 kHz PCM."""
    instructions: str = "You are a friendly telephone assistant. Answer briefly and in the caller's language."
    """What the agent is, where the folder instructions/ has no file for the call."""
    greeting: str = "Greet the caller with exactly these words: {{greeting}}"
    """Instructions for the first words; {{greeting}} = those of the language; empty = the caller speaks first."""
    transcription_model: str = "gpt-transcribe"
    """Model that writes down the caller's words; empty = none."""
    transcription_language: str = Field(default="", pattern=r"^([a-z]{2}|none)?$")
    """Hint of two letters; empty = the call's language; none = left to detection."""
    noise_reduction: Literal["", "near_field", "far_field"] = ""
    """The service's noise reduction; empty = none."""
    reasoning_effort: Literal["", "minimal", "low", "medium", "high", "xhigh"] = ""
    """How long it thinks before it speaks (models of the 2.x line); empty = the service's default."""
    speed: float = Field(default=1.0, ge=0.25, le=1.5)
    """How fast the agent speaks."""
    max_output_tokens: int = Field(default=0, ge=0, le=4096)
    """Limit of one answer; 0 = none."""
    truncation: Literal["", "auto", "disabled"] = ""
    """What happens when the context is full; empty = the service's default (auto)."""
    retention_ratio: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the context that is kept when it is full, instead of truncation; 0 = unset."""
    temperature: float = Field(default=-1.0, ge=-1.0, le=2.0)
    """For compatible servers only, as the GA interface of OpenAI and Azure has none; below 0 = unset."""
    session_cap_s: int = Field(default=0, ge=0, le=86_400)
    """Life of a session; 0 = as the service is known to have it (3600; none at compatible servers)."""
    rotate_before_s: float = Field(default=120.0, ge=1.0, le=3600.0)
    """So long before its end a session is followed by another, in a quiet moment."""
    reconnect_s: float = Field(default=20.0, ge=0, le=120.0)
    """So long a session is sought for a call that has lost its own; 0 = the call ends."""
    client_truncates: bool = True
    """Whether the service is told how much the caller heard; false for a server that refuses it."""
    connect_timeout_s: float = Field(default=4.0, gt=0, le=4.5)
    """The caller gets 503 when the service is not ready by then."""
    api_key_file: str = ""
    """A file that holds the key, instead of OPENAI_API_KEY."""
    vad: VadSettings = VadSettings()

    @model_validator(mode="before")
    @classmethod
    def _present_day_keys(cls, data: Any) -> Any:
        for key in data if isinstance(data, Mapping) else ():
            if why := names.refusal(Service.COMPATIBLE, "key", str(key)):
                raise ValueError(f"{key} {why}")
        return data

    @field_validator("audio", mode="before")
    @classmethod
    def _present_day_format(cls, value: Any) -> Any:
        if why := names.refusal(Service.COMPATIBLE, "audio", str(value)):
            raise ValueError(why)
        return value

    @model_validator(mode="after")
    def _one_truncation(self) -> RealtimeSettings:
        if self.truncation and self.retention_ratio:
            raise ValueError(
                f"truncation = {self.truncation!r} and retention_ratio = {self.retention_ratio}: one of them"
            )
        return self


def faults(realtime: RealtimeSettings, service: Service) -> list[tuple[str, str]]:
    """Keys whose value this service has shut or never had, with why and what to write."""
    found: list[tuple[str, str]] = [
        (kind, why)
        for kind in NAMED
        if (value := getattr(realtime, kind)) and (why := names.refusal(service, kind, value))
    ]
    if realtime.temperature >= 0 and service in HOSTED:
        found.append(("temperature", names.refusal(service, "key", "temperature")))
    if realtime.reasoning_effort and not names.has_reasoning(service, realtime.model):
        found.append(("reasoning_effort", f"{realtime.model} has none; leave it out or use gpt-realtime-2.1"))
    return found


def warnings(realtime: RealtimeSettings, service: Service, today: date) -> list[str]:
    """What is announced for names in use."""
    return [
        f"realtime.{kind} = {getattr(realtime, kind)!r}: {text}"
        for kind in NAMED
        if (text := names.warning(service, kind, getattr(realtime, kind), today))
    ]
