"""Which calls hold a slot of pjsua's and a channel of their trunk: the two counting cores behind one lock.

Inbound calls are asked for on the pjsua2 thread while an INVITE is being looked at and leave on the loop when the leg
is gone; outbound ones are counted on the loop. Until ``open`` has named pjsua's limit nothing is let in or out.
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
    """For one process; ``sipua.trunks.capacity.Capacity`` for the calls that we begin."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._capacity = LocalCapacity()
        self._slots = Slots(0)
        self._limit = 0
        self._held: Callable[[], int] = lambda: 0
        self._trunks: dict[UUID, str] = {}
        self._lock = threading.Lock()
        self._now = now

    def open(self, limit: int, held: Callable[[], int]) -> None:
        """pjsua is up and takes so many calls; ``held`` tells from any thread how many it has.

        Of a few (PyPI's four) none is kept: its own 486 refuses the next.
        """
        with self._lock:
            self._held, self._limit = held, limit
            self._slots.limit = limit + 1 if 0 < limit < KEEPS_ONE_FROM else limit

    def calls_up(self, trunk: str) -> int:
        """Calls of a trunk, both directions."""
        with self._lock:
            return self._capacity.calls_up(trunk)

    def slots_in_use(self) -> int:
        """Living legs, and abandoned ones while pjsua has them."""
        with self._lock:
            return self._slots.in_use(self._now(), self._held())

    def slots(self) -> int:
        """Calls that pjsua takes; 0 until it is up."""
        return self._limit

    # ---- calls that come in ------------------------------------------------------------------------------

    def admit(self, trunk: str, limits: Limits) -> UUID | str:
        """A slot and a channel, as the token that ``leave`` wants back; or what is full."""
        token = uuid4()
        with self._lock:
            now = self._now()
            # its cps is for calls that we begin
            why = self._capacity.why_full(trunk, Limits(limits.max_channels), now)
            if why:
                return f"trunk {trunk}: {why}"
            held = self._held()  # pjsua counts a call once its INVITE has been looked at
            if not self._slots.take(str(token), now, held):
                in_use = self._slots.in_use(now, held)
                return f"{in_use} of {self._slots.limit} call slots are in use, one is kept"
            self._slots.made(str(token))
            self._capacity.occupy(trunk, str(token))
            self._trunks[token] = trunk
        return token

    def leave(self, token: UUID) -> None:
        """The leg is gone; once is enough, more is no error."""
        with self._lock:
            trunk = self._trunks.pop(token, None)
            if trunk is not None:
                self._capacity.release(trunk, str(token))
                self._slots.disconnected(str(token))

    # ---- channels of calls that go out -------------------------------------------------------------------

    def why_full(self, trunk: str, limits: Limits, now: float) -> str:
        with self._lock:
            return self._capacity.why_full(trunk, limits, now)

    def take(self, trunk: str, limits: Limits, call: str, now: float) -> str:
        with self._lock:
            return self._capacity.take(trunk, limits, call, now)

    def release(self, trunk: str, call: str) -> None:
        with self._lock:
            self._capacity.release(trunk, call)

    # ---- slots of their legs -----------------------------------------------------------------------------

    def take_slot(self, leg: str, now: float) -> bool:
        """False if none is left."""
        with self._lock:
            return self._slots.take(leg, now, self._held())

    def made(self, leg: str) -> None:
        """pjsua has the leg."""
        with self._lock:
            self._slots.made(leg)

    def abandoned(self, leg: str, now: float, *, was_heard: bool) -> None:
        """We gave up an INVITE; its slot is free when its transaction has ended."""
        with self._lock:
            self._slots.abandoned(leg, now, was_heard=was_heard)

    def disconnected(self, leg: str) -> None:
        """pjsua says that the leg is gone."""
        with self._lock:
            self._slots.disconnected(leg)
