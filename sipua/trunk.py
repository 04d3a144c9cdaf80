"""One trunk, as its file says: who may call us, what is negotiated with it, where its calls go, what its answers mean.

``trunk_values`` says what single values may be, ``trunk_files`` reads the files; ``trunk_rules`` makes the values of
the cores from them, and says what contradicts itself or is not in this version.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, IPvAnyAddress, IPvAnyNetwork, PrivateAttr, field_validator

from rtp.codec import CODECS
from sipua.digest import Algorithm
from sipua.trunk_values import (
    AuthUser,
    Code,
    Host,
    HostOrNothing,
    Match,
    Name,
    NumberCredential,
    NumberOrNothing,
    Part,
    Port,
    Seconds,
    Suite,
    User,
    added_headers,
    one_line,
)
from sipua.trunks.numbers import Format, NumberSet

CARRIER_SID_HEADERS = {"twilio": "X-Twilio-CallSid"}  # by provider: its id of a call
PARENT_SID_HEADER = "X-Parent-CallSid"  # of the call whose leg this is, as our own TwiML sends it


class Trunk(Part):
    """One trunk, validated and frozen. The docstring of a field is its line in docs/settings.md."""

    schema_version: Literal[1] = Field(alias="schema")
    """Version of these key names."""
    name: Name
    """Name on rows, metrics and the command line; unique in the folder."""
    provider: Name
    """Whose it is; twilio and mtn have a column for their call id."""
    kind: Literal["static", "register"] = "static"
    """static = known by address; register = we register at registrar_uri."""
    enabled: bool = True
    """Whether it is used."""
    direction: Literal["both", "inbound", "outbound"] = "both"
    """Which calls it carries."""
    priority: int = Field(default=10, ge=0, le=65535)
    """Order among the trunks for outbound calls, lowest first."""
    weight: int = Field(default=1, ge=0, le=65535)
    """Share of the calls among trunks of one priority."""
    region: str = "RW"
    """Home region (ISO 3166: RW, UG, ZA, GH, NG …): how numbers without a country are read."""

    domain: HostOrNothing = ""
    """Host of the Request-URI, and where calls go if there is no outbound proxy; host or host:port."""
    outbound_proxies: tuple[Host, ...] = ()
    """Where requests are sent instead, in order; host or host:port."""
    srv: bool = True
    """Ask for NAPTR and SRV records of a name without a port."""
    static_hosts: dict[str, tuple[IPvAnyAddress, ...]] = Field(default_factory=dict)
    """Names with their addresses, asked before DNS."""
    transport: Literal["udp", "tcp", "tls"] = "udp"
    """SIP transport."""
    bind: str = ""
    """Local address of its signalling; empty = sip.bind."""
    bind_port: Port = 0
    """Local port where its calls come in; 0 = any."""
    rtp_bind: str = ""
    """Local address of its media; empty = rtp.bind."""
    rtp_port_min: Port = 0
    """First RTP port of its own; both 0 = those of rtp."""
    rtp_port_max: Port = 0
    """Last RTP port of its own."""
    public_ip: str = ""
    """Our address as the trunk sees it, or auto; empty = the local one."""
    dscp: int = Field(default=0, ge=0, le=63)
    """Differentiated services code point of signalling and media; 46 = EF."""

    registrar_uri: str = Field(default="", pattern=r"^(sips?:[^\s@<>]+)?$")
    """Where kind = register registers, such as sip:registrar.example.org."""
    aor_user: User = ""
    """User of the address of record; empty = auth_user."""
    contact_user: User = ""
    """User part of our Contact; empty = sip.contact_user."""
    auth_user: AuthUser = ""
    """Digest user."""
    realm: str = ""
    """Digest realm; empty = whatever the challenge names."""
    password_env: str = ""
    """Environment name that holds the password; the password itself never stands in a file."""
    password_file: str = ""
    """File that holds the password."""
    per_number_credentials: tuple[NumberCredential, ...] = ()
    """Tables of number and password_env or password_file; the digest user is the caller id's national number."""
    reg_expires_s: int = Field(default=3600, ge=60, le=86_400)
    """Lifetime asked of the registrar."""
    reg_retry_first_s: Seconds = 30.0
    """Longest first wait after a failure; doubled per failure."""
    reg_retry_cap_s: Seconds = 1800.0
    """Longest wait; it never gives up."""
    reg_retry_jitter: float = Field(default=0.5, ge=0.0, le=1.0)
    """A wait is drawn from [1 - jitter, 1] of its bound."""

    inbound_acl: tuple[IPvAnyNetwork, ...] = ()
    """Networks (CIDR) that may call in; the most precise one of all trunks decides, a stranger is answered 403."""
    inbound_auth_user: AuthUser = ""
    """Digest user that a caller from inbound_acl must prove to be; empty = the network is enough."""
    inbound_password_env: str = ""
    """Environment name that holds that user's password."""
    inbound_password_file: str = ""
    """File that holds that user's password."""
    inbound_algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1, max_length=2)] = (
        "SHA-256",
        "MD5",
    )
    """Digests that a caller is offered, the preferred first; baresip 1.0 and sipp take ["MD5"] only."""
    did_ranges: tuple[str, ...] = ()
    """Numbers that ring here (+250788123456, +25078812*, +250…00-+250…99); empty = all that the trunk delivers."""
    max_channels: int = Field(default=0, ge=0, le=100_000)
    """Calls at once, both directions; an inbound one more is answered 503; 0 = unlimited."""
    cps: float = Field(default=0.0, ge=0.0, le=10_000.0)
    """New outbound calls per second; 0 = unlimited."""

    to_format: Format = Format.PLUS_E164
    """How the dialled number is written: +e164, e164, national or 00."""
    from_format: Format = Format.PLUS_E164
    """How our number is written."""
    received_format: Format = Format.PLUS_E164
    """How digits without + or 00 that come in are meant."""
    caller_id: NumberOrNothing = ""
    """Our number (E.164 with +) where a call names none."""
    allowed_caller_ids: tuple[str, ...] = ()
    """Numbers that may be presented besides caller_id; patterns as in did_ranges."""
    may_dial: tuple[str, ...] = ("*",)
    """Numbers that may be dialled; patterns as in did_ranges."""
    pai: Literal["off", "send"] = "off"
    """P-Asserted-Identity (RFC 3325) with our number."""
    privacy: Literal["off", "id"] = "off"
    """Privacy: id with it (RFC 3323)."""
    diversion: Literal["off", "send"] = "off"
    """Diversion (RFC 5806) on calls that are passed on."""
    extra_headers: Annotated[dict[str, str], AfterValidator(added_headers)] = Field(default_factory=dict)
    """Headers added to the INVITE."""
    user_agent: Annotated[str, AfterValidator(one_line)] = ""
    """User-Agent that the carrier dictates; empty = none."""

    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    """Of PCMU, PCMA, G722, opus: what may be negotiated, in our offer's order; the caller's first of them wins."""
    ptime: Literal[10, 20, 30, 40, 60] = 20
    """Milliseconds per RTP packet that we ask for, and that we send where the peer asks for nothing."""
    dtmf: Literal["rfc4733", "info", "inband"] = "rfc4733"
    """How keys travel: as telephone events; without any in the SDP by INFO, or as tones. Other ways are not heard."""
    early_media: bool = False
    """183 and a ring-back tone of ours before the answer, on calls that come in."""
    echo_guard: bool = False
    """Our own voice on its way back (no echo canceller, loudspeakers) is not taken for the caller's."""
    echo_margin_db: float = Field(default=6.0, ge=0.0, le=30.0)
    """So much louder than its echo a caller must be who speaks over us."""
    echo_loss_db: float = Field(default=6.0, ge=0.0, le=40.0)
    """So much weaker our voice comes back at least, until the call has shown how much."""
    rtp_timeout_s: float = Field(default=20.0, ge=1.0, le=3600.0)
    """No RTP for so long ends the call: not on hold; ten times that while comfort noise or RTCP shows life."""
    max_call_s: float = Field(default=3600.0, ge=1.0, le=86_400.0)
    """Longest call."""

    srtp: Literal["off", "optional", "mandatory"] = "off"
    """SDES-SRTP; only with transport = tls, since its keys stand in the SDP."""
    srtp_suites: tuple[Suite, ...] = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
    """Suites, in order."""
    tls_ca: str = ""
    """File with the CA certificates; empty = the system's."""
    tls_verify: Literal[True] = True
    """The certificate is always verified."""
    tls_name: str = ""
    """Name that the certificate must bear; empty = the domain or proxy."""
    tls_min_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest TLS."""

    rel100: Literal["off", "supported", "required"] = "off"
    """Reliable provisional responses (100rel, PRACK)."""
    session_timer: Literal["off", "supported", "required"] = "supported"
    """Session timers (RFC 4028)."""
    se: int = Field(default=1800, ge=90, le=86_400)
    """Session-Expires that we ask for, seconds."""
    min_se: int = Field(default=90, ge=90, le=86_400)
    """Min-SE, seconds."""
    transfer_by: Literal["auto", "refer", "bridge"] = "auto"
    """How its callers reach a person: REFER, a second call of ours, or auto = REFER and, where refused, the call."""
    refer: bool = False
    """Whether an incoming REFER is obeyed; false = declined with 603."""

    first_response_timeout_ms: int = Field(default=3000, ge=100, le=32_000)
    """No response at all for so long moves the call on."""
    progress_timeout_s: Seconds = 15.0
    """100 and nothing more for so long moves the call on."""
    ring_timeout_s: Seconds = 60.0
    """Ringing unanswered for so long ends the call."""
    failover_codes: frozenset[Code] = frozenset()
    """Codes that move on besides 408, 500, 502, 503 and 504, such as 480."""
    final_codes: frozenset[Code] = frozenset()
    """Codes that end the call although others move on at them."""
    fatal_match: tuple[Match, ...] = ()
    """{ code, header }: such an answer says that the trunk is suspended; Twilio's is 603 with X-Twilio-Error."""
    retry_after_cap_s: Seconds = 3600.0
    """Longest Retry-After that is believed."""
    options_interval_s: float = Field(default=30.0, ge=0.0, le=3600.0)
    """Seconds between two OPTIONS to a target; 0 = none."""
    options_timeout_s: Seconds = 4.0
    """An OPTIONS unanswered for so long is a miss."""
    options_ok_codes: frozenset[Code] = frozenset({200, 401, 404, 405, 407, 481, 483, 501})
    """Answers to OPTIONS that mean it is well."""
    down_after: int = Field(default=3, ge=1, le=100)
    """Misses in a row that take a target down."""
    up_after: int = Field(default=2, ge=1, le=100)
    """Answers in a row that bring it up."""
    open_after: int = Field(default=3, ge=1, le=100)
    """Failed calls in a row that open its breaker."""
    hold_down_s: Seconds = 30.0
    """How long a target stays out before it is tried again."""
    fault_hold_down_s: Seconds = 300.0
    """The same for the trunk after its credentials were refused."""

    _asks: tuple[tuple[str, str], ...] = PrivateAttr(default=())

    def model_post_init(self, context: Mapping[str, str] | None) -> None:
        """``context``: the keys that say "ask …"."""
        self._asks = tuple((context or {}).items())

    @property
    def asks(self) -> tuple[tuple[str, str], ...]:
        """(key, ``ask MTN``) of what is still to be provisioned."""
        return self._asks

    @field_validator("codecs")
    @classmethod
    def _known_codecs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError(f"a call needs a codec; allowed: one or more of {', '.join(CODECS)}")
        value = tuple(name.upper() for name in value)
        unknown = [name for name in value if name not in CODECS]
        if unknown:
            raise ValueError(f"unknown codec {', '.join(unknown)}; allowed: {', '.join(CODECS)}")
        if len(set(value)) < len(value):
            raise ValueError("a codec is named twice")
        return value

    @field_validator("tls_verify", mode="before")
    @classmethod
    def _always(cls, value: object) -> object:
        if value is not True:
            raise ValueError("certificates are always verified; allowed: true (tls_ca names a private CA)")
        return value

    @field_validator("did_ranges", "allowed_caller_ids", "may_dial")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        NumberSet(value)
        return value

    @field_validator("bind", "rtp_bind", "public_ip")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and value != "auto":
            ipaddress.ip_address(value)
        return value

    def admits(self, address: str, local_port: int = 0, transport: str = "") -> int:
        """Length of the longest ACL prefix that holds ``address``; -1 if none (or the trunk takes no calls there).

        ``local_port`` and ``transport`` are where the INVITE came in, 0 and "" if that is not known. A trunk with TLS
        takes none in the clear, one without takes none by TLS.
        """
        if not self.enabled or self.direction == "outbound":
            return -1
        if transport and (transport == "tls") != (self.transport == "tls"):
            return -1
        if self.bind_port and local_port and self.bind_port != local_port:
            return -1
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return -1
        return max((net.prefixlen for net in self.inbound_acl if ip in net), default=-1)


def find_inbound(
    trunks: Sequence[Trunk], address: str, local_port: int = 0, transport: str = ""
) -> Trunk | None:
    """The trunk whose ACL names the source most precisely; of equals the one bound to the port, then the first file."""
    best: Trunk | None = None
    rank = (-1, False)
    for trunk in trunks:
        found = trunk.admits(address, local_port, transport), bool(trunk.bind_port)
        if found[0] >= 0 and found > rank:
            best, rank = trunk, found
    return best
