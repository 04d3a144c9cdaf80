"""Who of the writing processes is dead: whose word has not changed for a whole lease while we could hear it.

No clock is compared with another machine's: ``seen_at`` is only looked at for whether it moves, and the time between is
of our own monotonic clock. A look that failed starts all leases anew, as nobody could be heard meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID


class Leases:
    """Made of looks at ``sipua.writers``; no I/O and no clock."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._heard: dict[UUID, tuple[datetime, float]] = {}  # their word, and since when we know it

    def looked(self, now: float, seen_at: Mapping[UUID, datetime]) -> list[UUID]:
        """What is there now; returns those whose lease has run out."""
        self._heard = {
            instance: before
            if (before := self._heard.get(instance)) is not None and before[0] == at
            else (at, now)
            for instance, at in seen_at.items()
        }
        return [instance for instance, (_, since) in self._heard.items() if now - since >= self._lease_s]

    def could_not_look(self) -> None:
        self._heard.clear()
