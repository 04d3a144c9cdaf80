"""The codecs a call can be made with. Adding one is one file with its coder and decoder, and ``register``.

The application holds sound in a codec with one byte per tick of its RTP clock, so payload length, samples of that clock
and milliseconds are the same count; the sound itself may be sampled faster (G.722). One that has not (Opus, L16) is for
the wire only: ``app_codec`` is PCM24 then, at 48,000 ticks as Opus has them. Coders can have a state: one each for a
stream, made anew where a stream begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import g711, g722, linear, opus
from .errors import CodecError
from .g711 import Pcm
from .resample import Resampler

Encode = Callable[[Pcm], bytes]
Decode = Callable[[bytes], Pcm]
Transcode = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Codec:
    """One audio format on the wire (RFC 3551 §4.5)."""

    name: str  # as in a=rtpmap
    payload_type: int  # static, RFC 3551 table 4
    clock_rate: int  # Hz, of the RTP timestamp
    silence: bytes  # one byte that decodes to (nearly) zero
    new_encoder: Callable[[], Encode]  # of samples at ``sample_rate``
    new_decoder: Callable[[], Decode]
    sample_rate: int = 8000
    encoder_samples: int = 1  # that it takes at a time
    delay_samples: int = 0  # of encoder and decoder together
    ticks_of: Callable[[bytes], int] = len  # of the clock, in a payload; CodecError where it cannot be told
    fmtp: str = ""  # our own, RFC 8866 section 6.15
    packets_ms: tuple[int, ...] = ()  # how long a packet may last; empty: as long as one likes

    @property
    def has_byte_per_tick(self) -> bool:
        """Any cut of its payload is payload, and its length is its time."""
        return self.ticks_of is len

    def packet_ms(self, wanted_ms: int) -> int:
        """The longest packet that is not longer than ``wanted_ms``."""
        return max((each for each in self.packets_ms if each <= wanted_ms), default=wanted_ms)

    @property
    def app_codec(self) -> Codec:
        """What the application holds the sound of such a call in."""
        return self if self.has_byte_per_tick else PCM24

    def frame_bytes(self, ptime_ms: int) -> int:
        """Payload bytes of one packet of ``ptime_ms`` milliseconds."""
        return self.clock_rate * ptime_ms // 1000

    def encode(self, pcm: Pcm) -> bytes:
        """A whole sound at ``sample_rate``."""
        return self.new_encoder()(pcm)

    def decode(self, payload: bytes) -> Pcm:
        """A whole sound, at ``sample_rate``."""
        return self.new_decoder()(payload)

    def encoder(self, rate: int) -> Encode:
        """For a stream of samples at ``rate`` Hz."""
        encode = self.new_encoder()
        if rate == self.sample_rate:
            return encode
        resampler = Resampler(rate, self.sample_rate)
        return lambda pcm: encode(resampler.push(pcm))

    def decoder(self, rate: int) -> Decode:
        """To a stream of samples at ``rate`` Hz."""
        decode = self.new_decoder()
        if rate == self.sample_rate:
            return decode
        resampler = Resampler(self.sample_rate, rate)
        return lambda payload: resampler.push(decode(payload))


PCM24 = Codec(
    "PCM24", -1, 48_000, b"\0", lambda: linear.encode_pcm, lambda: linear.decode_pcm, 24_000
)  # never on the wire; a sample is two ticks


def l16(clock_rate: int) -> Codec:
    """Not in the table, as pjsua has it at 44.1 kHz only: for tests and calls without SIP."""
    return Codec(
        "L16", 97, clock_rate, b"", lambda: linear.encode_l16, lambda: linear.decode_l16, clock_rate,
        ticks_of=linear.l16_ticks,
    )  # fmt: skip


CODECS: dict[str, Codec] = {
    "PCMU": Codec("PCMU", 0, 8000, b"\xff", lambda: g711.encode_pcmu, lambda: g711.decode_pcmu),
    "PCMA": Codec("PCMA", 8, 8000, b"\xd5", lambda: g711.encode_pcma, lambda: g711.decode_pcma),
    "G722": Codec(
        "G722", 9, 8000, g722.SILENCE, g722.G722Encoder, g722.G722Decoder,
        g722.SAMPLE_RATE, g722.FRAME_SAMPLES, g722.DELAY_SAMPLES,
    ),
    "OPUS": Codec(
        "OPUS", 96, opus.CLOCK_RATE, b"", opus.OpusEncoder, opus.OpusDecoder, opus.SAMPLE_RATE,
        delay_samples=opus.DELAY_SAMPLES, ticks_of=opus.ticks_of, fmtp=opus.FMTP, packets_ms=opus.FRAME_MS,
    ),
}  # fmt: skip

_TABLES: dict[tuple[str, str], bytes] = {
    ("PCMU", "PCMA"): g711.PCMU_TO_PCMA,
    ("PCMA", "PCMU"): g711.PCMA_TO_PCMU,
}


def register(codec: Codec) -> Codec:
    """Make a codec known by its name. Raises CodecError for a name that is taken or a clock of no whole kilohertz."""
    if codec.name in CODECS or codec.name != codec.name.upper() or codec.clock_rate % 1000:
        raise CodecError(
            f"{codec.name!r} at {codec.clock_rate} Hz: new, in capitals and of whole kilohertz, please"
        )
    CODECS[codec.name] = codec
    return codec


def codec_by_name(name: str) -> Codec:
    """The codec of an rtpmap name, in any case. Raises CodecError that names the allowed ones."""
    codec = CODECS.get(name.upper())
    if codec is None:
        raise CodecError(f"unknown codec {name!r}; allowed: {', '.join(CODECS)}")
    return codec


def transcoder(src: Codec, dst: Codec) -> Transcode:
    """For a stream of ``src`` payload, as ``dst``: by table where there is one, else through linear samples."""
    if src.name == dst.name:
        return lambda payload: payload
    table = _TABLES.get((src.name, dst.name))
    if table is not None:
        return lambda payload: payload.translate(table)
    return _Converter(src, dst)


class _Converter:
    """Through linear samples. What the first resampled pieces lack is put in front: a delay that stays."""

    __slots__ = ("_decode", "_encode", "_owed", "_rates", "_ticks_of")

    def __init__(self, src: Codec, dst: Codec) -> None:
        self._decode, self._encode = src.decoder(dst.sample_rate), dst.new_encoder()
        self._ticks_of = src.ticks_of
        self._rates = dst.sample_rate, src.clock_rate
        self._owed = 0  # samples, times the clock rate

    def __call__(self, payload: bytes) -> bytes:
        if not payload:
            return b""
        pcm = self._decode(payload)
        rate, clock_rate = self._rates
        self._owed += self._ticks_of(payload) * rate - len(pcm) * clock_rate
        missing = self._owed // clock_rate
        if missing > 0:
            self._owed -= missing * clock_rate
            pcm = np.concatenate((np.zeros(missing, np.int16), pcm))
        return self._encode(pcm)
