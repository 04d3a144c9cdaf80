"""The states of one call and the table of what may follow what. The one place that assigns is ``CallState.to``."""

from __future__ import annotations

from enum import Enum

from sipua.errors import LocalError


class Phase(Enum):
    """Where a call stands. ANSWERING: the voice session is ready, and the answer is on its way (or waited for).

    HELD: the peer holds it, or has stopped its own sending by SDP.
    """

    DIALLING = "dialling"
    INCOMING = "incoming"
    RINGING = "ringing"
    ANSWERING = "answering"
    TALKING = "talking"
    HELD = "held"
    ENDED = "ended"


FOLLOWERS: dict[Phase, frozenset[Phase]] = {
    Phase.DIALLING: frozenset({Phase.RINGING, Phase.ENDED}),
    Phase.INCOMING: frozenset({Phase.RINGING, Phase.ENDED}),
    Phase.RINGING: frozenset({Phase.ANSWERING, Phase.ENDED}),
    Phase.ANSWERING: frozenset({Phase.TALKING, Phase.ENDED}),
    Phase.TALKING: frozenset({Phase.HELD, Phase.ENDED}),
    Phase.HELD: frozenset({Phase.TALKING, Phase.ENDED}),
    Phase.ENDED: frozenset(),
}


class IllegalTransition(LocalError):
    """A bug of ours: names both states."""

    reason = "illegal_transition"


class CallState:
    """Holds the phase of one call."""

    __slots__ = ("phase",)

    def __init__(self, began: Phase) -> None:
        self.phase = began

    @property
    def answered(self) -> bool:
        """A 200 has been accepted."""
        return self.phase in (Phase.TALKING, Phase.HELD)

    def to(self, phase: Phase) -> None:
        """Moves on, or raises IllegalTransition."""
        if phase not in FOLLOWERS[self.phase]:
            raise IllegalTransition(f"a call cannot go from {self.phase.value} to {phase.value}")
        self.phase = phase
