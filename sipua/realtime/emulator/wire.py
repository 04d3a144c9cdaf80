"""Identifiers, padding and small shapes of the wire format. No I/O, no clock."""

from __future__ import annotations

import random
import re
import string
from typing import Any

Event = dict[str, Any]

_ALPHABET = string.ascii_letters + string.digits
_LENGTHS = {"call": 16}  # every other identifier has 21 characters (observed)
_PAD_TO = 16  # obfuscation pads text deltas to a multiple of this (observed)
_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])", re.UNICODE)


class Ids:
    """``event_…``, ``item_…``, ``resp_…``: random as on the service, or repeatable with a seed."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)

    def new(self, kind: str) -> str:
        return f"{kind}_{self.letters(_LENGTHS.get(kind, 21))}"

    def letters(self, count: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=count))

    def obfuscation(self, delta: str) -> str:
        """The padding that hides a text delta's length; on the wire, not in the published models."""
        return self.letters(-len(delta) % _PAD_TO)


def tokens(text: str) -> list[str]:
    """Words and punctuation with their leading space: about the size of the service's text deltas."""
    found = _TOKEN.findall(text)
    rest = text[sum(map(len, found)) :]
    return [*found, rest] if rest else found
