"""Opus (RFC 6716, RFC 7587) by libopus through PyAV: on the wire only, the application holds PCM24.

A packet has as many bytes as its sound needs, so how long it lasts is read from its first byte. RTP counts it at 48 kHz
whatever is coded. One packet comes of each call of the encoder (10, 20, 40 or 60 ms). Sent: mono, up to 12 kHz of
bandwidth as the voice service has no more, no FEC, no DTX (a pause of ours is paced like speech). Taken: anything, also
stereo, DTX (a packet of one byte) and packets that change their length; FEC is not looked for (libav cannot), what is
lost is made up by ``conceal``. Measured per 20 ms: encoding 150 µs, decoding 60.
"""

from __future__ import annotations

import av
import av.error
import numpy as np

from .errors import CodecError
from .g711 import Pcm
from .resample import Resampler

SAMPLE_RATE = 24_000
CLOCK_RATE = 48_000
BIT_RATE = 24_000  # fullband speech is transparent from here on (RFC 7587 section 3.1.1)
FRAME_MS = (10, 20, 40, 60)
MAX_MS = 120  # of one packet, RFC 6716 section 3.4
DELAY_SAMPLES = 156  # 6.5 ms, of encoder (look-ahead) and decoder together
FMTP = f"maxplaybackrate={SAMPLE_RATE};sprop-maxcapturerate={SAMPLE_RATE};stereo=0;useinbandfec=0"

_EMPTY: Pcm = np.zeros(0, dtype=np.int16)
_FRAME_TICKS = (
    *(480, 960, 1920, 2880) * 3,  # SILK
    *(480, 960) * 2,  # hybrid
    *(120, 240, 480, 960) * 4,  # CELT
)  # by configuration number, RFC 6716 table 2


def ticks_of(payload: bytes) -> int:
    """How long a packet lasts, in ticks of 48 kHz. Raises CodecError for one that cannot be (RFC 6716 section 3.1)."""
    frames = (1, 2, 2, 0)[payload[0] & 3] if payload else 0
    if not frames and len(payload) > 1:
        frames = payload[1] & 0x3F
    ticks = frames * _FRAME_TICKS[payload[0] >> 3] if payload else 0
    if not 0 < ticks <= MAX_MS * CLOCK_RATE // 1000:
        raise CodecError(f"an Opus packet cannot last {ticks / 48:g} ms")
    return ticks


class OpusEncoder:
    """One packet of each call's samples (24 kHz), which are 10, 20, 40 or 60 ms."""

    __slots__ = ("_codec", "_samples")

    def __init__(self) -> None:
        self._codec: av.AudioCodecContext | None = None
        self._samples = 0

    def __call__(self, pcm: Pcm) -> bytes:
        if not len(pcm):
            return b""
        if self._codec is None or len(pcm) != self._samples:
            self._codec, self._samples = _encoder(len(pcm) * 1000 // SAMPLE_RATE), len(pcm)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(pcm).reshape(1, -1), format="s16", layout="mono"
        )
        frame.sample_rate = SAMPLE_RATE
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


class OpusDecoder:
    """Samples at 24 kHz of one packet after the other. Raises CodecError for one that is broken."""

    __slots__ = ("_codec", "_resampler")

    def __init__(self) -> None:
        self._codec = _context("r", CLOCK_RATE)
        self._resampler = Resampler(CLOCK_RATE, SAMPLE_RATE)

    def __call__(self, payload: bytes) -> Pcm:
        if not payload:
            return _EMPTY
        try:
            frames = self._codec.decode(av.Packet(payload))
        except av.error.FFmpegError as error:
            raise CodecError(f"not Opus: {error}") from None
        pieces = [
            self._resampler.push(frame.to_ndarray().reshape(-1).astype(np.int16, copy=False))
            for frame in frames
        ]
        return np.concatenate(pieces) if pieces else _EMPTY


def _encoder(frame_ms: int) -> av.AudioCodecContext:
    if frame_ms not in FRAME_MS:
        raise CodecError(f"Opus packets last {', '.join(map(str, FRAME_MS))} ms, not {frame_ms}")
    codec = _context("w", SAMPLE_RATE)
    codec.bit_rate = BIT_RATE
    codec.options = {"application": "voip", "frame_duration": str(frame_ms)}
    return codec


def _context(mode: str, rate: int) -> av.AudioCodecContext:
    context = av.CodecContext.create("libopus", mode)  # type: ignore[call-overload]
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate = rate
    context.layout = "mono"
    context.format = "s16"
    return context
