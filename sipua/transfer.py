"""One blind transfer by REFER (RFC 3515, 5589), from the phrase before it to the person or back to the agent. A core.

The caller hears first that they are connected, since a REFER can take the line away at once. What is reported then is
the code of its answer and those of the NOTIFYs' sipfrags. Every step returns what is to be done; ``tick`` is called at
``deadline``. Where the peer refuses REFER as such a second leg of ours is tried, if there is a way for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SAY_S = 8.0  # longest wait for the phrase before
ANSWER_S = 10.0  # for the REFER's; pjsip itself gives up after 32
NOTIFY_S = 15.0  # for the first, once accepted: setting up a call to a mobile takes 5 to 10
RING_S = 45.0  # since it was accepted
LIMIT_S = 58.0  # of everything: the tool has 60


class State(StrEnum):
    """Where the caller is."""

    SAYING = "saying"
    REQUESTED = "requested"
    ACCEPTED = "accepted"
    RINGING = "ringing"
    DONE = "done"
    FAILED = "failed"


class Cause(StrEnum):
    """Why it failed."""

    NOT_SENT = "not_sent"
    REFUSED = "refused"  # the REFER
    UNANSWERED = "unanswered"  # the REFER
    NEVER_NOTIFIED = "never_notified"
    UNTOLD = "untold"  # the NOTIFYs ended before the end
    NOT_REACHED = "not_reached"  # the person: a 4xx to 6xx was notified
    RANG_OUT = "rang_out"


@dataclass(frozen=True, slots=True)
class Say:
    """A recording of ours, by its name in ``sipua.languages.Phrases``."""

    phrase: str


@dataclass(frozen=True, slots=True)
class Refer:
    """REFER goes out."""

    target: str


@dataclass(frozen=True, slots=True)
class Noted:
    """For the ledger. ``code`` 0: none."""

    state: State
    code: int = 0
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class HangUp:
    """The caller talks with the person: the call with us is over."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The caller is back with the agent; ``reason`` is for the model."""

    reason: str


@dataclass(frozen=True, slots=True)
class DialInstead:
    """The peer refuses REFER as such: a second leg of ours is next (``sipua.bridge``)."""


Step = Say | Refer | Noted | HangUp | Resume | DialInstead

_NEXT = {
    State.SAYING: {State.REQUESTED},
    State.REQUESTED: {State.ACCEPTED, State.FAILED},
    State.ACCEPTED: {State.RINGING, State.DONE, State.FAILED},
    State.RINGING: {State.DONE, State.FAILED},
    State.DONE: set(),
    State.FAILED: set(),
}
_OVERDUE = {
    State.REQUESTED: Cause.UNANSWERED,
    State.ACCEPTED: Cause.NEVER_NOTIFIED,
    State.RINGING: Cause.RANG_OUT,
}
_REFUSES_REFER = frozenset({403, 405, 420, 489, 501, 603})
_REASONS = {
    Cause.NOT_SENT: "the transfer could not be started",
    Cause.REFUSED: "the caller's line does not allow transfers",
    Cause.UNANSWERED: "the caller's line did not answer the transfer",
    Cause.NEVER_NOTIFIED: "nobody told how the transfer went",
    Cause.UNTOLD: "nobody told how the transfer went",
    Cause.RANG_OUT: "nobody answered",
}
_BY_CODE = {
    404: "the number is not in service",
    408: "nobody answered",
    480: "nobody is available there now",
    486: "the line is busy",
    487: "nobody answered",
    600: "the line is busy",
    603: "they declined the call",
}


def words_of(code: int) -> str | None:
    """Why somebody could not be reached, for the model."""
    return _BY_CODE.get(code)


class Transfer:
    """``target`` is a URI. Of an event that comes too late nothing follows."""

    def __init__(self, target: str, *, can_dial: bool = False) -> None:
        """``can_dial``: where REFER is refused as such, the target can be dialled by us."""
        self.state = State.SAYING
        self.cause: Cause | None = None
        self.code = 0  # the last one that was told
        self._target = target
        self._can_dial = can_dial
        self._due: float | None = None
        self._last: float | None = None

    @property
    def is_over(self) -> bool:
        return self.state in (State.DONE, State.FAILED)

    @property
    def peer_refuses(self) -> bool:
        """REFER as such, whoever it names."""
        return self.cause is Cause.REFUSED and self.code in _REFUSES_REFER

    def deadline(self) -> float | None:
        """When ``tick`` is due, on the monotonic clock."""
        return self._due

    def begin(self, now: float) -> list[Step]:
        self._due, self._last = now + SAY_S, now + LIMIT_S
        return [Say("transferring")]

    def said(self, now: float) -> list[Step]:
        """The phrase has been heard."""
        if self.state is not State.SAYING:
            return []
        return [Refer(self._target), *self._to(State.REQUESTED, now + ANSWER_S)]

    def not_sent(self) -> list[Step]:
        """The REFER could not be."""
        return self._failed(Cause.NOT_SENT)

    def told(self, code: int, is_final: bool, now: float) -> list[Step]:
        """The code of the REFER's answer, and then that of a NOTIFY; ``is_final``: nothing follows it."""
        if self.is_over or self.state is State.SAYING:
            return []
        self.code = code
        if self.state is State.REQUESTED:
            if code >= 300:
                return self._failed(Cause.REFUSED)
            return self._to(State.ACCEPTED, now + NOTIFY_S) if code >= 200 else []
        if 200 <= code < 300:
            return [*self._to(State.DONE, None), HangUp()]
        if code >= 300:
            return self._failed(Cause.NOT_REACHED)
        if is_final:
            return self._failed(Cause.UNTOLD)
        if self.state is State.ACCEPTED:
            return self._to(State.RINGING, now + RING_S)
        return []

    def tick(self, now: float) -> list[Step]:
        """What is overdue."""
        if self._due is None or now < self._due:
            return []
        return self.said(now) if self.state is State.SAYING else self._failed(_OVERDUE[self.state])

    def _failed(self, cause: Cause) -> list[Step]:
        if self.is_over:
            return []
        self.cause = cause
        if self._can_dial and self.peer_refuses:
            return [*self._to(State.FAILED, None), DialInstead()]
        said = words_of(self.code) if cause is Cause.NOT_REACHED else None
        reason = said or _REASONS.get(cause, f"they could not be reached (code {self.code})")
        return [*self._to(State.FAILED, None), Say("transfer_failed"), Resume(reason)]

    def _to(self, state: State, due: float | None) -> list[Step]:
        assert state in _NEXT[self.state], f"{self.state} to {state}"
        self.state = state
        self._due = due if due is None or self._last is None else min(due, self._last)
        return [Noted(state, self.code, self.cause)]
