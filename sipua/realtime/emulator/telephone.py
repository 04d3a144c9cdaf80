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
AHEAD = 4.0  # speech is made so much faster than it is played


class Line:
    """The playout of one call: events of its session in, those of its sideband out."""

    def __init__(self, ids: Ids, audio_format: Mapping[str, object], speed: float) -> None:
        self._ids = ids
        self._speed = max(1.0, speed / AHEAD)
        self._bytes_per_s = bytes_per_ms(dict(audio_format)) * 1000 * self._speed
        self._response = ""  # whose sound is being played
        self._item = ""
        self._is_made = False  # all of it
        self._began = self._until = 0.0

    def sent(self, event: Event, now: float, *, interrupts: bool) -> list[Event]:
        """What the sideband is told for an event of the session. ``interrupts``: the caller's voice does."""
        if event["type"] == AUDIO:
            return self._played(event, now)
        if event["type"] == "input_audio_buffer.speech_started" and interrupts and self._response:
            return [event, *self._cleared(now)]
        if event["type"] == "response.done" and event["response"]["id"] == self._response:
            self._is_made = True
        return [event]

    def due(self) -> float | None:
        return self._until if self._response and self._is_made else None

    def advance(self, now: float) -> list[Event]:
        if not (self._response and self._is_made) or now < self._until:
            return []
        response, self._response = self._response, ""
        return [self._event("output_audio_buffer.stopped", response_id=response)]

    def _played(self, delta: Event, now: float) -> list[Event]:
        told = []
        if self._response != delta["response_id"]:
            self._response, self._is_made = delta["response_id"], False
            self._began = max(now, self._until)
            self._until = self._began
            told.append(self._event("output_audio_buffer.started", response_id=self._response))
        self._item = delta["item_id"]
        self._until += len(base64.b64decode(delta["delta"])) / self._bytes_per_s
        return told

    def _cleared(self, now: float) -> list[Event]:
        response, self._response = self._response, ""
        heard_ms = round((min(now, self._until) - self._began) * 1000 * self._speed)
        self._until = now
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
