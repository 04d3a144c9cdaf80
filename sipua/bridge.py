"""A transfer by a second leg of ours, from the phrase before it to the end of both legs. A core.

For callers whose line takes no REFER. The caller hears a phrase, then the ringing; once the person answers the two legs
are joined, and the call lasts until one of the two hangs up. Before that the caller comes back to the agent whatever
happens. Every step returns what is to be done; ``tick`` is called at ``deadline``.

    SAYING ──▶ DIALLING ──▶ RINGING ──▶ BRIDGED ──▶ OVER
       │           │ ╰──────────│──────────▲│
       ╰───────────┴────────────┴──▶ FAILED
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sipua.transfer import LIMIT_S, SAY_S, Resume, Say, words_of

RING_S = 40.0  # since the first INVITE, all trunks together


class State(StrEnum):
    """Where the caller is."""

    SAYING = "saying"
    DIALLING = "dialling"
    RINGING = "ringing"
    BRIDGED = "bridged"
    OVER = "over"
    FAILED = "failed"


class Cause(StrEnum):
    """Why it failed."""

    NOT_REACHED = "not_reached"  # a final response, or no trunk that could carry it
    RANG_OUT = "rang_out"
    CALLER_LEFT = "caller_left"


class Side(StrEnum):
    """Who hung up."""

    CALLER = "caller"
    PERSON = "person"
    AGENT = "agent"  # we: the longest call, or the end of the process


@dataclass(frozen=True, slots=True)
class Dial:
    """The second leg goes out."""


@dataclass(frozen=True, slots=True)
class Ring:
    """The caller hears ringing."""


@dataclass(frozen=True, slots=True)
class Join:
    """What each of the two says, the other hears; the agent says nothing any more."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The second leg is given up: CANCEL or BYE. No more ringing."""


@dataclass(frozen=True, slots=True)
class Noted:
    """For the ledger. ``code`` 0: none."""

    state: State
    code: int = 0
    cause: Cause | None = None
    ended_by: Side | None = None


Step = Say | Dial | Ring | Join | Drop | Noted | Resume

_NEXT = {
    State.SAYING: {State.DIALLING, State.FAILED},
    State.DIALLING: {State.RINGING, State.BRIDGED, State.FAILED},
    State.RINGING: {State.BRIDGED, State.FAILED},
    State.BRIDGED: {State.OVER},
    State.OVER: set(),
    State.FAILED: set(),
}
_WAITING = (State.DIALLING, State.RINGING)


class Bridge:
    """``limit_s`` is what is left of the time that the tool has. Of an event that comes too late nothing follows."""

    def __init__(self, ring_s: float = RING_S, limit_s: float = LIMIT_S) -> None:
        self.state = State.SAYING
        self._ring_s = ring_s
        self._limit_s = limit_s
        self._last = 0.0
        self._due: float | None = None

    @property
    def is_settled(self) -> bool:
        """The tool has its result."""
        return self.state not in (State.SAYING, *_WAITING)

    def deadline(self) -> float | None:
        """When ``tick`` is due, on the monotonic clock."""
        return self._due

    def begin(self, now: float, *, was_told: bool) -> list[Step]:
        """``was_told``: the caller has heard the phrase before a REFER that was refused."""
        self._last = now + self._limit_s
        if was_told:
            return self.said(now)
        self._due = min(now + SAY_S, self._last)
        return [Say("transferring"), Noted(State.SAYING)]

    def said(self, now: float) -> list[Step]:
        """The phrase has been heard."""
        if self.state is not State.SAYING:
            return []
        return [*self._to(State.DIALLING, now + self._ring_s), Dial()]

    def rings(self) -> list[Step]:
        """Somebody's telephone does; again, where the next trunk is tried."""
        return [*self._to(State.RINGING, self._due), Ring()] if self.state is State.DIALLING else []

    def answered(self) -> list[Step]:
        return [*self._to(State.BRIDGED, None, 200), Join()] if self.state in _WAITING else []

    def refused(self, code: int) -> list[Step]:
        """Nobody will answer; ``code`` is the last final response, or what stands for it."""
        if self.state not in _WAITING:
            return []
        reason = words_of(code) or f"they could not be reached (code {code})"
        return [*self._failed(Cause.NOT_REACHED, code), Say("transfer_failed"), Resume(reason)]

    def tick(self, now: float) -> list[Step]:
        """What is overdue."""
        if self._due is None or now < self._due:
            return []
        if self.state is State.SAYING:
            return self.said(now)
        return [*self._failed(Cause.RANG_OUT), Say("transfer_failed"), Resume("nobody answered")]

    def left(self, side: Side) -> list[Step]:
        """Somebody has hung up, or their leg is lost."""
        if self.state is State.BRIDGED:
            return [*self._to(State.OVER, None, ended_by=side), Drop()]
        return [] if self.is_settled or side is Side.PERSON else self._failed(Cause.CALLER_LEFT)

    def _failed(self, cause: Cause, code: int = 0) -> list[Step]:
        return [*self._to(State.FAILED, None, code, cause), Drop()]

    def _to(
        self,
        state: State,
        due: float | None,
        code: int = 0,
        cause: Cause | None = None,
        ended_by: Side | None = None,
    ) -> list[Step]:
        assert state in _NEXT[self.state], f"{self.state} to {state}"
        self.state = state
        self._due = due if due is None else min(due, self._last)
        return [Noted(state, code, cause, ended_by)]
