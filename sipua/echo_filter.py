"""The echo guard on the sound of one call: frames that are our own voice go up as silence of equal length.

Levels are taken of 20 ms each, from what left (the playout's codec) and from what goes up (the service's format), so
that no codec needs anything of its own here; of G.711 by a table of squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rtp.codec import CODECS, PCM24, Codec
from sipua.echo_guard import FRAME_MS, EchoGuard, EchoRules
from sipua.realtime.config import AudioFormat
from sipua.trunk import Trunk

Level = Callable[[bytes], float]

SILENCE = {
    AudioFormat.PCMU: CODECS["PCMU"].silence,
    AudioFormat.PCMA: CODECS["PCMA"].silence,
    AudioFormat.PCM24: PCM24.silence,
}


def _squares(codec: Codec) -> npt.NDArray[np.float64]:
    samples: npt.NDArray[np.float64] = codec.decode(bytes(range(256))).astype(np.float64)
    return samples**2


_SQUARES = {name: _squares(CODECS[name]) for name in ("PCMU", "PCMA")}


def level_of(codec: Codec) -> Level:
    """Root mean square of a frame of its samples; for one stream, as some codecs remember."""
    squares = _SQUARES.get(codec.name)
    if squares is not None:
        return lambda payload: math.sqrt(squares[np.frombuffer(payload, np.uint8)].mean())
    decode = codec.new_decoder()

    def level(payload: bytes) -> float:
        samples = decode(payload).astype(np.float64)
        return math.sqrt((samples @ samples) / len(samples)) if len(samples) else 0.0

    return level


def codec_of(format: AudioFormat) -> Codec:
    return PCM24 if format is AudioFormat.PCM24 else CODECS[format.name]


class EchoFilter:
    """``sent`` is the playout's codec, ``format`` the voice session's."""

    def __init__(self, guard: EchoGuard, sent: Codec, format: AudioFormat) -> None:
        self.guard = guard
        self._level_sent = level_of(sent)
        self._sent_bytes = sent.frame_bytes(FRAME_MS)
        self._level_heard = level_of(codec_of(format))
        self._silence = SILENCE[format]
        self._heard_bytes = format.bytes_per_ms * FRAME_MS

    def __str__(self) -> str:
        path = self.guard.path
        told = (
            "no echo found" if path is None else f"echo after {path.lag_ms} ms, {path.loss_db:.0f} dB weaker"
        )
        return f"echo guard: {told}, {self.guard.echo_frames * FRAME_MS} ms went up as silence"

    def sent(self, payload: bytes, ms: float) -> None:
        """What left in one packet; "" was silence, or a key."""
        if not payload:
            self.guard.sent(0.0, ms)
        for piece in _pieces(payload, self._sent_bytes):
            self.guard.sent(self._level_sent(piece), FRAME_MS * len(piece) / self._sent_bytes)

    def heard(self, audio: bytes) -> bytes:
        """What is to go up instead."""
        pieces = _pieces(audio, self._heard_bytes)
        before = range(len(pieces) - 1, -1, -1)
        return b"".join(self._judged(piece, at) for piece, at in zip(pieces, before, strict=True))

    def _judged(self, piece: bytes, before: int) -> bytes:
        if not self.guard.is_echo(self._level_heard(piece), before):
            return piece
        return (self._silence * len(piece))[: len(piece)]


def _pieces(audio: bytes, size: int) -> list[bytes]:
    return [audio[at : at + size] for at in range(0, len(audio), size)]


def echo_filter(trunk: Trunk, sent: Codec, format: AudioFormat) -> EchoFilter | None:
    """For a call on this trunk, if it wants one."""
    if not trunk.echo_guard:
        return None
    rules = EchoRules(margin_db=trunk.echo_margin_db, assumed_loss_db=trunk.echo_loss_db)
    return EchoFilter(EchoGuard(rules), sent, format)
