"""The codecs a call can be made with. Adding one is one file with its coder and decoder and one line here.

A codec of this table has one byte per tick of its RTP clock, so payload length, samples of that clock and
milliseconds are the same count; the sound itself may be sampled faster (G.722). Coders can have a state: one each for a
stream, made anew where a stream begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import g711, g722
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


CODECS: dict[str, Codec] = {
    "PCMU": Codec("PCMU", 0, 8000, b"\xff", lambda: g711.encode_pcmu, lambda: g711.decode_pcmu),
    "PCMA": Codec("PCMA", 8, 8000, b"\xd5", lambda: g711.encode_pcma, lambda: g711.decode_pcma),
    "G722": Codec(
        "G722", 9, 8000, g722.SILENCE, g722.G722Encoder, g722.G722Decoder,
        g722.SAMPLE_RATE, g722.FRAME_SAMPLES, g722.DELAY_SAMPLES,
    ),
}  # fmt: skip

_TABLES: dict[tuple[str, str], bytes] = {
    ("PCMU", "PCMA"): g711.PCMU_TO_PCMA,
    ("PCMA", "PCMU"): g711.PCMA_TO_PCMU,
}


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
    decode, encode = src.decoder(dst.sample_rate), dst.new_encoder()
    return lambda payload: encode(decode(payload))
