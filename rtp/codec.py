"""The codecs a call can be made with. Adding one is one file with its functions and one line here.

A codec of this table has one byte per tick of its RTP clock, so payload length, samples and milliseconds
are the same count; the RTP issue's codecs (G.722, Opus) will bring their own ``samples``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import g711
from .errors import CodecError
from .g711 import Pcm


@dataclass(frozen=True, slots=True)
class Codec:
    """One audio format on the wire (RFC 3551 §4.5)."""

    name: str  # as in a=rtpmap
    payload_type: int  # static, RFC 3551 table 4
    clock_rate: int  # Hz, of the RTP timestamp
    silence: bytes  # one byte that decodes to (nearly) zero
    encode: Callable[[Pcm], bytes]
    decode: Callable[[bytes], Pcm]

    def frame_bytes(self, ptime_ms: int) -> int:
        """Payload bytes of one packet of ``ptime_ms`` milliseconds."""
        return self.clock_rate * ptime_ms // 1000


CODECS: dict[str, Codec] = {
    "PCMU": Codec("PCMU", 0, 8000, b"\xff", g711.encode_pcmu, g711.decode_pcmu),
    "PCMA": Codec("PCMA", 8, 8000, b"\xd5", g711.encode_pcma, g711.decode_pcma),
}

_TRANSLATE: dict[tuple[str, str], bytes] = {
    ("PCMU", "PCMA"): g711.PCMU_TO_PCMA,
    ("PCMA", "PCMU"): g711.PCMA_TO_PCMU,
}


def codec_by_name(name: str) -> Codec:
    """The codec of an rtpmap name, in any case. Raises CodecError that names the allowed ones."""
    codec = CODECS.get(name.upper())
    if codec is None:
        raise CodecError(f"unknown codec {name!r}; allowed: {', '.join(CODECS)}")
    return codec


def transcode(payload: bytes, src: Codec, dst: Codec) -> bytes:
    """``payload`` of ``src`` as ``dst``: by table where there is one, else through linear samples."""
    if src.name == dst.name:
        return payload
    table = _TRANSLATE.get((src.name, dst.name))
    if table is not None:
        return payload.translate(table)
    return dst.encode(src.decode(payload))
