"""Session configuration: defaults per model, what an update makes of it, what a response takes from it.

No I/O, no clock. Field set and order of the echo are those of the recordings; fields of the 2.x models
(``reasoning``) and ``semantic_vad`` are derived from the specification, not observed.
"""

from __future__ import annotations

import copy
from typing import Any

from .schema import RESPONSE, SESSION
from .validate import RequestError, unknown
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
_INSTRUCTIONS = (
    "You are a helpful, witty, and friendly AI. Act like a human, but remember that you aren't a human and "
    "that you can't do human things in the real world. Talk quickly. (Default persona of the emulator.)"
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
    checked = SESSION(update, "session")
    session = copy.deepcopy(current)
    audio = checked.pop("audio", {})
    output = audio.get("output", {})
    voice = session["audio"]["output"]["voice"]
    if voice_locked and output.get("voice", voice) != voice:
        raise _voice_error()
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


def effective_response(session: Event, wanted: Any, *, voice_locked: bool) -> Event:
    """The session's configuration with what ``response.create`` overrides in it; raises RequestError."""
    asked = RESPONSE(wanted if wanted is not None else {}, "response")
    output = {key: session["audio"]["output"][key] for key in ("format", "voice")}
    output.update(asked.get("audio", {}).get("output", {}))
    if voice_locked and output["voice"] != session["audio"]["output"]["voice"]:
        raise _voice_error()
    tools = [] if asked.get("tool_choice", session["tool_choice"]) == "none" else session["tools"]
    return {
        "conversation": asked.get("conversation", "auto"),
        "output_modalities": asked.get("output_modalities", session["output_modalities"]),
        "max_output_tokens": asked.get("max_output_tokens", session["max_output_tokens"]),
        "audio": {"output": output},
        "metadata": asked.get("metadata"),
        "tools": asked.get("tools", tools),
    }


def _voice_error() -> RequestError:
    message = "Cannot update a conversation's voice if assistant audio is present."
    return RequestError("cannot_update_voice", message, "session.audio.output.voice")
