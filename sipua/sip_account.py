"""What pjsua keeps per listener and per account, as plain values: a trunk's settings made ready for the pjsua2 thread.

One ``Listener`` is one pjsip transport. One ``Account`` is one pjsua account: pjsua takes SRTP, 100rel, session timers
and the local address of a call from it, and matches credentials by realm alone, so a trunk with a credential per number
has an account per number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sipua.sip_events import Credential

Use = Literal["off", "supported", "required"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files in PEM. ``ca`` "" is the system's; without ``certificate`` and ``key`` nobody can connect to us."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    min_version: Literal["1.2", "1.3"] = "1.2"


@dataclass(frozen=True, slots=True)
class Listener:
    """Where we listen and send from. ``public_address`` is what Via and Contact name instead of ``bind``."""

    transport: Literal["udp", "tcp", "tls"]
    bind: str
    port: int
    public_address: str = ""
    dscp: int = 0
    tls: TlsFiles | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """One pjsua account. ``name`` is the trunk's, or ``trunk/+number`` where a number has a credential of its own."""

    name: str
    trunk: str
    listener: Listener
    address_of_record: str  # sip:user@domain: From and To of a REGISTER
    contact_user: str
    credential: Credential | None = None
    registrar: str = ""  # "" = never registers
    outbound_proxies: tuple[str, ...] = ()  # of the REGISTER, as URIs, in order
    headers: tuple[tuple[str, str], ...] = ()  # on every request of ours: User-Agent, the extra ones
    srtp: Literal["off", "optional", "mandatory"] = "off"
    srtp_suites: tuple[str, ...] = ()
    rel100: Use = "off"
    session_timer: Use = "supported"
    session_expires_s: int = 1800
    min_se_s: int = 90
    tls_names: tuple[str, ...] = ()  # a TLS peer at whatever address of the trunk's may show one of them
