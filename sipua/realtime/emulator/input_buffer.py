"""The input audio buffer: append, commit, clear, and the VAD on what was appended.

No I/O, no clock: its time is the milliseconds of audio written since the session began (observed).
"""

from __future__ import annotations

import binascii

import pybase64

from .formats import Decoder, Samples, bytes_per_ms
from .vad import SpeechStarted, SpeechStopped, Vad, VadSettings
from .validate import RequestError
from .wire import Event

MAX_APPEND_BYTES = 15 * 1024 * 1024
MIN_COMMIT_MS = 100


class InputBuffer:
    """``written_ms`` is the VAD clock; ``buffered_ms`` is what a commit by hand would take.

    With ``records`` all that is appended is kept, as 8 kHz samples, until ``take`` takes it.
    """

    def __init__(self, audio_input: Event, *, records: bool = False) -> None:
        self.written_ms = 0.0
        self.buffered_ms = 0.0
        self._kept: list[Samples] | None = [] if records else None
        self._vad = Vad(VadSettings())
        self._listening = False
        self._format: Event = {}
        self.configure(audio_input)

    def configure(self, audio_input: Event) -> None:
        """Takes over format and turn detection of a session; the clock goes on."""
        if audio_input["format"] != self._format:
            self._format = audio_input["format"]
            self._decoder = Decoder(self._format)
        detection = audio_input["turn_detection"]
        self._listening = detection is not None
        if detection is None:
            self._vad.reset()
        else:
            self._vad.settings = VadSettings.from_turn_detection(detection)

    @property
    def speaking(self) -> bool:
        return self._listening and self._vad.speaking

    def append(self, audio: object) -> list[SpeechStarted | SpeechStopped]:
        """Base64 audio in; what the VAD found in it out."""
        data = _decoded(audio)
        if len(data) > MAX_APPEND_BYTES:
            raise RequestError(
                "invalid_value",
                f"Invalid 'audio': at most 15 MiB may be appended at once, got {len(data)} bytes.",
                "audio",
            )
        duration_ms = len(data) / bytes_per_ms(self._format)
        self.written_ms += duration_ms
        self.buffered_ms += duration_ms
        samples = self._decoder.push(data)
        if self._kept is not None:
            self._kept.append(samples)
        found = self._vad.push(samples)
        if self._listening:
            return found
        self._vad.reset()
        return []

    def take(self) -> list[Samples]:
        """What was kept since the last time."""
        taken = self._kept or []
        if taken:
            self._kept = []
        return taken

    def commit(self) -> int:
        """Takes the buffered audio by hand; returns its duration in milliseconds."""
        if self.buffered_ms < MIN_COMMIT_MS:
            raise RequestError(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {self.buffered_ms:.2f}ms of audio.",
            )
        return self.clear()

    def clear(self) -> int:
        taken, self.buffered_ms = self.buffered_ms, 0.0
        self._vad.reset()
        return int(taken)


def _decoded(audio: object) -> bytes:
    if not isinstance(audio, str):
        raise RequestError("invalid_type", "Invalid type for 'audio': expected a base64 string.", "audio")
    try:
        return pybase64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            "invalid_value", "Invalid 'audio'. Expected base64-encoded audio bytes.", "audio"
        ) from error
