"""Client events as JSON bytes. No state: the core numbers them and decides whether they may be sent.

Theory: an append leaves fifty times a second for every call, so its JSON is put together from bytes
with SIMD base64 (below 1 µs); all others are rare and go through orjson.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import orjson
import pybase64

APPEND_HEAD = b'{"type":"input_audio_buffer.append","event_id":"'
APPEND_AUDIO = b'","audio":"'
APPEND_TAIL = b'"}'


def append(event_id: str, audio: bytes) -> bytes:
    """``event_id`` must need no JSON escapes (ours are ``sipua_<n>``)."""
    return APPEND_HEAD + event_id.encode() + APPEND_AUDIO + pybase64.b64encode(audio) + APPEND_TAIL


def command(event_id: str, kind: str, fields: Mapping[str, Any] | None = None) -> bytes:
    """Any other client event."""
    return orjson.dumps({"type": kind, "event_id": event_id} | dict(fields or {}))


def function_output_item(call_id: str, output: str, item_id: str | None = None) -> dict[str, Any]:
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return item if item_id is None else {"id": item_id} | item


def approval_item(item_id: str, request_id: str, approve: bool) -> dict[str, Any]:
    """Whether the service may call a tool of a remote server."""
    return {
        "id": item_id,
        "type": "mcp_approval_response",
        "approval_request_id": request_id,
        "approve": approve,
    }


def text_item(item_id: str, role: Literal["system", "user"], text: str) -> dict[str, Any]:
    """``system``: what the model is told in the middle of a conversation; ``user``: what somebody wrote."""
    content = [{"type": "input_text", "text": text}]
    return {"id": item_id, "type": "message", "role": role, "content": content}


def laid_over(below: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``changes`` over what was changed before, but for what ``configure`` knows by itself."""
    merged = dict(below)
    for key, value in changes.items():
        if key in ("instructions", "transcription"):
            continue
        if key in ("audio", "input", "output"):
            value = laid_over(merged.get(key, {}), value)
            if not value:
                continue
        elif key == "turn_detection" and value is not None:
            before = merged.get(key) or {}
            value = {**(before if before.get("type") == value.get("type") else {}), **value}
        merged[key] = value
    return merged


def answers_turns(changes: Mapping[str, Any]) -> bool:
    """Whether the service answers the caller by itself after these changes: it does unless told not to."""
    found: Any = changes
    for key in ("audio", "input"):
        found = found.get(key) or {}
    detection = found.get("turn_detection", {})
    return detection is not None and detection.get("create_response", True) is not False
