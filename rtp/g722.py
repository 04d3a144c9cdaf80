"""G.722 (64 kbit/s, 16 kHz) by FFmpeg. The only codec here whose encoder and decoder have a state.

RTP counts it at 8 kHz although it is sampled at 16 (RFC 3551 section 4.5.2), so that a byte is a tick of the clock as
with G.711. PyAV directly: measured per 20 ms, encoding 91 µs (in frames of 5 ms; 60 in frames of 20), decoding 16 µs;
aiortc's classes are the same calls behind a resampler and a jitter frame.
"""

from __future__ import annotations

import av
import numpy as np

from .g711 import Pcm

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 80  # 5 ms: what is left over waits for more
DELAY_SAMPLES = 22  # of both filters, at 16 kHz
SILENCE = b"\xfd"  # decodes to zero from the state in which a decoder begins

_EMPTY: Pcm = np.zeros(0, dtype=np.int16)


class G722Encoder:
    """Bytes of samples at 16 kHz, two of them a byte; up to 5 ms are kept for the next call."""

    __slots__ = ("_codec", "_rest")

    def __init__(self) -> None:
        self._codec = _context("w")
        self._codec.options = {"frame_size": str(FRAME_SAMPLES)}
        self._rest = _EMPTY

    def __call__(self, pcm: Pcm) -> bytes:
        pcm = np.concatenate((self._rest, pcm))
        whole = len(pcm) - len(pcm) % FRAME_SAMPLES
        self._rest = pcm[whole:]
        out = b""
        for begin in range(0, whole, FRAME_SAMPLES):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(pcm[begin : begin + FRAME_SAMPLES]).reshape(1, -1),
                format="s16",
                layout="mono",
            )
            frame.sample_rate = SAMPLE_RATE
            out += b"".join(bytes(packet) for packet in self._codec.encode(frame))
        return out


class G722Decoder:
    """Samples at 16 kHz, two for each byte."""

    __slots__ = ("_codec",)

    def __init__(self) -> None:
        self._codec = _context("r")

    def __call__(self, payload: bytes) -> Pcm:
        if not payload:
            return _EMPTY
        frames = self._codec.decode(av.Packet(payload))
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(
            np.int16, copy=False
        )


def _context(mode: str) -> av.AudioCodecContext:
    context = av.CodecContext.create("g722", mode)  # type: ignore[call-overload]
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate = SAMPLE_RATE
    context.layout = "mono"
    context.format = "s16"
    return context
