"""What a stream tells its owner, and what the owner tells a stream: frozen values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from .codec import Codec

Address = tuple[str, int]
Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]  # ours, RFC 3264 §5.1


class SrtpKeys(Protocol):
    """SDES keys (RFC 4568): the suite, and of each direction master key and salt, 30 bytes."""

    @property
    def suite(self) -> str: ...
    @property
    def local(self) -> bytes: ...
    @property
    def remote(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """The outcome of one offer/answer for the media line.

    Each side sends with the payload types of the other's SDP (RFC 3264 §5.1, §6.1): those without ``rx`` are
    the peer's, those with it ours, and None there stands for the same number.
    """

    codec: Codec  # on the wire
    payload_type: int
    telephone_event_pt: int | None  # None: the peer takes no events
    remote: Address  # of the SDP; the host may be 0.0.0.0 (old-style hold, RFC 3264 §8.4)
    remote_rtcp: Address | None = None  # None: the port above; equal to ``remote``: multiplexed (RFC 5761)
    ptime_ms: int = 20
    direction: Direction = "sendrecv"
    rx_payload_type: int | None = None
    rx_telephone_event_pt: int | None = None
    srtp: SrtpKeys | None = None  # None: plain RTP
    also: tuple[tuple[int, Codec], ...] = ()  # what we said that we take besides (RFC 3264 §5.1)


class AudioFrame(NamedTuple):  # 50 a second and call: a third of the time that a frozen dataclass takes
    """Sound in the application's codec, in order; ``concealed`` if we made it up for a gap.

    ``is_pause``: the sender was silent by itself, nothing was lost.
    """

    payload: bytes
    samples: int
    concealed: bool
    is_pause: bool = False


@dataclass(frozen=True, slots=True)
class DigitReceived:
    """A key was pressed: a telephone event (RFC 4733), or its tone in the sound."""

    digit: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class SourceLatched:
    """Media now comes from, and goes to, ``addr`` (symmetric RTP)."""

    addr: Address


@dataclass(frozen=True, slots=True)
class SsrcChanged:
    """The sender began a new RTP stream from the same address."""

    old: int
    new: int


@dataclass(frozen=True, slots=True)
class RemoteReport:
    """How the far end receives us (RFC 3550 §6.4.1); ``rtt_ms`` None if it never saw a report of ours."""

    fraction_lost: float  # 0–1, since its last report
    lost: int
    jitter_ms: float
    rtt_ms: float | None


@dataclass(frozen=True, slots=True)
class RemoteBye:
    """An RTCP BYE came; the call's end is SIP's to say."""


StreamEvent = AudioFrame | DigitReceived | SourceLatched | SsrcChanged | RemoteReport | RemoteBye


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """One stream's figures at one moment, both ways."""

    packets_sent: int
    octets_sent: int
    packets_received: int
    packets_expected: int
    packets_lost: int
    packets_late: int
    jitter_ms: float
    concealed_frames: int
    concealed_samples: int
    dropped: dict[str, int]
