"""What the service plays to a caller on the telephone, whose sound it keeps to itself. No I/O, no clock.

The sideband of a call carries the events of its session but for audio; when playing begins, ends or is thrown away is
said by ``output_audio_buffer.*``, and what was cut off by ``conversation.item.truncated``. Derived from the
specification, not observed.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from .formats import bytes_per_ms
from .wire import Event, Ids

AUDIO = "response.output_audio.delta"


class Line:
    """The playout of one call: events of its session in, those of its sideband out."""

    def __init__(self, ids: Ids, audio_format: Mapping[str, object], speed: float) -> None:
        self._ids = ids
        self._bytes_per_s = bytes_per_ms(dict(audio_format)) * 1000 * speed
        self._response = ""  # whose sound is being played
        self._item = ""
        self._began = self._until = 0.0
        self._speed = speed

    def sent(self, event: Event, now: float) -> list[Event]:
        """What the sideband is told for an event of the session."""
        if event["type"] == AUDIO:
            return self._played(event, now)
        if event["type"] == "response.done" and self._is_cut_off(event["response"]):
            return [event, *self._cleared(now)]
        return [event]

    def due(self) -> float | None:
        return self._until if self._response else None

    def advance(self, now: float) -> list[Event]:
        if not self._response or now < self._until:
            return []
        response, self._response = self._response, ""
        return [self._event("output_audio_buffer.stopped", response_id=response)]

    def _played(self, delta: Event, now: float) -> list[Event]:
        told = []
        if self._response != delta["response_id"]:
            self._response, self._began = delta["response_id"], max(now, self._until)
            self._until = self._began
            told.append(self._event("output_audio_buffer.started", response_id=self._response))
        self._item = delta["item_id"]
        self._until += len(base64.b64decode(delta["delta"])) / self._bytes_per_s
        return told

    def _is_cut_off(self, response: Event) -> bool:
        details = response.get("status_details") or {}
        return bool(response["id"] == self._response and details.get("reason") == "turn_detected")

    def _cleared(self, now: float) -> list[Event]:
        response, self._response = self._response, ""
        heard_ms = round((min(now, self._until) - self._began) * 1000 * self._speed)
        return [
            self._event("output_audio_buffer.cleared", response_id=response),
            self._event(
                "conversation.item.truncated",
                item_id=self._item,
                content_index=0,
                audio_end_ms=max(0, heard_ms),
            ),
        ]

    def _event(self, kind: str, **fields: object) -> Event:
        return {"type": kind, "event_id": self._ids.new("event"), **fields}
