"""Whether this caller may be recorded: the question, the answer by voice or key, a change of mind. No I/O, no clock.

The question is asked once and once again; who says nothing is not recorded. Each answer is told once as ``Answered``,
also none at all, and each is a row of the ledger. Consent holds until it is withdrawn: the transitions are
``FOLLOWERS``, and what is done follows from them in one place, ``Consent._to``. Keys answer only while the question
stands; the voice, which the model reports through its tool, also later.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Channel = Literal["voice", "dtmf"]

KEYS = {"1": True, "2": False}  # as the question says
ANSWERS_MAX = 8  # of one call; after that a yes is not taken any more
PATIENCE = 4  # times ``answer_s`` from the question's end, whatever is being said meanwhile


class State(Enum):
    """Where the consent of a call stands."""

    UNASKED = "unasked"
    ASKED = "asked"
    ASKED_AGAIN = "asked again"
    GIVEN = "given"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    WITHDRAWN = "withdrawn"


class Input(Enum):
    """What can happen to it. OVER: the time for an answer, or the call."""

    ASK = "ask"
    YES = "yes"
    NO = "no"
    LATE = "late"
    OVER = "over"


PENDING = frozenset({State.ASKED, State.ASKED_AGAIN})
# What is not here changes nothing.
FOLLOWERS: dict[tuple[State, Input], State] = {
    (State.UNASKED, Input.ASK): State.ASKED,
    (State.UNASKED, Input.NO): State.REFUSED,  # a yes to what was not asked is none
    (State.ASKED, Input.YES): State.GIVEN,
    (State.ASKED, Input.NO): State.REFUSED,
    (State.ASKED, Input.LATE): State.ASKED_AGAIN,
    (State.ASKED, Input.OVER): State.UNANSWERED,
    (State.ASKED_AGAIN, Input.YES): State.GIVEN,
    (State.ASKED_AGAIN, Input.NO): State.REFUSED,
    (State.ASKED_AGAIN, Input.LATE): State.UNANSWERED,
    (State.ASKED_AGAIN, Input.OVER): State.UNANSWERED,
    (State.GIVEN, Input.NO): State.WITHDRAWN,
    (State.REFUSED, Input.YES): State.GIVEN,
    (State.UNANSWERED, Input.YES): State.GIVEN,
    (State.UNANSWERED, Input.NO): State.REFUSED,
    (State.WITHDRAWN, Input.YES): State.GIVEN,
}
RESULT: dict[State, bool | None] = {
    State.GIVEN: True,
    State.REFUSED: False,
    State.WITHDRAWN: False,
    State.UNANSWERED: None,
}


@dataclass(frozen=True, slots=True)
class Ask:
    """The question is to be put; ``Consent.asked`` wants to know how long it takes."""


@dataclass(frozen=True, slots=True)
class Answered:
    """For the ledger. ``result`` None: there was no answer."""

    result: bool | None
    channel: Channel | None


@dataclass(frozen=True, slots=True)
class Start:
    """Recording may begin."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Recording ends now: consent was withdrawn."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """The caller is told that the call is recorded, or that it is not."""

    recorded: bool


@dataclass(frozen=True, slots=True)
class Proceed:
    """Nothing is asked any more: the conversation can begin. ``channel``: how it was answered."""

    channel: Channel | None


Step = Ask | Answered | Start | Stop | Confirm | Proceed


class Consent:
    """Of one call. Every method returns what is to be done, in order."""

    def __init__(self, answer_s: float) -> None:
        """``answer_s``: so long after the question, or after the last word, an answer is waited for."""
        self.state = State.UNASKED
        self._answer_s = answer_s
        self._answers = 0
        self._deadline: float | None = None
        self._patience_until = 0.0

    @property
    def is_given(self) -> bool:
        return self.state is State.GIVEN

    @property
    def is_pending(self) -> bool:
        """The question stands."""
        return self.state in PENDING

    def begin(self) -> list[Step]:
        """The call has been answered."""
        return self._on(Input.ASK)

    def asked(self, now: float, duration_s: float) -> None:
        """The question goes out, and will have been heard after ``duration_s``."""
        self._deadline = now + duration_s + self._answer_s
        self._patience_until = now + duration_s + PATIENCE * self._answer_s

    def talked(self, now: float) -> None:
        """The caller or the agent says something: that may be the answer, or be about it."""
        if self.is_pending and self._deadline is not None:
            self._deadline = max(self._deadline, min(now + self._answer_s, self._patience_until))

    def key(self, key: str) -> list[Step] | None:
        """None: the key is no answer."""
        if not self.is_pending or key not in KEYS:
            return None
        return self._on(Input.YES if KEYS[key] else Input.NO, "dtmf")

    def said(self, granted: bool) -> list[Step]:
        """By voice, at any time: nothing follows from what was said before, or from too many changes of mind."""
        if granted and self._answers >= ANSWERS_MAX:
            return []
        return self._on(Input.YES if granted else Input.NO, "voice")

    def deadline(self) -> float | None:
        """When ``expire`` must be called, if nothing happens before."""
        return self._deadline if self.is_pending else None

    def expire(self, now: float) -> list[Step]:
        """The question again, or no answer."""
        deadline = self.deadline()
        return self._on(Input.LATE) if deadline is not None and now >= deadline else []

    def over(self) -> list[Step]:
        """The call has ended: a question that stood is one without an answer."""
        return [step for step in self._on(Input.OVER) if isinstance(step, Answered)]

    def _on(self, what: Input, channel: Channel | None = None) -> list[Step]:
        after = FOLLOWERS.get((self.state, what))
        return [] if after is None else self._to(after, channel)

    def _to(self, after: State, channel: Channel | None) -> list[Step]:
        before, self.state = self.state, after
        if after in PENDING:
            self._deadline = None  # until it is known how long the question takes
            return [Ask()]
        self._answers += 1
        steps: list[Step] = [Stop()] if before is State.GIVEN else []
        steps.append(Answered(RESULT[after], channel))
        steps.append(Confirm(self.is_given))
        if self.is_given:
            steps.append(Start())
        if before in PENDING:
            steps.append(Proceed(channel))
        return steps
