"""The errors of this package: one small tree, mapped from lower libraries' errors at the border."""

from __future__ import annotations


class RtpError(Exception):
    """Base of everything ``rtp`` raises on purpose."""


class PacketError(RtpError):
    """A datagram or payload is not what the RFC allows; ``kind`` is a short word for the counters."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class CodecError(RtpError):
    """A codec nobody here knows; the message names those that are."""


class NoPortError(RtpError):
    """No free RTP port pair in the configured range (the caller's answer is 503 with Retry-After)."""


class WavError(RtpError):
    """A WAV file cannot be read; the message names the file and what is accepted."""


class TraceError(RtpError):
    """A file with a trace of delays cannot be read; the message names file, entry and what is accepted."""
