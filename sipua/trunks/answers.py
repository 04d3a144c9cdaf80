"""What the headers of an answer to REGISTER or OPTIONS say: the lifetime granted to our contact, Min-Expires,
Retry-After. No I/O, no clock; nonsense counts as not said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from sipua.sip_message import SipUri, header_items, parse_uri
from sipua.trunks.policy import RETRY_AFTER_CAP_S, retry_after
from sipua.trunks.registration import EXPIRES_MAX_S

Headers = Mapping[str, tuple[str, ...]]  # by lower-case name


@dataclass(frozen=True, slots=True)
class Contact:
    """Ours, as we wrote it: the user part, and the (host, port) pairs under which it may stand."""

    user: str
    places: Collection[tuple[str, int]] = ()


def granted(headers: Headers, ours: Contact) -> int | None:
    """Seconds that a 200 grants to our contact (RFC 3261 section 10.2.4); None if it does not say.

    A registrar lists all bindings of the address of record. Ours has our user, host and port, or (NAT has rewritten
    them) our user; of several the shortest counts, since a refresh may come early but not late.
    """
    of_user: list[tuple[SipUri, int | None]] = []
    for item in header_items(headers.get("contact", ())):
        uri = parse_uri(item)
        if uri is not None and uri.user == ours.user:
            of_user.append((uri, _expires(item)))
    exactly = [each for each in of_user if (each[0].host, each[0].port or 5060) in ours.places]
    said = [seconds for _, seconds in exactly or of_user if seconds is not None]
    return min(said) if said else _seconds(_first(headers, "expires"))


def min_expires(headers: Headers) -> int:
    """Of a 423; 0 if it names none that can be read."""
    return _seconds(_first(headers, "min-expires"), cap=None) or 0


def asked_to_wait(headers: Headers, now: datetime) -> float:
    """Seconds of Retry-After, 0 without one: a number (RFC 3261) or a date (RFC 2543), by the sender's own clock if it
    sent a Date."""
    values = headers.get("retry-after", ())
    seconds = retry_after(values, RETRY_AFTER_CAP_S)
    if seconds is not None:
        return seconds
    for value in values:
        until = date_of(value)
        if until is not None:
            since = date_of(_first(headers, "date")) or now
            return min(max(0.0, (until - since).total_seconds()), RETRY_AFTER_CAP_S)
    return 0.0


def _first(headers: Headers, name: str) -> str:
    return next(iter(headers.get(name, ())), "")


def _expires(contact: str) -> int | None:
    """The ``expires`` parameter of one Contact."""
    for parameter in contact.rpartition(">")[2].split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "expires":
            return _seconds(value.strip(' "'))
    return None


def _seconds(text: str, cap: int | None = EXPIRES_MAX_S) -> int | None:
    """delta-seconds; more than a day is refreshed after a day."""
    digits = text.strip()
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 10:
        return None
    return int(digits) if cap is None else min(int(digits), cap)


def date_of(text: str) -> datetime | None:
    """An RFC 1123 date, as SIP and HTTP have it; None if it is none."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
