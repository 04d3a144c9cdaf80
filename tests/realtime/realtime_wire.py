"""Server events as the service writes them, for the tests of this folder; and a core that is ready."""

from __future__ import annotations

from typing import Any

import orjson
import pybase64

from sipua.realtime.config import AudioFormat, SessionConfig
from sipua.realtime.protocol import RealtimeProtocol

CONFIG = SessionConfig("gpt-realtime-2.1", instructions="Answer briefly.")


def wire(kind: str, **fields: Any) -> bytes:
    return orjson.dumps({"type": kind, "event_id": f"event_{kind}"} | fields)


def session(given: AudioFormat = AudioFormat.PCMU, taken: AudioFormat | None = None) -> dict[str, Any]:
    return {
        "type": "realtime",
        "id": "sess_1",
        "audio": {"input": {"format": (taken or given).wire}, "output": {"format": given.wire}},
    }


def created() -> bytes:
    return wire("session.created", session=session(AudioFormat.PCM24))


def updated(config: SessionConfig = CONFIG) -> bytes:
    return wire("session.updated", session=session(config.audio_format))


def error(code: str | None, *, event_id: str | None = None, message: str = "no", **fields: Any) -> bytes:
    detail = {"type": "invalid_request_error", "code": code, "message": message, "event_id": event_id}
    return wire("error", error=detail | fields)


def response(kind: str, response_id: str, status: str, **fields: Any) -> bytes:
    return wire(kind, response={"id": response_id, "status": status} | fields)


def audio(response_id: str, data: bytes, number: int = 0) -> bytes:
    return orjson.dumps(
        {
            "type": "response.output_audio.delta",
            "event_id": f"event_{response_id}_{number}",
            "response_id": response_id,
            "item_id": f"item_of_{response_id}",
            "output_index": 0,
            "content_index": 0,
            "delta": pybase64.b64encode(data).decode(),
        }
    )


def ready_core(config: SessionConfig = CONFIG) -> RealtimeProtocol:
    core = RealtimeProtocol(config, peer="test")
    core.receive(created())
    core.session_update()
    core.receive(updated(config))
    return core
