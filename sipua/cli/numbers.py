"""Numbers on a command line: what is none is a fault of configuration (78) for every command."""

from __future__ import annotations

import re

from sipua.errors import ConfigError
from sipua.sip_message import mask_number

NUMBER = re.compile(r"\+?[0-9][0-9 ().-]{3,}[0-9]")
E164 = re.compile(r"\+[1-9][0-9]{5,14}")


def check_number(what: str, text: str) -> str:
    """One that a trunk may read, with or without its country."""
    if not NUMBER.fullmatch(text):
        raise ConfigError(
            f"{what} {mask_number(text)!r}: is no telephone number; allowed: such as +250788123456"
        )
    return text


def check_e164(what: str, text: str) -> str:
    """One with its country."""
    if not E164.fullmatch(text):
        raise ConfigError(f"{what} {mask_number(text)!r}: allowed: E.164, such as +250788123456")
    return text
