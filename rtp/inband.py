"""Keys that come as tones, for trunks without telephone events: told as digits, and kept from the listener.

Nothing is delayed for it, so up to 20 ms of a press are heard; from the packet that shows its tone until three windows
show none, silence of the same length is handed on. What was made up for lost sound is not listened to (a tone would go
on in it); a pause of the sender is, as it ends a press.
"""

from __future__ import annotations

from collections.abc import Sequence

from .codec import Codec
from .events import AudioFrame, DigitReceived
from .tones import RATE, ToneDetector


class InbandDigits:
    """Of one stream of ``codec`` sound."""

    __slots__ = ("_codec", "_decode", "_detector")

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._decode = codec.decoder(RATE)
        self._detector = ToneDetector()

    def hear(self, frames: Sequence[AudioFrame]) -> list[AudioFrame | DigitReceived]:
        """The sound without tones, and the presses that ended in it."""
        out: list[AudioFrame | DigitReceived] = []
        silence = self._codec.silence
        for frame in frames:
            if not frame.concealed or frame.is_pause:
                for digit in self._detector.receive(self._decode(frame.payload)):
                    out.append(DigitReceived(digit.digit, digit.duration_ms))
            if self._detector.is_heard:
                frame = frame._replace(payload=silence * len(frame.payload))
            out.append(frame)
        return out
