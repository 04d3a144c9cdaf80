"""What is remembered of a caller who agreed to it, and how it is told to the model. No I/O, no clock.

The number of a caller can be forged: what is remembered is for convenience, nothing that would harm in other hands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from pydantic import Field

from sipua.locale import two_letters
from sipua.section import Section

LANGUAGE = "language"  # the preference that calls begin in
PREFS_MAX = 20
TOPIC = re.compile(r"[a-z][a-z0-9_]{0,31}")
VALUE_MAX_CHARS = 120
_SECRET = re.compile(r"(?:\d[ .-]?){8,}")  # cards, accounts, identity papers


class MemorySettings(Section):
    """What callers let us remember of them."""

    enabled: bool = True
    """Whether the agent may offer to remember preferences; nothing is kept of a caller who did not agree."""
    calls: int = Field(default=3, ge=0, le=10)
    """So many of the last calls of such a caller it is told of: date, intent, outcome."""
    read_timeout_s: float = Field(default=0.5, ge=0.05, le=5.0)
    """So long a call waits for it at its beginning; then it goes on without."""


@dataclass(frozen=True, slots=True)
class PastCall:
    at: datetime
    intent: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Recollection:
    """Of one caller. ``prefs`` may have been written by somebody else: anything can stand there."""

    prefs: Mapping[str, Any]
    country: str | None
    calls: Sequence[PastCall] = ()

    @property
    def locale(self) -> str | None:
        """The language that this caller is remembered for."""
        value = self.prefs.get(LANGUAGE)
        return two_letters(value) if isinstance(value, str) else None

    def lines(self, zone: tzinfo | None) -> str:
        """For the instructions, one fact a line; the first ones matter most."""
        prefs = [
            f"{topic.replace('_', ' ')}: {shown}"
            for topic, value in list(self.prefs.items())[:PREFS_MAX]
            if (shown := _shown(value))
        ]
        calls = [
            f"Called on {call.at.astimezone(zone):%Y-%m-%d}: {call.intent} ({call.outcome or 'outcome unknown'})"
            for call in self.calls
        ]
        country = [f"country: {self.country}"] if self.country else []
        return "\n".join([*prefs, *country, *calls])


NOTHING = Recollection({}, None)


def fault_of(topic: str, value: str) -> str:
    """Why this is not remembered, in words for the model; "" if it may be."""
    if not TOPIC.fullmatch(topic):
        return "topic: one lower-case English word or two joined by _, such as vehicle or home_area"
    if _SECRET.search(value):
        return "numbers of cards, accounts, telephones or papers are never remembered"
    return ""


def _shown(value: object) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return " ".join(str(value).split())[:VALUE_MAX_CHARS]
    return "yes" if value is True else "no" if value is False else ""
