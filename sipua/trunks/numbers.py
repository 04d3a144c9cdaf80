"""Telephone numbers on a trunk: read as dialled or received, held as E.164 with ``+``, written as the trunk wants.

Imports ``phonenumbers`` and nothing with I/O. Four ways of writing (``Format``) go in both directions:

    +e164      +250788123456        RFC 3966 global number; what Twilio takes
    e164       250788123456         the same without the plus
    national   0788123456           with the trunk prefix of the home region; foreign numbers as ``00``
    00         00250788123456       the international prefix of most regions

``+`` and ``00`` say for themselves what they are. Bare digits are read the trunk's way first and the other way second,
and the first reading that is a valid number of some plan counts: carriers mix the two. Error texts carry masked
numbers, because they end up in logs; the number itself is an attribute.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

import phonenumbers

from sipua.errors import SipuaError
from sipua.sip_message import mask_number

ANY = "*"
_SEPARATORS = re.compile(r"[.\-() /]")  # RFC 3966 visual separators, and what people type
_DIALLED = re.compile(r"\+?[0-9]{2,17}")  # 15 digits of E.164 behind "00"
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PATTERN = re.compile(r"\*|\+[0-9]{1,15}\*|\+[0-9]{7,15}(?:-\+[0-9]{7,15})?")


class Format(StrEnum):
    """How a number is written in the user part of a URI."""

    PLUS_E164 = "+e164"
    E164 = "e164"
    NATIONAL = "national"
    ZERO_ZERO = "00"


class NumberError(SipuaError):
    """A number that cannot be read, or that the trunk may not use; names it (masked) and what is allowed."""

    reason = "number"

    def __init__(self, number: str, fault: str, allowed: Iterable[str]) -> None:
        self.number = number
        self.allowed = tuple(allowed)
        super().__init__(f"number {_masked(number)} {fault}; allowed: {', '.join(self.allowed) or 'none'}")


def _masked(number: str) -> str:
    """A long number without its middle. Dashes go first: in a range they would count as digits."""
    return "-".join(mask_number(part) for part in number.split("-"))


@dataclass(frozen=True, slots=True)
class NumberSet:
    """E.164 numbers as the trunk file names them: ``+250788123456``, ``+25078812*``, ``+250…00-+250…99``, ``*``."""

    patterns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            low, _, high = pattern.partition("-")
            if not _PATTERN.fullmatch(pattern) or (high and (len(low) != len(high) or low > high)):
                raise ValueError(
                    f"{pattern!r} is no number pattern; allowed: +250788123456, +25078812*, "
                    "+250788123400-+250788123499 (same length, low first), *"
                )

    def __contains__(self, e164: str) -> bool:
        return any(_matches(pattern, e164) for pattern in self.patterns)

    def shown(self) -> tuple[str, ...]:
        """For texts that may be logged."""
        return tuple(each if each.endswith(ANY) else _masked(each) for each in self.patterns)


def _matches(pattern: str, e164: str) -> bool:
    if pattern.endswith(ANY):
        return e164.startswith(pattern[:-1])
    low, _, high = pattern.partition("-")
    return len(e164) == len(low) and low <= e164 <= (high or low)


@dataclass(frozen=True, slots=True)
class NumberPlan:
    """How one trunk writes and reads numbers. ``region`` is the home (ISO 3166: RW, UG, ZA, GH, NG …)."""

    region: str
    to_format: Format = Format.PLUS_E164
    from_format: Format = Format.PLUS_E164
    received_format: Format = Format.PLUS_E164
    may_dial: NumberSet = NumberSet((ANY,))
    caller_id: str = ""  # E.164, used when a call names none
    allowed_caller_ids: NumberSet = NumberSet()
    auth_user: str = ""  # "" without digest
    per_number_auth: bool = False  # MTN: the digest user is the national number of the caller id

    def __post_init__(self) -> None:
        if self.region not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(
                f"region {self.region!r} is unknown; allowed: ISO 3166 codes such as RW, UG, ZA, GH, NG"
            )
        if self.caller_id and not _E164.fullmatch(self.caller_id):
            raise ValueError(f"caller_id {self.caller_id!r} must be E.164 with +, such as +250788123456")


@dataclass(frozen=True, slots=True)
class Dialled:
    """The numbers of one outbound call on one trunk: E.164 for rows, user parts and digest user for the INVITE."""

    to_e164: str
    from_e164: str
    to_user: str
    from_user: str
    auth_user: str


def dial(plan: NumberPlan, to: str, caller: str = "") -> Dialled:
    """What to put on the wire for a call to ``to`` from ``caller`` ("" is the trunk's own). Raises NumberError."""
    to_e164 = normalise(plan, to, Format.NATIONAL)
    if to_e164 not in plan.may_dial:
        raise NumberError(to_e164, "may not be dialled on this trunk", plan.may_dial.shown())
    from_e164 = caller_id(plan, caller)
    return Dialled(
        to_e164=to_e164,
        from_e164=from_e164,
        to_user=written(to_e164, plan.to_format, plan.region),
        from_user=written(from_e164, plan.from_format, plan.region),
        auth_user=national_number(from_e164) if plan.per_number_auth else plan.auth_user,
    )


def caller_id(plan: NumberPlan, caller: str = "") -> str:
    """The E.164 number that the trunk will present, limited to its allowed ones. Raises NumberError."""
    allowed = NumberSet((*plan.allowed_caller_ids.patterns, *([plan.caller_id] if plan.caller_id else [])))
    if not caller and not plan.caller_id:
        raise NumberError("", "was given neither for the call nor as caller_id of the trunk", allowed.shown())
    try:
        number = normalise(plan, caller, Format.NATIONAL) if caller else plan.caller_id
    except NumberError:
        raise NumberError(caller, "is no number to be presented as caller id", allowed.shown()) from None
    if number not in allowed:
        raise NumberError(number, "may not be presented as caller id", allowed.shown())
    return number


def may_present(plan: NumberPlan, e164: str) -> bool:
    """Whether the number of somebody else, whose call is passed on, may stand in From."""
    return e164 in plan.allowed_caller_ids and not plan.per_number_auth


def check_redirect(plan: NumberPlan, user: str) -> None:
    """The user part that a carrier redirects to: a name is its own affair, digits are what we might have dialled.

    However digits without a prefix are meant, the number must be allowed. Raises NumberError.
    """
    text, _, parameters = unquote(user).partition(";")
    if not text or any(each.isalpha() for each in text):
        return
    if "phone-context" in parameters.lower():
        raise NumberError(text, "is a number of a plan of its own (phone-context)", _forms(plan))
    for bare in (Format.NATIONAL, Format.E164):
        e164 = normalise(plan, text, bare)
        if e164 not in plan.may_dial:
            raise NumberError(e164, "may not be dialled on this trunk", plan.may_dial.shown())


def received(plan: NumberPlan, user: str) -> str | None:
    """The number in a From, To or Request-URI that came in; None for anonymous callers and names."""
    try:
        return normalise(plan, user.partition(";")[0], plan.received_format)
    except NumberError:
        return None


def normalise(plan: NumberPlan, text: str, bare: Format) -> str:
    """``text`` as E.164 with ``+``; ``bare`` says how digits without a prefix are meant. Raises NumberError."""
    digits = _SEPARATORS.sub("", unquote(text))
    if not _DIALLED.fullmatch(digits):
        raise NumberError(text, "is not a telephone number", _forms(plan))
    explicit = digits.startswith(("+", "00"))
    readings = [each for each in map(_parsed, _candidates(digits, plan.region, bare)) if each is not None]
    for reading in readings:
        if phonenumbers.is_valid_number(reading):
            return phonenumbers.format_number(reading, phonenumbers.PhoneNumberFormat.E164)
    # The tables of phonenumbers lag behind new ranges: what was written in full is believed if its length can be.
    if explicit and readings and phonenumbers.is_possible_number(readings[0]):
        return phonenumbers.format_number(readings[0], phonenumbers.PhoneNumberFormat.E164)
    raise NumberError(text, f"is no number of a known plan (home region {plan.region})", _forms(plan))


def _forms(plan: NumberPlan) -> tuple[str, ...]:
    return ("+<country><number>", "00<country><number>", f"a national number of {plan.region}")


def _candidates(digits: str, region: str, bare: Format) -> tuple[tuple[str, str], ...]:
    """(text, region) in the order in which they are tried; region "" for what is international."""
    if digits.startswith("+"):
        return ((digits, ""),)
    national = digits, region
    if digits.startswith("00"):  # Nigeria dials 009: its own plan knows
        return (("+" + digits[2:], ""), national)
    international = "+" + digits, ""
    return (national, international) if bare is Format.NATIONAL else (international, national)


def _parsed(candidate: tuple[str, str]) -> phonenumbers.PhoneNumber | None:
    """The library's parse, None where it finds nothing."""
    text, region = candidate
    try:
        return phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException:
        return None


def written(e164: str, form: Format, region: str) -> str:
    """An E.164 number the trunk's way."""
    if form is Format.PLUS_E164:
        return e164
    if form is Format.E164:
        return e164[1:]
    number = phonenumbers.parse(e164)
    home = phonenumbers.country_code_for_region(region) == number.country_code
    if form is Format.ZERO_ZERO or not home:
        return "00" + e164[1:]
    text = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    return phonenumbers.normalize_digits_only(text)


def national_number(e164: str) -> str:
    """The national significant number (9 digits in RW, UG, ZA and GH): MTN's digest user."""
    return phonenumbers.national_significant_number(phonenumbers.parse(e164))
