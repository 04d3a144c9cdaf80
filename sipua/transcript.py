"""Transcripts in speech order, though they arrive in any order. No I/O, no clock.

The service sends the caller's words whenever its transcription is done: during the answer, after it, or never. So
an item's place (``sequence``) and its speech time (``t``, strictly increasing within a call, as the readers sort by
it) are reserved when the item appears, and the text is filled in when it comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Role = Literal["user", "assistant", "system", "caller"]

TICK = timedelta(milliseconds=1)  # the least distance of two segments' times
OPEN_ITEMS_MAX = 1000  # items that never got a text are forgotten beyond this
DONE_ITEMS_MAX = 4000  # items whose text must not come twice


@dataclass(frozen=True, slots=True)
class Segment:
    """One utterance, ready for the ledger."""

    sequence: int
    role: Role
    content: str
    t: datetime
    item_id: str
    confidence: float | None = None


class TranscriptOrder:
    """Reserves places by item id and completes them once each. ``after``: nothing is put before that time."""

    def __init__(self, after: datetime | None = None) -> None:
        self._places: dict[str, tuple[int, Role, datetime]] = {}
        self._done: dict[str, None] = {}
        self._next = 1
        self._last = after

    def reserve(self, item_id: str, role: Role, t: datetime) -> None:
        """The item has begun to be spoken at ``t``; later calls for the same item change nothing."""
        if item_id in self._places or item_id in self._done:
            return
        if self._last is not None and t <= self._last:
            t = self._last + TICK
        self._last = t
        self._places[item_id] = (self._next, role, t)
        self._next += 1
        if len(self._places) > OPEN_ITEMS_MAX:
            del self._places[next(iter(self._places))]

    def complete(
        self, item_id: str, role: Role, content: str, now: datetime, confidence: float | None = None
    ) -> Segment | None:
        """The text of an item. None for an empty one and for one that was already completed."""
        content = content.strip()
        if item_id in self._done:
            return None
        self.reserve(item_id, role, now)
        place = self._places.pop(item_id)
        self._done[item_id] = None
        if len(self._done) > DONE_ITEMS_MAX:
            del self._done[next(iter(self._done))]
        if not content:
            return None
        sequence, reserved_role, t = place
        return Segment(sequence, reserved_role, content, t, item_id, confidence)
