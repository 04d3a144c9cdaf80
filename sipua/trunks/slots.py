"""pjsua's call slots: counted by us, and asked of pjsua's own count where ours would say no.

pjsua reports an INVITE that we abandon as disconnected at once, yet its slot is free only when the transaction has
ended: with the 487 to our CANCEL, else after Timer B (33 s were measured). It does not tell when, but how many slots
are taken. A full pjsua answers inbound calls with 486 by itself and fails outbound ones with an error; counting lets a
call end with a named reason and an inbound one get 503 with Retry-After instead. No I/O, no clock.
"""

from __future__ import annotations

TIMER_B_S = 34.0  # RFC 3261 section 17.1.1.2: 64 T1 = 32 s, and the second that was measured on top
HEADROOM = 1  # the INVITE that we refuse ourselves needs a slot as well


class Slots:
    """``limit`` is pjsua's number of calls (4 on the PyPI wheel, 1,024 on ours).

    ``held`` is the number of those that it has now, without the one that is asked for.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._since: dict[str, float] = {}
        self._until: dict[str, float] = {}  # of abandoned legs: when the slot is free at the latest
        self._unmade: set[str] = set()  # pjsua does not count them yet

    def in_use(self, now: float, held: int) -> int:
        """The least that is certain: living legs and those abandoned of late, or what pjsua has and is about to get."""
        for leg in [leg for leg, until in self._until.items() if now >= until]:
            self._forget(leg)
        return min(len(self._since), held + len(self._unmade))

    def take(self, leg: str, now: float, held: int) -> bool:
        """A slot for a new leg, in or out; False if only the headroom is left."""
        if self.in_use(now, held) >= self.limit - HEADROOM:
            return False
        self._since[leg] = now
        self._unmade.add(leg)
        return True

    def made(self, leg: str) -> None:
        """pjsua has the leg and counts it."""
        self._unmade.discard(leg)

    def abandoned(self, leg: str, now: float, *, was_heard: bool) -> None:
        """We gave up an INVITE. ``was_heard``: CANCEL went out and its transaction bounds the wait; else Timer B."""
        if leg in self._since:
            self._until[leg] = (now if was_heard else self._since[leg]) + TIMER_B_S
            self._unmade.discard(leg)

    def disconnected(self, leg: str) -> None:
        """pjsua says that the leg is gone; of one that we gave up it says so too early."""
        if leg not in self._until:
            self._forget(leg)

    def _forget(self, leg: str) -> None:
        self._since.pop(leg, None)
        self._until.pop(leg, None)
        self._unmade.discard(leg)
