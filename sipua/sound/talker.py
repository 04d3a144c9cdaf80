"""A person's two directions between a sound device and a call: microphone → playout, what comes → speaker.

The device's thread only gives and takes samples (``ring``); everything else happens on the loop's. Both directions hold
a cushion against the coarseness of the clocks and are kept there (``drift``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rtp.codec import Codec, Decode, Encode
from rtp.g711 import Pcm
from rtp.playout import Playout
from sipua.sound.drift import Drift
from sipua.sound.ring import Ring

MICROPHONE_MS = 40  # that waits to be sent: two packets
MICROPHONE_LIMIT_MS = 200  # beyond it all that waits is dropped: nobody wants to hear it a second later
SPEAKER_MS = 60  # that waits to be heard: what comes late by less is not missed
SPEAKER_LIMIT_MS = 400


class SoundDevice(Protocol):
    """A microphone and a speaker, mono, 16 bit; the functions given to ``start`` are called by threads of its own."""

    @property
    def microphone_rate(self) -> int: ...
    @property
    def speaker_rate(self) -> int: ...
    @property
    def fault(self) -> str:
        """Why it stopped by itself; "" while it works."""

    def start(self, on_microphone: Callable[[Pcm], None], for_speaker: Callable[[int], Pcm]) -> None: ...
    def close(self) -> None: ...


class Line(Protocol):
    """The call (``sipua.media.MediaLeg``)."""

    @property
    def codec(self) -> Codec: ...
    @property
    def playout(self) -> Playout: ...


@dataclass(slots=True)
class _Way:
    """Of one media leg."""

    line: Line
    encode: Encode
    decode: Decode


class Talker:
    """Starts the device at once; ``hear`` and ``step`` belong to the loop."""

    def __init__(self, device: SoundDevice) -> None:
        self._device = device
        microphone, speaker = device.microphone_rate, device.speaker_rate
        self._microphone = Ring(limit=microphone * MICROPHONE_LIMIT_MS // 1000)
        self._speaker = Ring(limit=speaker * SPEAKER_LIMIT_MS // 1000, prefill=speaker * SPEAKER_MS // 1000)
        self._to_send = Drift(microphone, MICROPHONE_MS)
        self._to_hear = Drift(speaker, SPEAKER_MS)
        self._way: _Way | None = None
        self._item = 0  # of the playout; another after each flush
        self._is_sending = False
        self._gaps = 0
        self._dropped_ms = 0
        device.start(self._microphone.give, self._speaker.take)

    @property
    def fault(self) -> str:
        """Why the device stopped by itself."""
        return self._device.fault

    def hear(self, line: Line, payload: bytes) -> None:
        """Sound of the call, in its codec."""
        block = self._way_of(line).decode(payload)
        queued_ms = self._speaker.queued * 1000 / self._device.speaker_rate
        self._speaker.give(self._to_hear.adapt(block, queued_ms))

    def step(self, line: Line) -> None:
        """What the microphone has taken since; every 20 ms."""
        way, playout = self._way_of(line), line.playout
        block = self._microphone.take_all()
        if not self._is_sending:  # what was said before the answer is nobody's
            self._is_sending = True
            return
        if playout.queued_ms > MICROPHONE_LIMIT_MS:  # the call does not send: hold
            self._dropped_ms += playout.queued_ms
            playout.flush()
            self._item += 1
        if not block.size:
            return
        if not playout.queued_ms:
            self._gaps += 1
            cushion = line.codec.silence * line.codec.frame_bytes(MICROPHONE_MS)
            playout.append(f"microphone {self._item}", cushion)
        playout.append(f"microphone {self._item}", way.encode(self._to_send.adapt(block, playout.queued_ms)))

    def _way_of(self, line: Line) -> _Way:
        if self._way is None or self._way.line is not line:
            codec, device = line.codec, self._device
            self._way = _Way(line, codec.encoder(device.microphone_rate), codec.decoder(device.speaker_rate))
        return self._way

    def figures(self) -> dict[str, Any]:
        """What was lost or made up because clocks and threads differ; ``gaps``: times that it ran dry."""
        dropped_ms = self._microphone.dropped * 1000 // self._device.microphone_rate + self._dropped_ms
        return {
            "microphone": {
                "gaps": max(0, self._gaps - 1),  # the first is the beginning
                "dropped_ms": dropped_ms,
                "samples_inserted": self._to_send.inserted,
                "samples_removed": self._to_send.removed,
            },
            "speaker": {
                "gaps": self._speaker.underruns,
                "dropped_ms": self._speaker.dropped * 1000 // self._device.speaker_rate,
                "samples_inserted": self._to_hear.inserted,
                "samples_removed": self._to_hear.removed,
            },
        }

    def close(self) -> None:
        """The device is silent and free again."""
        self._device.close()
