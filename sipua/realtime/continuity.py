"""One conversation over several sessions: when the next is opened, switched to, given up. No I/O, no clock.

The service ends every session after an hour, and a network ends any of them at any time. Before the cap the next one
is opened beside the present one and takes over in the first quiet moment, or shortly before the cap in any case. A
session that is lost is followed by another within a budget of time; never if the service refused us for good (key,
quota, configuration), and not for ever if each of them is lost. One that lives but owes an answer and says nothing
counts as lost; the second in a row is the last. Sessions are numbered by us from 0. The adapter (``sipua.voice_link``)
performs what comes out; what the next session has to be told is in ``history``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from sipua.errors import RealtimeClosed, RealtimeDeaf, RealtimeError
from sipua.realtime import events as ev
from sipua.realtime.floor import Floor, Resumption

MARGIN_SHARE = 0.4  # of a short session that the margin may take …
FORCED_SHARE, FORCED_S = 0.15, 10.0  # … and how long before the cap the change is made in any case
BACK_OFF_S = (0.25, 0.5, 1.0, 2.0, 4.0)  # before each further try: from half of it to all of it
LINGER_S, ANSWERING_S = (
    5.0,
    30.0,
)  # the former session's late transcripts are awaited; or the end of its answer
COMFORT_AFTER_S, COMFORT_EVERY_S = 1.2, 10.0  # of silence that the caller need not wonder about
CAP_PLAUSIBLE_S = 5.0  # below it the two clocks differ, not the life of a session
DEAF_EVERY_S = 60.0  # at first, then twice as seldom each time: music is voice to us and none to the service
MUTES_MAX = 2  # sessions in a row that live and say nothing
LOSSES_MAX, LOSSES_WITHIN_S = 6, 60.0  # more is not a network but a service that does not want us

# Of a session that has been switched from: words that come late, and how its last answer ended.
LATE = (
    ev.UserTranscriptDelta
    | ev.UserTranscript
    | ev.UserTranscriptFailed
    | ev.AssistantTranscriptDelta
    | ev.AssistantTranscript
    | ev.TextDelta
    | ev.TextDone
    | ev.AudioDone
    | ev.OutputItemAdded
    | ev.OutputItemDone
    | ev.FunctionCall
    | ev.ResponseDone
)


@dataclass(frozen=True, slots=True)
class Rules:
    """``margin_s``: so long before its cap a session is followed. ``budget_s``: of reconnecting; 0 = none."""

    margin_s: float = 120.0
    budget_s: float = 20.0


@dataclass(frozen=True, slots=True)
class OpenNext:
    """Open that session beside the present one, if there is one, and say ``ready`` or ``failed``."""

    number: int


class Cause(Enum):
    QUIET = "quiet"
    CAP = "cap"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Switch:
    """From now on that session hears the caller; ``resumption`` in the former one's clock."""

    number: int
    cause: Cause
    resumption: Resumption


