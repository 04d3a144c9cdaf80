"""Whether what a TLS peer shows proves that it is who a request was meant for. Decided before a byte of SIP is sent.

pjsip checks chain and dates, and tells us when the handshake is over. Its own comparison of names would refuse the
wildcard names of large carriers, and every connection to a bare address, as Contacts and Record-Routes have them; ours
stands in its place: the names of the trunk, one label for a ``*`` (RFC 6125 section 6.4.3). A refused connection is
shut down inside pjsip's callback, which then sends nothing: the request fails as one that could not be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pjsua2 as pj

from sipua.pj.directors import split_address
from sipua.sip_events import LegChanged, LegState, OptionsAnswered, RegistrationAnswered, SipEvent
from sipua.sip_message import is_address

# address, port -> names that may be shown there; None where none of our requests was sent: it came to us
Expected = Callable[[str, int], frozenset[str] | None]

REMEMBERED_S = 2.0  # pjsip fails what waited for a refused connection in the same turn or the next


class Refusals:
    """Which names were refused just now and why: pjsip says of a request only that it could not be sent."""

    def __init__(self) -> None:
        self._why: dict[str, tuple[float, str]] = {}  # by name, which are those of the trunks

    def note(self, names: Iterable[str], why: str, now: float) -> None:
        """A peer that should have been one of ``names`` was refused."""
        self._why |= {name.lower(): (now, why) for name in names}

    def explained(self, event: SipEvent, names: Iterable[str], now: float) -> SipEvent:
        """The event of a request to a trunk of these names, with the reason if a refusal was its end."""
        found = [self._why[name.lower()] for name in names if name.lower() in self._why]
        why = next((why for at, why in found if now - at < REMEMBERED_S), "")
        match event:
            case RegistrationAnswered(headers=None) | OptionsAnswered(headers=None) if why:
                return replace(event, phrase=f"TLS: {why}")
            case LegChanged(state=LegState.DISCONNECTED, code=503, headers=None) if why:
                return replace(event, phrase=f"TLS: {why}", is_untrusted=True)
            case _:
                return event


def holds_for(shown: Iterable[str], expected: Iterable[str]) -> bool:
    """Whether one of the names in a certificate is an expected one."""
    wanted = [each.lower() for each in expected]
    return any(_is(pattern.lower(), name) for pattern in shown for name in wanted)


def why_not(info: Any, expected: Expected) -> str:
    """What is wrong with the peer that we connected to (pjsua2's TlsInfo); "" if nothing is, or it connected to us."""
    if info.isEmpty():
        return "nothing is known of it"
    wanted = expected(*split_address(info.remoteAddr))
    if wanted is None:
        return ""
    certificate = info.remoteCertInfo
    faults = info.verifyStatus & ~pj.PJ_SSL_CERT_EIDENTITY_NOT_MATCH
    if faults:
        return f"its certificate does not hold: {', '.join(info.verifyMsgs) or hex(faults)}"
    alternatives = [_name(each) for each in certificate.subjectAltName]
    shown = [each for each in alternatives if each] or [certificate.subjectCn]
    if holds_for(shown, wanted):
        return ""
    return f"its certificate is for {', '.join(shown)}, not for {' or '.join(sorted(wanted))}"


def _name(entry: Any) -> str:
    """A DNS name or address; "sip:host" of RFC 5922 as its host."""
    if entry.type == pj.PJ_SSL_CERT_NAME_URI:
        scheme, _, host = entry.name.partition(":")
        return host if scheme.lower() in ("sip", "sips") and "@" not in host else ""
    return entry.name if entry.type in (pj.PJ_SSL_CERT_NAME_DNS, pj.PJ_SSL_CERT_NAME_IP) else ""


def _is(pattern: str, name: str) -> bool:
    if pattern == name:
        return True
    label, _, rest = pattern.partition(".")
    return label == "*" and "." in rest and not is_address(name) and name.partition(".")[2] == rest
