"""The voice service and its sessions, as the settings want them."""

from __future__ import annotations

from dataclasses import replace

from sipua.call_language import CallLanguage
from sipua.errors import ConfigError
from sipua.instructions import Template, parse
from sipua.language_choice import Choice, choose
from sipua.memory import NOTHING, Recollection
from sipua.ports import CallOpening, Moment
from sipua.realtime.backend import CAPABILITIES, OpenAIBackend
from sipua.realtime.config import AudioFormat, SessionConfig, Transcription, TurnDetection
from sipua.realtime.continuity import Rules
from sipua.realtime.names import HOSTED
from sipua.settings import Settings
from sipua.texts import Briefing, Texts, instructions_of


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
            formats=known.formats if chosen.audio == "match" else frozenset({AudioFormat.PCM24}),
            session_cap_s=float(chosen.session_cap_s) or known.session_cap_s,
        ),
    )


def rules_of(settings: Settings) -> Rules:
    """When sessions are followed by others."""
    chosen = settings.realtime
    return Rules(margin_s=chosen.rotate_before_s, budget_s=chosen.reconnect_s)


def session_config(settings: Settings, format: AudioFormat) -> SessionConfig:
    """What every call asks of the voice service; instructions and transcription become those of its language."""
    chosen = settings.realtime
    vad, interrupts = chosen.vad, settings.turns.rules(chosen.vad).service_interrupts
    detection = (
        TurnDetection(
            kind="server_vad",
            threshold=vad.threshold,
            prefix_padding_ms=vad.prefix_padding_ms,
            silence_duration_ms=vad.silence_duration_ms,
            create_response=True,
            interrupt_response=interrupts,
        )
        if vad.kind == "server_vad"
        else TurnDetection(
            kind="semantic_vad",
            eagerness=vad.eagerness,
            create_response=True,
            interrupt_response=interrupts,
        )
    )
    is_known = settings.voice_service in HOSTED  # of others nobody knows what they make of it
    transcription = Transcription(chosen.transcription_model, has_logprobs=is_known)
    return SessionConfig(
        model=chosen.model,
        instructions=chosen.instructions,
        voice=chosen.voice,
        audio_format=format,
        turn_detection=detection,
        transcription=transcription if chosen.transcription_model else None,
        noise_reduction=chosen.noise_reduction or None,
        speed=chosen.speed,
        max_output_tokens=chosen.max_output_tokens or "inf",
        reasoning_effort=chosen.reasoning_effort or None,
        truncation=chosen.truncation or chosen.retention_ratio or None,
        extra={"temperature": chosen.temperature} if chosen.temperature >= 0 else None,
    )


def text_config(settings: Settings, format: AudioFormat) -> SessionConfig:
    """The same for who writes instead of speaking: no sound either way."""
    spoken = session_config(settings, format)
    return replace(
        spoken,
        output_modality="text",
        turn_detection=None,
        transcription=None,
        noise_reduction=None,
        voice=None,
        speed=None,
    )


def own_instructions(settings: Settings) -> Template:
    """Those of the settings, for calls that no file is for. ConfigError names the key."""
    return parse(settings.realtime.instructions, "realtime.instructions")


def unused_instructions(settings: Settings, texts: Texts) -> list[str]:
    """For who has set ``realtime.instructions`` and wonders."""
    is_set = "instructions" in settings.realtime.model_fields_set
    by_file = texts.instructions.of(our_number=None, trunk="", locale="") is not None
    return (
        ["realtime.instructions is set, but instructions/default.md is what calls get"]
        if is_set and by_file
        else []
    )


def language_of(
    settings: Settings,
    texts: Texts,
    opening: CallOpening,
    now: Moment,
    *,
    remembered: Recollection | None = None,
    wanted: str = "",
) -> CallLanguage:
    """The language that a call begins in (``wanted``, if given), with what its voice session is told."""
    ours, theirs = opening.to_number, opening.from_number
    if opening.direction == "outbound":
        ours, theirs = theirs, ours
    known = remembered or NOTHING
    errand = opening.errand
    wanted = wanted or (errand.language if errand is not None else "")
    if wanted:
        choice = Choice(wanted, "wanted")
    else:
        choice = choose(
            texts.languages,
            our_number=ours,
            their_number=theirs,
            remembered=remembered.locale if remembered is not None else None,
        )
    local = now.wall.astimezone(settings.zone)
    lines = texts.departments.our_lines
    is_inbound = opening.direction == "inbound"  # who calls out keeps hours of another kind
    briefing = Briefing(
        ours, theirs, opening.country, opening.trunk, local,
        opening=lines.state(ours, opening.trunk, now.wall) if is_inbound else "",
        departments=texts.departments.lines(now.wall, opening.trunk), memory=known.lines(settings.zone),
    )  # fmt: skip
    otherwise = own_instructions(settings)
    return CallLanguage(
        texts.languages,
        choice,
        lambda locale: instructions_of(texts, briefing, locale, otherwise, errand),
        greeting=settings.realtime.greeting if errand is None else settings.outbound.greeting,
        hint=settings.realtime.transcription_language,
        recordings=texts.recordings,
        is_closed=is_inbound and lines.is_closed(ours, opening.trunk, now.wall),
        is_outbound=errand is not None,
    )
