"""The voice service and its sessions, as the settings want them."""

from __future__ import annotations

from dataclasses import replace

from sipua.errors import ConfigError
from sipua.realtime.backend import CAPABILITIES, OpenAIBackend
from sipua.realtime.config import AudioFormat, SessionConfig, Transcription, TurnDetection
from sipua.settings import Settings


def backend_of(settings: Settings) -> OpenAIBackend:
    """The voice service that the settings name. ConfigError without a key."""
    if settings.openai_api_key is None:
        raise ConfigError("environment OPENAI_API_KEY: not set, and realtime.api_key_file names no file")
    service, chosen = settings.voice_service, settings.realtime
    known = CAPABILITIES[service]
    return OpenAIBackend(
        settings.openai_base_url,
        settings.openai_api_key.get_secret_value(),
        service=service,
        header_name=chosen.auth_header,
        open_timeout_s=chosen.connect_timeout_s,
        capabilities=replace(
            known,
            client_truncates=chosen.client_truncates,
            session_cap_s=float(chosen.session_cap_s) or known.session_cap_s,
        ),
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
        reasoning_effort=chosen.reasoning_effort or None,
        truncation=chosen.truncation or chosen.retention_ratio or None,
        extra={"temperature": chosen.temperature} if chosen.temperature >= 0 else None,
    )
