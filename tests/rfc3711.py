"""SRTP written down a second time from RFC 3711, with ``cryptography`` and without libsrtp: what ours is held to.

AES-CM and HMAC-SHA1, key derivation rate 0, no MKI. Indices are the caller's business, so that a test says which
rollover counter it expects and does not ask an estimate.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

RTP_HEADER_BYTES = 12  # without CSRC and extension
RTCP_HEADER_BYTES = 8
RTCP_TAG_BYTES = 10  # with every suite of RFC 4568
ENCRYPTED = 1 << 31  # the E flag in front of the SRTCP index
TAG_BYTES = {"AES_CM_128_HMAC_SHA1_80": 10, "AES_CM_128_HMAC_SHA1_32": 4}


def keystream(key: bytes, block: int, length: int) -> bytes:
    """AES in counter mode from counter ``block`` (section 4.1.1)."""
    encryptor = Cipher(algorithms.AES(key), modes.CTR(block.to_bytes(16, "big"))).encryptor()
    return encryptor.update(bytes(length))


def derived(master_key: bytes, master_salt: bytes, label: int, length: int) -> bytes:
    """A session key (section 4.3.1)."""
    x = int.from_bytes(master_salt, "big") ^ label << 48
    return keystream(master_key, x << 16, length)


def initial_block(salt: bytes, ssrc: int, index: int) -> int:
    """The IV of a packet (section 4.1.1)."""
    return int.from_bytes(salt, "big") << 16 ^ ssrc << 64 ^ index << 16


def _xor(data: bytes, stream: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction's session keys."""

    suite: str
    key: bytes  # cipher, authentication and salt of RTP, then of RTCP
    authentication: bytes
    salt: bytes
    rtcp_key: bytes
    rtcp_authentication: bytes
    rtcp_salt: bytes

    @classmethod
    def of(cls, suite: str, master: bytes) -> Direction:
        """From 30 bytes of master key and salt."""
        key, salt = master[:16], master[16:]
        lengths = (16, 20, 14, 16, 20, 14)
        return cls(suite, *(derived(key, salt, label, length) for label, length in enumerate(lengths)))

    def protect(self, packet: bytes, rollovers: int) -> bytes:
        sequence, ssrc = struct.unpack_from("!2xH4xL", packet)
        block = initial_block(self.salt, ssrc, rollovers << 16 | sequence)
        payload = packet[RTP_HEADER_BYTES:]
        hidden = packet[:RTP_HEADER_BYTES] + _xor(payload, keystream(self.key, block, len(payload)))
        return hidden + self._tag(hidden, rollovers)

    def unprotect(self, packet: bytes, rollovers: int) -> bytes:
        """ValueError for a tag that does not fit."""
        hidden, tag = packet[: -TAG_BYTES[self.suite]], packet[-TAG_BYTES[self.suite] :]
        if tag != self._tag(hidden, rollovers):
            raise ValueError("wrong tag")
        sequence, ssrc = struct.unpack_from("!2xH4xL", hidden)
        block = initial_block(self.salt, ssrc, rollovers << 16 | sequence)
        payload = hidden[RTP_HEADER_BYTES:]
        return hidden[:RTP_HEADER_BYTES] + _xor(payload, keystream(self.key, block, len(payload)))

    def _tag(self, hidden: bytes, rollovers: int) -> bytes:
        digest = hmac.digest(self.authentication, hidden + struct.pack("!L", rollovers), "sha1")
        return digest[: TAG_BYTES[self.suite]]

    def protect_rtcp(self, compound: bytes, index: int) -> bytes:
        hidden = self._crypt_rtcp(compound, index) + struct.pack("!L", ENCRYPTED | index)
        return hidden + hmac.digest(self.rtcp_authentication, hidden, "sha1")[:RTCP_TAG_BYTES]

    def unprotect_rtcp(self, packet: bytes) -> tuple[bytes, int]:
        """The compound and its index. ValueError for a tag that does not fit or a compound in clear."""
        hidden, tag = packet[:-RTCP_TAG_BYTES], packet[-RTCP_TAG_BYTES:]
        if tag != hmac.digest(self.rtcp_authentication, hidden, "sha1")[:RTCP_TAG_BYTES]:
            raise ValueError("wrong tag")
        (index,) = struct.unpack("!L", hidden[-4:])
        if not index & ENCRYPTED:
            raise ValueError("in clear")
        return self._crypt_rtcp(hidden[:-4], index & ~ENCRYPTED), index & ~ENCRYPTED

    def _crypt_rtcp(self, compound: bytes, index: int) -> bytes:
        (ssrc,) = struct.unpack_from("!4xL", compound)
        block = initial_block(self.rtcp_salt, ssrc, index)
        body = compound[RTCP_HEADER_BYTES:]
        return compound[:RTCP_HEADER_BYTES] + _xor(body, keystream(self.rtcp_key, block, len(body)))
