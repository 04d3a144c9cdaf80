"""The voice service and its sessions, as the settings want them."""

from __future__ import annotations

from sipua.errors import ConfigError
from sipua.realtime.backend import OpenAIBackend
from sipua.realtime.config import AudioFormat, SessionConfig, Transcription, TurnDetection
from sipua.settings import Settings


def backend_of(settings: Settings) -> OpenAIBackend:
    """The voice service that the settings name. ConfigError without a key."""
    if settings.openai_api_key is None:
        raise ConfigError("environment OPENAI_API_KEY: not set, and realtime.api_key_file names no file")
    return OpenAIBackend(
        settings.openai_base_url,
        settings.openai_api_key.get_secret_value(),
        open_timeout_s=settings.realtime.connect_timeout_s,
    )


def session_config(settings: Settings, format: AudioFormat) -> SessionConfig:
    """What one call asks of the voice service."""
    chosen = settings.realtime
    vad = chosen.vad
    detection = (
        TurnDetection(
            kind="server_vad",
            threshold=vad.threshold,
            prefix_padding_ms=vad.prefix_padding_ms,
            silence_duration_ms=vad.silence_duration_ms,
            create_response=True,
            interrupt_response=True,
        )
        if vad.kind == "server_vad"
        else TurnDetection(
            kind="semantic_vad", eagerness=vad.eagerness, create_response=True, interrupt_response=True
        )
    )
    transcription = (
        Transcription(chosen.transcription_model, language=chosen.transcription_language or None)
        if chosen.transcription_model
        else None
    )
    return SessionConfig(
        model=chosen.model,
        instructions=chosen.instructions,
        voice=chosen.voice,
        audio_format=format,
        turn_detection=detection,
        transcription=transcription,
        noise_reduction=chosen.noise_reduction or None,
        speed=chosen.speed,
        max_output_tokens=chosen.max_output_tokens or "inf",
    )
