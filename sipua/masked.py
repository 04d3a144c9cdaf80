"""Telephone numbers out of what is shown: country code and the last four digits stay. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sipua.sip_message import mask_number

NUMBERS = ("from_e164", "to_e164", "lead_phone", "customer_msisdn", "msisdn", "leadPhone")
NAMES = (
    "id",
    "call_id",
    "session_id",
    "item_id",
    "call_sid",
    "twilio_call_sid",
    "mtn_call_sid",
    "sip_session_id",
)
# 7 to 15 digits, as people write them; not a part of a longer word, an address or a time.
_NUMBER = re.compile(
    r"(?<![\w.:/+-])(?![0-9]{4}-[0-9]{2}-[0-9]{2})\+?[0-9](?:[ ().-]{0,2}[0-9]){6,14}(?![\w:])(?!\.[0-9])(?!-[0-9])"
)
_OF_A_URI = re.compile(r"(?<=sip:)\+?[0-9]{5,}|(?<=sips:)\+?[0-9]{5,}|(?<=tel:)\+?[0-9]{5,}")


def masked_text(text: str) -> str:
    """Its numbers masked, also those that callers say; years and amounts stay."""
    return _NUMBER.sub(_masked, _OF_A_URI.sub(_masked, text))


def masked(value: Any, name: str = "") -> Any:
    """A JSON value of a row: fields that are numbers by their name, and numbers in texts. Ids and times stay."""
    match value:
        case str() if name in NUMBERS:
            return mask_number(value)
        case str() if name in NAMES or name.endswith("_at") or name in ("t", "next"):
            return value
        case str():
            return masked_text(value)
        case Mapping():
            return {key: masked(each, key) for key, each in value.items()}
        case list() | tuple():
            return [masked(each, name) for each in value]
        case _:
            return value


def _masked(match: re.Match[str]) -> str:
    digits = re.sub(r"[^0-9+]", "", match[0])
    return mask_number(digits)
