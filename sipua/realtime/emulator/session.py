"""Session configuration: defaults per model, strict validation of ``session.update``, the echo.

No I/O, no clock. Field set and order of the echo are those of the recordings; fields of the 2.x models
(``reasoning``) and ``semantic_vad`` are derived from the specification, not observed.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from .validate import (
    Check,
    RequestError,
    anything,
    boolean,
    by_type,
    decimal,
    integer,
    invalid,
    list_of,
    mapping,
    nullable,
    one_of,
    record,
    text,
    unknown,
)
from .wire import Event

MODELS = (
    "gpt-realtime",
    "gpt-realtime-2025-08-28",
    "gpt-realtime-1.5",
    "gpt-realtime-2",
    "gpt-realtime-2.1",
    "gpt-realtime-2.1-mini",
    "gpt-realtime-mini",
    "gpt-realtime-mini-2025-10-06",
    "gpt-realtime-mini-2025-12-15",
)
VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
TRANSCRIPTION_MODELS = (
    "whisper-1",
    "gpt-transcribe",
    "gpt-live-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-4o-transcribe-diarize",
    "gpt-realtime-whisper",
)
# Whisper's languages; Kinyarwanda (rw) is not among them. Whether the newer models take it is unknown: here
# they take any two- or three-letter code.
WHISPER_LANGUAGES = frozenset(
    [
        "af",
        "am",
        "ar",
        "as",
        "az",
        "ba",
        "be",
        "bg",
        "bn",
        "bo",
        "br",
        "bs",
        "ca",
        "cs",
        "cy",
        "da",
        "de",
        "el",
        "en",
        "es",
        "et",
        "eu",
        "fa",
        "fi",
        "fo",
        "fr",
        "gl",
        "gu",
        "ha",
        "haw",
        "he",
        "hi",
        "hr",
        "ht",
        "hu",
        "hy",
        "id",
        "is",
        "it",
        "ja",
        "jw",
        "ka",
        "kk",
        "km",
        "kn",
        "ko",
        "la",
        "lb",
        "ln",
        "lo",
        "lt",
        "lv",
        "mg",
        "mi",
        "mk",
        "ml",
        "mn",
        "mr",
        "ms",
        "mt",
        "my",
        "ne",
        "nl",
        "nn",
        "no",
        "oc",
        "pa",
        "pl",
        "ps",
        "pt",
        "ro",
        "ru",
        "sa",
        "sd",
        "si",
        "sk",
        "sl",
        "sn",
        "so",
        "sq",
        "sr",
        "su",
        "sv",
        "sw",
        "ta",
        "te",
        "tg",
        "th",
        "tk",
        "tl",
        "tr",
        "tt",
        "uk",
        "ur",
        "uz",
        "vi",
        "yi",
        "yo",
        "zh",
        "yue",
    ]
)
_ANY_LANGUAGE_MODELS = ("gpt-transcribe", "gpt-live-transcribe")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,4})?")
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_INSTRUCTIONS = (
    "You are a helpful, witty, and friendly AI. Act like a human, but remember that you aren't a human and "
    "that you can't do human things in the real world. Talk quickly. (Default persona of the emulator.)"
)

_modalities = list_of(one_of("text", "audio"))
_FORMATS: dict[str, Check] = {
    "audio/pcm": record({"type": text, "rate": anything}, required=("type", "rate")),
    "audio/pcmu": record({"type": text}),
    "audio/pcma": record({"type": text}),
}


def _format(value: Any, path: str) -> Any:
    checked = by_type(_FORMATS)(value, path)
    if checked["type"] == "audio/pcm" and (checked["rate"] != 24000 or isinstance(checked["rate"], bool)):
        raise invalid(f"{path}.rate", checked["rate"], 24000)
    return checked


def _voice(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        return record({"id": text}, required=("id",))(value, path)
    return one_of(*VOICES)(value, path)


def _output_modalities(value: Any, path: str) -> Any:
    if _modalities(value, path) not in (["audio"], ["text"]):
        raise invalid(path, value, "['text'] and ['audio']")
    return value


def _max_output_tokens(value: Any, path: str) -> Any:
    return value if value == "inf" else integer(1, 4096)(value, path)


def _tool_name(value: Any, path: str) -> Any:
    if not _TOOL_NAME.fullmatch(text(value, path)):
        raise RequestError("invalid_value", f"Invalid '{path}': must match {_TOOL_NAME.pattern}.", path)
    return value


def _list_or(inner: Check) -> Check:
    return lambda value, path: (list_of(text) if isinstance(value, list) else inner)(value, path)


_TOOLS: dict[str, Check] = {
    "function": record(
        {"type": text, "name": _tool_name, "description": text, "parameters": mapping}, ("type", "name")
    ),
    "mcp": record(
        {
            "type": text,
            "server_label": text,
            "server_url": text,
            "connector_id": text,
            "server_description": text,
            "authorization": text,
            "headers": nullable(mapping),
            "allowed_tools": nullable(_list_or(mapping)),
            "require_approval": lambda v, p: (
                mapping(v, p) if isinstance(v, dict) else nullable(one_of("always", "never"))(v, p)
            ),
        },
        ("type", "server_label"),
    ),
}


def _tool_choice(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return one_of("none", "auto", "required")(value, path)
    return by_type(
        {
            "function": record({"type": text, "name": text}, ("name",)),
            "mcp": record({"type": text, "server_label": text, "name": nullable(text)}, ("server_label",)),
        }
    )(value, path)


def _transcription(value: Any, path: str) -> Any:
    checked = record(
        {
            "model": one_of(*TRANSCRIPTION_MODELS),
            "language": nullable(text),
            "languages": nullable(list_of(text)),
            "keywords": nullable(list_of(text)),
            "prompt": nullable(text),
            "delay": nullable(one_of("minimal", "low", "medium", "high", "xhigh")),
        }
    )(value, path)
    codes = [("language", checked.get("language"))]
    codes += [(f"languages[{i}]", each) for i, each in enumerate(checked.get("languages") or [])]
    for key, code in codes:
        if code is not None and not _language_known(code, checked.get("model")):
            raise RequestError(
                "invalid_value", f"Invalid language: '{code}'. Use an ISO-639 code.", f"{path}.{key}"
            )
    return checked


def _language_known(code: str, model: str | None) -> bool:
    if model in _ANY_LANGUAGE_MODELS:
        return _LANGUAGE.fullmatch(code) is not None
    return code.split("-")[0] in WHISPER_LANGUAGES


_TURN_DETECTION: dict[str, Check] = {
    "server_vad": record(
        {
            "type": text,
            "threshold": decimal(0.0, 1.0),
            "prefix_padding_ms": integer(0, 5000),
            "silence_duration_ms": integer(0, 15000),
            "idle_timeout_ms": nullable(integer(5000, 30000)),
            "create_response": boolean,
            "interrupt_response": boolean,
        }
    ),
    "semantic_vad": record(
        {
            "type": text,
            "eagerness": one_of("low", "medium", "high", "auto"),
            "create_response": boolean,
            "interrupt_response": boolean,
        }
    ),
}


def _truncation(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return one_of("auto", "disabled")(value, path)
    kinds = {"retention_ratio": {"type": text, "retention_ratio": decimal(0.0, 1.0), "token_limits": mapping}}
    return by_type({key: record(fields) for key, fields in kinds.items()})(value, path)


_FIELDS: dict[str, Check] = {
    "type": one_of("realtime"),
    "model": text,
    "output_modalities": _output_modalities,
    "instructions": text,
    "tools": list_of(by_type(_TOOLS)),
    "tool_choice": _tool_choice,
    "parallel_tool_calls": boolean,
    "max_output_tokens": _max_output_tokens,
    "tracing": lambda v, p: one_of("auto")(v, p) if isinstance(v, str) else nullable(mapping)(v, p),
    "truncation": _truncation,
    "prompt": nullable(
        record({"id": text, "version": nullable(text), "variables": nullable(mapping)}, ("id",))
    ),
    "reasoning": nullable(record({"effort": one_of("minimal", "low", "medium", "high", "xhigh")})),
    "include": nullable(list_of(one_of("item.input_audio_transcription.logprobs"))),
    "audio": record(
        {
            "input": record(
                {
                    "format": _format,
                    "transcription": nullable(_transcription),
                    "noise_reduction": nullable(
                        by_type(dict.fromkeys(("near_field", "far_field"), anything))
                    ),
                    "turn_detection": nullable(by_type(_TURN_DETECTION)),
                }
            ),
            "output": record({"format": _format, "voice": _voice, "speed": decimal(0.25, 1.5)}),
        }
    ),
}
_SESSION = record(_FIELDS, required=("type",))
_RESPONSE = record(
    {
        "output_modalities": _output_modalities,
        "instructions": text,
        "tools": _FIELDS["tools"],
        "tool_choice": _tool_choice,
        "parallel_tool_calls": boolean,
        "max_output_tokens": _max_output_tokens,
        "metadata": nullable(mapping),
        "conversation": one_of("auto", "none"),
        "input": list_of(mapping),
        "prompt": _FIELDS["prompt"],
        "reasoning": _FIELDS["reasoning"],
        "audio": record({"output": record({"format": _format, "voice": _voice})}),
    }
)


def known_model(model: str) -> bool:
    return model in MODELS


def has_phases(model: str) -> bool:
    """2.x models mark items ``commentary`` or ``final_answer`` (item.phase)."""
    return model.startswith("gpt-realtime-2") and not model.startswith("gpt-realtime-20")


def defaults(session_id: str, model: str, expires_at: int) -> Event:
    """``session.created`` as the service sends it for ``model``."""
    second = has_phases(model)
    session: Event = {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": _INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": _vad_defaults("server_vad", model),
            },
            "output": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "voice": "marin" if second else "alloy",
                "speed": 1.0,
            },
        },
        "include": None,
    }
    if second:
        session["reasoning"] = {"effort": "low"}
    return session


def _vad_defaults(kind: str, model: str) -> Event:
    if kind == "semantic_vad":
        return {"type": kind, "eagerness": "auto", "create_response": True, "interrupt_response": True}
    return {
        "type": kind,
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500 if has_phases(model) else 200,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }


def updated(current: Event, update: Any, *, voice_locked: bool) -> Event:
    """The effective configuration after ``update``; absent keeps, ``null`` clears, ``model`` is ignored.

    Raises :class:`RequestError`; ``current`` is never changed, so a refused update changes nothing.
    """
    checked = _SESSION(update, "session")
    session = copy.deepcopy(current)
    audio = checked.pop("audio", {})
    output = audio.get("output", {})
    if (
        voice_locked
        and output.get("voice", session["audio"]["output"]["voice"]) != session["audio"]["output"]["voice"]
    ):
        raise RequestError(
            "cannot_update_voice", "Cannot update a conversation's voice if assistant audio is present."
        )
    if "reasoning" in checked and not has_phases(session["model"]):
        raise unknown("session.reasoning")
    checked.pop("model", None)
    checked.pop("type", None)
    if "tools" in checked:
        checked["tools"] = [_ordered_tool(tool) for tool in checked["tools"]]
    session.update(checked)
    session["audio"]["output"].update(output)
    _merge_input(session["audio"]["input"], audio.get("input", {}), session["model"])
    return session


def _merge_input(current: Event, update: Event, model: str) -> None:
    for key, value in update.items():
        if value is None or key in ("format", "noise_reduction"):
            current[key] = value
        elif key == "transcription":
            base = current[key] or {"model": "whisper-1", "language": None, "prompt": None}
            current[key] = {**base, **value}
        else:
            base = current[key]
            same = base is not None and base["type"] == value["type"]
            current[key] = {**(base if same else _vad_defaults(value["type"], model)), **value}


def _ordered_tool(tool: Event) -> Event:
    """The service echoes a tool's keys in its own order."""
    order = ("type", "name", "description", "parameters")
    head = {key: tool[key] for key in order if key in tool}
    return {**head, **{key: value for key, value in tool.items() if key not in order}}


def response_options(value: Any) -> Event:
    """Validates ``response.create``'s ``response`` and returns it."""
    checked: Event = _RESPONSE(value if value is not None else {}, "response")
    return checked
