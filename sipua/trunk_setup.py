"""What a trunk's other side must be told or asked, from its file and the settings. No I/O but the name of this host.

The sources of Twilio's console pages and of MTN's unknowns are in docs/trunks.md.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sipua.settings import Settings
from sipua.trunk import Trunk
from sipua.trunk_rules import NOT_YET, not_yet

OURS = "YOUR-ADDRESS"  # where the settings name none that the other side can reach


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: where, the values to enter, and what to know about them."""

    where: str
    values: tuple[str, ...]
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def setup_of(trunk: Trunk, settings: Settings) -> tuple[Step, ...]:
    """The steps in their order."""
    if trunk.provider == "twilio":
        theirs = _sip_domain(trunk, settings) if trunk.kind == "register" else _elastic(trunk, settings)
    elif trunk.provider == "softphone":
        theirs = _softphone(trunk, settings)
    else:
        theirs = _carrier(trunk, settings)
    return (*theirs, *_ours(trunk))


def our_address(trunk: Trunk, settings: Settings) -> tuple[str, str]:
    """The address that the other side reaches us at, and a note if the settings do not tell it."""
    if trunk.public_ip and trunk.public_ip != "auto":
        return trunk.public_ip, ""
    bound = trunk.bind or str(settings.sip.bind)
    address = ipaddress.ip_address(bound)
    # a carrier's leased line and a softphone are reached at private addresses, Twilio never is
    is_theirs = address.is_global or (trunk.provider != "twilio" and address.is_private)
    if is_theirs and not (address.is_loopback or address.is_unspecified):
        return bound, ""
    kind = "a public one" if trunk.provider == "twilio" else "one that it can"
    return OURS, f"sip.bind is {bound}, an address that the other side cannot reach: {kind} is needed"


def _origin(trunk: Trunk, settings: Settings) -> tuple[str, str]:
    address, note = our_address(trunk, settings)
    host = f"[{address}]" if ":" in address else address
    port = trunk.bind_port or settings.sip.port
    if not port:
        port, note = 5060, "; ".join(each for each in (note, "sip.port is 0, any: fix one") if each)
    return f"sip:{host}:{port};transport={trunk.transport}", note


def _media(trunk: Trunk, settings: Settings) -> str:
    low, high = (
        (trunk.rtp_port_min, trunk.rtp_port_max)
        if trunk.rtp_port_min
        else (settings.rtp.port_min, settings.rtp.port_max)
    )
    return f"UDP {low}-{high}" if low else "UDP, any port (rtp.port_min is 0: fix a range)"


def _elastic(trunk: Trunk, settings: Settings) -> Iterator[Step]:
    """Console → Elastic SIP Trunking → Trunks → the trunk."""
    address, note = our_address(trunk, settings)
    uri, uri_note = _origin(trunk, settings)
    page = "Twilio console, Elastic SIP Trunking, the trunk"
    if trunk.direction != "outbound":
        values = (uri, "priority 10, weight 10, enabled")
        yield Step(f"{page}: Origination, Origination URI", values, uri_note)
        yield Step(f"{page}: Numbers", trunk.did_ranges or ("the numbers that shall ring here",))
        networks = tuple(map(str, trunk.inbound_acl))
        yield Step(f"Our firewall: signalling to port {uri.rsplit(':', 1)[1].split(';')[0]} from", networks)
        yield Step(f"Our firewall: media to {_media(trunk, settings)} from", ("168.86.128.0/18",))
    if trunk.direction != "inbound":
        domain = trunk.domain or "NAME.pstn.twilio.com"
        yield Step(
            f"{page}: Termination, SIP URI", (domain,), "" if trunk.domain else "choose NAME; set domain"
        )
        prefix = 128 if ":" in address else 32
        yield Step(f"{page}: Termination, IP access control list", (f"{address}/{prefix}",), note)
        if trunk.auth_user:
            text = f"user {trunk.auth_user}, the password that {_place(trunk)} names"
            yield Step(f"{page}: Termination, credential list", (text,))
        else:
            text = "auth_user is not set: the IP access control list alone lets us in"
            yield Step(f"{page}: Termination, credential list", ("none",), text)
        yield Step("Twilio console, Verified caller IDs or your numbers", _callers(trunk))
    secure = "Enabled" if trunk.srtp == "mandatory" else "Disabled"
    yield Step(f"{page}: General, Secure trunking", (secure,), "Enabled means TLS and SRTP, always")


