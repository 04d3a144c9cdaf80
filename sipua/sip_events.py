"""What crosses the border between the pjsua2 thread and asyncio: frozen dataclasses of plain types.

A call is named by ``key``, the UUID that was made at its INVITE and is ``voice_calls.id`` too; pjsua's own
call ids are reused and never leave its thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from sipua.sip_message import SipMessage

if TYPE_CHECKING:
    from sipua.admission import Grant


class LegState(Enum):
    """The INVITE session as RFC 3261 section 13 sees it (not the call's ledger status)."""

    CALLING = "calling"
    EARLY = "early"
    CONNECTING = "connecting"
    CONFIRMED = "confirmed"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class SrtpPolicy:
    """What a trunk wants of SDES-SRTP; ``suites`` by preference."""

    use: Literal["off", "optional", "mandatory"] = "off"
    suites: tuple[str, ...] = ()


PLAIN_RTP = SrtpPolicy()


@dataclass(frozen=True, slots=True)
class SdpPlan:
    """How our SDP must look: where our RTP socket is and which codecs may stay, by preference.

    ``chosen`` is the codec picked from an inbound offer; a late offer's 200 carries it alone. Without
    ``has_telephone_events`` keys travel in another way than RFC 4733's. ``ptime_ms`` is what we ask for, and what we
    send to a peer that asks for nothing.
    """

    address: str
    port: int
    codecs: tuple[str, ...]
    chosen: str | None = None
    srtp: SrtpPolicy = PLAIN_RTP
    has_telephone_events: bool = True
    ptime_ms: int = 20


@dataclass(frozen=True, slots=True)
class Credential:
    """What answers a digest challenge, ours or a caller's; realm "*" is any."""

    realm: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The final response for an INVITE that is not let in; ``trunk`` is None for a source on nobody's ACL."""

    code: int
    reason: str
    trunk: str | None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """What SDES (RFC 4568) agreed on: the suite, and master key and salt (30 bytes) of each direction."""

    suite: str
    local: bytes = field(repr=False)
    remote: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """What was negotiated. ``telephone_event_*`` are -1 without RFC 4733. ``direction`` is ours (RFC 3264)."""

    codec: str
    tx_payload_type: int
    rx_payload_type: int
    telephone_event_tx: int
    telephone_event_rx: int
    remote_rtp: tuple[str, int]
    remote_rtcp: tuple[str, int]
    direction: str
    srtp: SrtpKeys | None = None  # None: plain RTP
    ptime_ms: int = 20  # of the packets that we send
    formats: tuple[
        tuple[int, str], ...
    ] = ()  # payload types and names of our last SDP: what may come besides


@dataclass(frozen=True, slots=True)
class Arrival:
    """How an INVITE reached us. ``local`` has port 0 where none of our listeners is meant: a connection that we opened.

    ``account`` is the one that was chosen for it, "" if none was.
    """

    source: tuple[str, int]
    local: tuple[str, int] = ("", 0)
    transport: str = "udp"
    account: str = ""


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """An INVITE that was let in and answered 180. ``source`` is (address, port); ``grant`` holds its sockets."""

    key: UUID
    source: tuple[str, int]
    message: SipMessage
    grant: Grant
    received_at: float  # time.monotonic() on the pjsua2 thread


@dataclass(frozen=True, slots=True)
class RejectedCall:
    """An INVITE that was refused: by pjsua before any callback (400, 415, 420, 486 when full, 488), or by us.

    ``by_us`` tells which; ``trunk`` is None for a stranger.
    """

    code: int
    reason: str
    source: tuple[str, int]
    message: SipMessage
    by_us: bool = False
    trunk: str | None = None


@dataclass(frozen=True, slots=True)
class RejectedRequest:
    """A request of a stranger's, no INVITE and in no dialog, that was refused."""

    code: int
    method: str
    source: tuple[str, int]


@dataclass(frozen=True, slots=True)
class LegChanged:
    """A new state of the INVITE session; for DISCONNECTED ``code`` and ``phrase`` say how it ended.

    ``headers`` (by lower-case name) are those of the response to our INVITE that brought the state; None where none
    did: our own request, a time-out, a transport that failed.
    """

    key: UUID
    state: LegState
    code: int
    phrase: str
    at: float  # time.monotonic() on the pjsua2 thread
    headers: Mapping[str, tuple[str, ...]] | None = None
    is_expired: bool = False  # nobody refreshed the session in time (RFC 4028 section 10)
    is_untrusted: bool = False  # the TLS peer did not prove to be who was meant; ``phrase`` says why


@dataclass(frozen=True, slots=True)
class LegProgress:
    """A 1xx for an INVITE of ours, the 100 too, which changes no state."""

    key: UUID
    code: int
    has_sdp: bool


@dataclass(frozen=True, slots=True)
class MediaChanged:
    """An offer/answer round has ended; ``media`` is None when the stream was refused or removed."""

    key: UUID
    media: MediaDescription | None


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The far end pressed a key, by INFO."""

    key: UUID
    digit: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyAnswered:
    """The final response to an INFO of ours with a key; 408 if there was none."""

    key: UUID
    code: int


@dataclass(frozen=True, slots=True)
class RegistrationAnswered:
    """The final response to a REGISTER of the account; ``headers`` None and ``phrase`` why if there was none."""

    account: str
    code: int
    phrase: str
    headers: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class OptionsAnswered:
    """The final response to an OPTIONS; ``headers`` None and ``phrase`` why if there was none."""

    token: UUID
    code: int
    phrase: str
    headers: Mapping[str, tuple[str, ...]] | None = None
    account: str = ""  # that sent it; "" is the endpoint's own


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """A REFER of ours: the code of its answer, then those that its NOTIFYs report."""

    key: UUID
    code: int
    phrase: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class EndpointFailed:
    """The pjsua2 thread has died; nothing more will come from it."""

    message: str


SipEvent = (
    IncomingCall
    | RejectedCall
    | RejectedRequest
    | LegChanged
    | LegProgress
    | MediaChanged
    | KeyPressed
    | KeyAnswered
    | RegistrationAnswered
    | OptionsAnswered
    | TransferProgress
    | EndpointFailed
)
