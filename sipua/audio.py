"""Between the phone's codec and the voice session's format: nothing to do, or 8 or 16 ↔ 24 kHz.

The call's own bytes pass where the service speaks its codec; else they are decoded, resampled (a constant 2 ms) and
encoded. The playout holds the phone's codec in all cases (of Opus PCM24, so nothing is to be done), so that
milliseconds sent are counted in one unit.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import numpy as np

from rtp.codec import Codec
from sipua.realtime.config import AudioFormat

PCM_RATE = 24_000


class Bridge(Protocol):
    """Both ways of one call's audio."""

    def to_service(self, payload: bytes) -> bytes: ...
    def to_phone(self, item_id: str, audio: bytes) -> bytes: ...


class PassThrough:
    """The service speaks the phone's codec."""

    def to_service(self, payload: bytes) -> bytes:
        return payload

    def to_phone(self, item_id: str, audio: bytes) -> bytes:
        return audio


class Pcm24:
    """The service speaks 16-bit little-endian PCM at 24 kHz. A new item starts with a fresh resampler and coder."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._decode = codec.decoder(PCM_RATE)
        self._encode = codec.encoder(PCM_RATE)
        self._item = ""
        self._odd = b""  # half a sample that a delta may end with

    def to_service(self, payload: bytes) -> bytes:
        return self._decode(payload).astype("<i2").tobytes()

    def to_phone(self, item_id: str, audio: bytes) -> bytes:
        if item_id != self._item:
            self._item, self._odd = item_id, b""
            self._encode = self._codec.encoder(PCM_RATE)
        audio = self._odd + audio
        cut = len(audio) & ~1
        self._odd = audio[cut:]
        return self._encode(np.frombuffer(audio[:cut], dtype="<i2").astype(np.int16))


def bridge_for(codec: Codec, formats: Collection[AudioFormat]) -> tuple[AudioFormat, Bridge]:
    """The session format for a call's codec and how to get there; ``formats`` are what the service takes."""
    codec = codec.app_codec
    same = {"PCMU": AudioFormat.PCMU, "PCMA": AudioFormat.PCMA}.get(codec.name)
    if same is None or same not in formats:
        return AudioFormat.PCM24, Pcm24(codec)
    return same, PassThrough()
