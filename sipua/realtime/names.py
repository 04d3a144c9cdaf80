"""Names of the voice service that came and went: models, transcription models, voices, formats, keys. Data only.

State of the table: November 2026. What a service has shut is refused with what replaces it; what is announced to end
is taken with a warning that has the date, also after it: a service that keeps a model longer than it said must not
keep our start from succeeding, and one that does not refuses the model itself (``sipua doctor`` tries it).

A name that is not in the table is taken: tomorrow's models, custom ``voice_…`` ids, Azure's deployments (named by
their owner, so model names mean nothing there) and whatever a self-hosted server calls its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Literal

VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
CUSTOM_VOICE_PREFIX = "voice_"

Kind = Literal["model", "transcription_model", "voice", "audio", "key"]


class Service(StrEnum):
    """Whose names are meant."""

    OPENAI = "openai"
    AZURE = "azure"
    COMPATIBLE = "compatible"


OPENAI = (Service.OPENAI,)
HOSTED = (Service.OPENAI, Service.AZURE)
ALL = tuple(Service)


@dataclass(frozen=True, slots=True)
class Former:
    """A name that is shut (``ends`` is None) or will be. ``pattern`` as in fnmatch; ``instead`` is what to write."""

    kind: Kind
    pattern: str
    services: tuple[Service, ...]
    why: str
    instead: str
    ends: date | None = None


_BETA = "was shut with the beta interface on 2026-05-12"
_TTS = "is a voice of text to speech only"
_SHAPE = "is a name of the beta interface, which was shut on 2026-05-12"
FORMER = (
    Former("model", "gpt-4o-realtime-preview*", OPENAI, _BETA, "gpt-realtime-2.1"),
    Former("model", "gpt-4o-mini-realtime-preview*", OPENAI, _BETA, "gpt-realtime-2.1-mini"),
    Former("model", "gpt-realtime-mini*", OPENAI, "ends", "gpt-realtime-2.1-mini", date(2027, 1, 20)),
    Former("model", "gpt-realtime", OPENAI, "ends", "gpt-realtime-2.1", date(2027, 1, 20)),
    Former("model", "gpt-realtime-2025-*", OPENAI, "ends", "gpt-realtime-2.1", date(2027, 1, 20)),
    Former("transcription_model", "whisper-1", OPENAI, "ends", "gpt-transcribe", date(2027, 2, 26)),
    Former("transcription_model", "gpt-4o*-transcribe*", OPENAI, "ends", "gpt-transcribe", date(2027, 2, 26)),
    Former("voice", "fable", HOSTED, _TTS, "ballad"),
    Former("voice", "onyx", HOSTED, _TTS, "cedar"),
    Former("voice", "nova", HOSTED, _TTS, "marin"),
    Former("audio", "pcm16", ALL, _SHAPE, "pcm24"),
    Former("audio", "g711_ulaw", ALL, _SHAPE, "match"),
    Former("audio", "g711_alaw", ALL, _SHAPE, "match"),
    Former("key", "temperature", HOSTED, "is not in the GA interface", ""),
    Former("key", "input_audio_format", ALL, _SHAPE, "audio"),
    Former("key", "output_audio_format", ALL, _SHAPE, "audio"),
    Former("key", "input_audio_transcription", ALL, _SHAPE, "transcription_model"),
    Former("key", "input_audio_noise_reduction", ALL, _SHAPE, "noise_reduction"),
    Former("key", "max_response_output_tokens", ALL, _SHAPE, "max_output_tokens"),
    Former("key", "turn_detection", ALL, "is a table here", "[realtime.vad]"),
    Former("key", "modalities", ALL, "is always audio on the phone", ""),
)


def former(service: Service, kind: Kind, name: str) -> Former | None:
    """Its line of the table, if it has one there."""
    return next(
        (
            row
            for row in FORMER
            if row.kind == kind and service in row.services and fnmatchcase(name, row.pattern)
        ),
        None,
    )


def refusal(service: Service, kind: Kind, name: str) -> str:
    """Why it cannot be used and what to write instead; "" if it can."""
    row = former(service, kind, name)
    voices = f"allowed: {', '.join(VOICES)} or a custom {CUSTOM_VOICE_PREFIX}… id"
    if row is not None and row.ends is None:
        instead = f"use {row.instead}" if row.instead else "leave it out"
        return f"{row.why}; {instead}" + (f"; {voices}" if kind == "voice" else "")
    is_known = name in VOICES or name.startswith(CUSTOM_VOICE_PREFIX)
    if kind == "voice" and service in HOSTED and not is_known:
        return f"there is no such voice; {voices}"
    return ""


def warning(service: Service, kind: Kind, name: str, today: date) -> str:
    """What is announced about it; "" if nothing is."""
    row = former(service, kind, name)
    if row is None or row.ends is None:
        return ""
    verb = "ends" if today < row.ends else "was announced to end"
    return f"{verb} on {row.ends.isoformat()}; use {row.instead}"


def has_reasoning(service: Service, model: str) -> bool:
    """Whether ``reasoning.effort`` may be set: at OpenAI only for the 2.x models; elsewhere its owner knows."""
    dated = fnmatchcase(model, "gpt-realtime-20??-*")
    return service is not Service.OPENAI or (fnmatchcase(model, "gpt-realtime-[2-9]*") and not dated)
