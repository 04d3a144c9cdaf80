"""Which calls hold a slot of pjsua's and a channel of their trunk: the two counting cores behind one lock.

Asked on the pjsua2 thread while an INVITE is being looked at, told on the loop when a leg is gone. Until ``open`` has
named pjsua's limit nothing is let in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import UUID, uuid4

from sipua.trunks.capacity import Limits, LocalCapacity
from sipua.trunks.slots import Slots

KEEPS_ONE_FROM = 8  # slots: below, one that is kept for saying 503 would be a quarter of them


class Occupancy:
    """For one process. ``take`` names what is full, or gives the token that ``release`` wants back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.capacity = LocalCapacity()
        self.slots = Slots(0)
        self._trunks: dict[UUID, str] = {}
        self._lock = threading.Lock()
        self._now = now

    def open(self, limit: int) -> None:
        """pjsua is up and takes so many calls. Of a few (PyPI's four) none is kept: its own 486 refuses the next."""
        with self._lock:
            self.slots.limit = limit + 1 if 0 < limit < KEEPS_ONE_FROM else limit

    def take(self, trunk: str, limits: Limits) -> UUID | str:
        """A slot and a channel for an inbound call, or why there is none. ``cps`` is for calls that we begin."""
        token = uuid4()
        with self._lock:
            now = self._now()
            why = self.capacity.why_full(trunk, Limits(limits.max_channels), now)
            if why:
                return f"trunk {trunk}: {why}"
            if not self.slots.take(str(token), now):
                return f"{self.slots.in_use(now)} of {self.slots.limit} call slots are in use, one is kept"
            self.capacity.occupy(trunk, str(token))
            self._trunks[token] = trunk
        return token

    def release(self, token: UUID) -> None:
        """The leg is gone; once is enough, more is no error."""
        with self._lock:
            trunk = self._trunks.pop(token, None)
            if trunk is not None:
                self.capacity.release(trunk, str(token))
                self.slots.disconnected(str(token))

    def calls_up(self, trunk: str) -> int:
        """Inbound calls of a trunk."""
        with self._lock:
            return self.capacity.calls_up(trunk)