def _sip_domain(trunk: Trunk, settings: Settings) -> Iterator[Step]:
    """Console → Voice → SIP Domains."""
    page = "Twilio console, Voice, SIP Domains, the domain"
    yield Step(
        page, (trunk.domain or "NAME.sip.twilio.com",), "" if trunk.domain else "choose NAME; set domain"
    )
    yield Step(f"{page}: SIP Registration", ("Enabled",))
    text = f"user {trunk.auth_user or 'USER'}, the password that {_place(trunk)} names"
    note = "" if trunk.auth_user else "choose USER; set auth_user"
    yield Step(f"{page}: SIP Registration, credential list", (text,), note)
    yield Step("Our firewall: media to " + _media(trunk, settings) + " from", ("168.86.128.0/18",))


def _softphone(trunk: Trunk, settings: Settings) -> Iterator[Step]:
    """A telephone that calls in: what is entered there, and who is let in."""
    uri, note = _origin(trunk, settings)
    yield Step("In the phone: no registration; dial", (uri.replace("sip:", "sip:agent@"),), note)
    if trunk.inbound_auth_user:
        place = "inbound_password_file" if trunk.inbound_password_file else "inbound_password_env"
        text = f"user {trunk.inbound_auth_user}, the password that {place} names"
        yield Step("In the phone: authentication", (text,))
    yield Step("In the phone: codecs, any of", trunk.codecs)
    networks = tuple(map(str, trunk.inbound_acl))
    yield Step(
        "Let in by inbound_acl: phones in", networks, "set it to your network; everybody else gets 403"
    )


def _carrier(trunk: Trunk, settings: Settings) -> Iterator[Step]:
    """A static carrier such as MTN: what we tell it, what it has to tell us."""
    uri, note = _origin(trunk, settings)
    them = trunk.asks[0][1].removeprefix("ask ") if trunk.asks else trunk.provider
    yield Step(f"Tell {them}: where calls come in", (uri,), note)
    yield Step(f"Tell {them}: our media", (_media(trunk, settings),))
    yield Step(
        f"Tell {them}: codecs, keys", (", ".join(trunk.codecs), f"DTMF {trunk.dtmf}, ptime {trunk.ptime} ms")
    )
    questions = tuple(f"{key}: {QUESTIONS.get(key, 'the value')}" for key, _ in trunk.asks)
    if questions:
        yield Step(f"Ask {them}", questions)


QUESTIONS = {
    "domain": "which host or address do our calls go to, and which stands in the Request-URI?",
    "registrar_uri": "is there a registrar, and which?",
    "outbound_proxies": "is there an outbound proxy (P-CSCF, SBC)?",
    "static_hosts": "which addresses do names have that DNS does not resolve?",
    "inbound_acl": "which addresses do your calls and OPTIONS come from?",
    "auth_user": "which digest user do you expect?",
    "realm": "which realm do your challenges name?",
    "per_number_credentials": "is there digest, and a user and password per number?",
    "user_agent": "must our User-Agent say something in particular?",
    "caller_id": "which number is our main one?",
    "allowed_caller_ids": "which numbers may we present?",
    "did_ranges": "which numbers do you deliver to us?",
    "to_format": "how is the dialled number to be written: +E.164, E.164, national, 00?",
    "from_format": "how is our number to be written?",
    "received_format": "how do you write the numbers that you deliver?",
    "max_channels": "how many calls at once?",
    "cps": "how many new calls per second?",
}


def _ours(trunk: Trunk) -> Iterator[Step]:
    """What is left to do in our own file."""
    if trunk.asks:
        yield Step(f"Then, in the file of trunk {trunk.name}: replace", tuple(key for key, _ in trunk.asks))
    missing = (*not_yet(trunk), *(f"{key}: {NOT_YET[key]}" for key, _ in trunk.asks if key in NOT_YET))
    if missing:
        yield Step("Not in this version: an enabled trunk with these is refused", missing)
    if not trunk.enabled:
        yield Step(
            f"At last, in the file of trunk {trunk.name}", ("enabled = true",), "then SIGHUP, or a new start"
        )


def _place(trunk: Trunk) -> str:
    return "password_file" if trunk.password_file else "password_env"


def _callers(trunk: Trunk) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for each in (trunk.caller_id, *trunk.allowed_caller_ids) if each)) or (
        "set caller_id",
    )