@dataclass(frozen=True, slots=True)
class Retire:
    """Close that session: it has been switched from and has had its time."""

    number: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Close that session, the present one, as lost: its connection lives, and it says nothing."""

    number: int
    error: RealtimeError


@dataclass(frozen=True, slots=True)
class PlayComfort:
    """Something for the caller, who hears silence."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """There will be no session any more."""

    error: RealtimeError


Output = OpenNext | Switch | Retire | Drop | PlayComfort | GiveUp


class Next(Enum):
    """How far the next session is."""

    NONE = "none"
    OPENING = "opening"
    READY = "ready"  # open, and waits for the moment
    PAUSED = "paused"  # between two tries
    HOPELESS = "hopeless"  # refused for good


class Continuity:
    """``chance`` gives 0…1, for the jitter."""

    def __init__(self, rules: Rules, chance: Callable[[], float], now: float, cap_s: float | None) -> None:
        self.floor = Floor(now)
        self.current = 0
        self.is_lost = False
        self.answers_turns = True  # the service, by itself
        self._rules = rules
        self._chance = chance
        self._newest = 0
        self._next = Next.NONE
        self._next_cap = (now, cap_s)
        self._tries = 0
        self._retry_at = now
        self._refusal: RealtimeError | None = None
        self._error = RealtimeError("the voice session ended")
        self._lost_at = self._give_up_at = self._comfort_at = now
        self._losses: deque[float] = deque(maxlen=LOSSES_MAX)
        self.former: dict[int, Floor] = {}  # sessions that have been switched from
        self._switched_at: dict[int, float] = {}
        self._is_over = False
        self._mutes = 0
        self._deaf_at, self._deaf_pause_s = now, DEAF_EVERY_S
        self._set_cap(now, cap_s)

    # what happens

    def ready(self, now: float, cap_s: float | None) -> list[Output]:
        """The next session is open and configured."""
        assert self._next is Next.OPENING, self._next
        self._next, self._next_cap = Next.READY, (now, cap_s)
        return self.tick(now)

    def failed(self, now: float, error: RealtimeError) -> list[Output]:
        """The next session could not be opened, or was lost before it was needed."""
        if not error.retryable:
            self._next, self._refusal = Next.HOPELESS, error
            return self._give_up(error) if self.is_lost else []
        self._next = Next.PAUSED
        self._retry_at = self._after_a_pause(now, self._tries)
        return self.tick(now)

    def _after_a_pause(self, now: float, times: int) -> float:
        """The longer the more often."""
        return now + BACK_OFF_S[min(times, len(BACK_OFF_S)) - 1] * (0.5 + 0.5 * self._chance())

    def lost(self, now: float, error: RealtimeError) -> list[Output]:
        """The present session is gone."""
        self.is_lost, self._error = True, error
        if not error.retryable or self._rules.budget_s <= 0:
            return self._give_up(error)
        if self._next is Next.HOPELESS:
            return self._give_up(self._refusal or error)
        if len(self._losses) == LOSSES_MAX and now - self._losses[0] < LOSSES_WITHIN_S:
            return self._give_up(error)
        recent = sum(now - at < LOSSES_WITHIN_S for at in self._losses)
        self._losses.append(now)
        self._lost_at = now
        self._give_up_at, self._comfort_at = now + self._rules.budget_s, now + COMFORT_AFTER_S
        if self._next is Next.PAUSED:
            self._retry_at = now
        elif (
            self._next is Next.NONE and recent
        ):  # the first loss is the network's; the next one may be a habit
            self._next, self._retry_at = Next.PAUSED, self._after_a_pause(now, recent)
        return self.tick(now)

    def unheard(self, now: float) -> list[Output]:
        """The caller speaks, and the present session says nothing to it: another one may hear. None is given up for
        that alone, as what we take for speech may be none.
        """
        is_due = now >= self._deaf_at and self.answers_turns and self.floor.is_free
        if self._is_over or self.is_lost or not is_due:
            return []
        self._deaf_at, self._deaf_pause_s = now + self._deaf_pause_s, 2 * self._deaf_pause_s
        error = RealtimeDeaf("the voice service is connected and does not notice that the caller speaks")
        return [Drop(self.current, error)]

    # time

    def deadline(self) -> float:
        """When ``tick`` has something to do next; infinity if nothing but an event can bring it."""
        if self._is_over:
            return float("inf")
        dues = [self._retire_at(number) for number in self.former]
        if self.is_lost:
            dues += [self._give_up_at, self._comfort_at]
        elif self._next is Next.READY:
            dues.append(self._forced_at)
            dues += [at] if (at := self.floor.quiet_at()) is not None else []
        return min([*dues, self._open_at(), self._mute_at()])

    def tick(self, now: float) -> list[Output]:
        """All that is due."""
        outputs: list[Output] = []
        if self._is_over:
            return outputs
        if self.is_lost and now >= self._give_up_at:
            waited = RealtimeClosed(f"{self._error}; no other session within {self._rules.budget_s:g} s")
            return self._give_up(waited)
        if now >= self._mute_at():
            return self._mute()
        if now >= self._open_at():
            outputs += self._open()
        elif self._next is Next.READY and (cause := self._cause(now)) is not None:
            outputs += self._switch(now, cause)
        if self.is_lost and now >= self._comfort_at:
            self._comfort_at = now + COMFORT_EVERY_S
            outputs.append(PlayComfort())
        for number in [each for each in self.former if now >= self._retire_at(each)]:
            self.forget(number)
            outputs.append(Retire(number))
        return outputs

    def forget(self, number: int) -> None:
        """That former session is over."""
        self.former.pop(number, None)
        self._switched_at.pop(number, None)

    def _mute_at(self) -> float:
        """When the present session has been silent for too long; infinity while it owes nothing."""
        at = None if self.is_lost else self.floor.mute_at(answers_turns=self.answers_turns)
        return float("inf") if at is None else at

    def _mute(self) -> list[Output]:
        self._mutes = 1 if self.floor.has_answered else self._mutes + 1
        error = RealtimeClosed("the voice service is connected and says nothing")
        return (
            self._give_up(error) if self._mutes >= MUTES_MAX else [PlayComfort(), Drop(self.current, error)]
        )

    def _retire_at(self, number: int) -> float:
        answers = bool(self.former[number].responses)
        return self._switched_at[number] + (ANSWERING_S if answers else LINGER_S)

    def _give_up(self, error: RealtimeError) -> list[Output]:
        self._is_over = True
        return [GiveUp(error)]

    def _open_at(self) -> float:
        """When to try for the next session; infinity if that is not what is due."""
        if self._next is Next.NONE:
            return self._lost_at if self.is_lost else self._rotate_at
        return self._retry_at if self._next is Next.PAUSED else float("inf")

    def _open(self) -> list[Output]:
        self._newest += 1
        self._tries += 1
        self._next = Next.OPENING
        return [OpenNext(self._newest)]

    def _cause(self, now: float) -> Cause | None:
        if self.is_lost:
            return Cause.LOST
        quiet_at = self.floor.quiet_at()
        if quiet_at is not None and now >= quiet_at:
            return Cause.QUIET
        return Cause.CAP if now >= self._forced_at else None

    def _switch(self, now: float, cause: Cause) -> list[Output]:
        left = self.floor.resumption() if cause is Cause.LOST else self.floor.takeover()
        if cause is not Cause.LOST:
            self.former[self.current] = self.floor
            self._switched_at[self.current] = now
        self.current, self.is_lost = self._newest, False
        self.floor = Floor(now)
        self._next, self._tries = Next.NONE, 0
        self._set_cap(*self._next_cap)
        return [Switch(self.current, cause, left)]

    def _set_cap(self, opened_at: float, cap_s: float | None) -> None:
        life_s = float("inf") if cap_s is None else cap_s
        margin_s = min(self._rules.margin_s, life_s * MARGIN_SHARE)
        self._rotate_at = opened_at + life_s - margin_s if cap_s is not None else float("inf")
        self._forced_at = opened_at + life_s - min(FORCED_S, life_s * FORCED_SHARE, margin_s / 2)


def life_s(known: float | None, expires_at: object, wall: float) -> float | None:
    """How long a session will live: what the service is known for, or what the session says if that is less.

    ``expires_at`` and ``wall`` are seconds of the epoch.
    """
    if not isinstance(expires_at, int | float) or isinstance(expires_at, bool):
        return known
    left_s = expires_at - wall
    if left_s < CAP_PLAUSIBLE_S:
        return known
    return left_s if known is None else min(known, left_s)
