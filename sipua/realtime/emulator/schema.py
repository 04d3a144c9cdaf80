"""What a session and a response may be configured with: the tables behind strict validation.

No I/O, no clock. Ranges and names are those of the published models of the API; ``semantic_vad``,
``reasoning``, prompts and MCP tools are derived from the specification, not observed.
"""

from __future__ import annotations

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
    if isinstance(value, dict):  # a voice of one's own; the echo holds its id alone
        return record({"id": text}, required=("id",))(value, path)["id"]
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
            raise unknown_language(code, f"{path}.{key}")
    return checked


def unknown_language(code: str, path: str) -> RequestError:
    """The refusal of a language hint; its wording is derived, not observed."""
    return RequestError("invalid_value", f"Invalid language: '{code}'. Use an ISO-639 code.", path)


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
SESSION = record(_FIELDS, required=("type",))
RESPONSE = record(
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
