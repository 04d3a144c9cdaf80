"""Incidents: from what is seen to what is told, once each. No I/O; ``now`` is an argument.

| phase | trouble is seen | all is well |
|---|---|---|
| suspected | open, ``after_s`` after it was first seen | forgotten after ``clear_s`` |
| open | – | clearing |
| clearing | open: the same incident, nothing is told | recovered after ``clear_s`` |
| recovered | another incident | forgotten once every channel has told it |

So what flaps is one incident, from its first fault to ``clear_s`` after its last. Each incident keeps the steps that
are to be told (opened, the latest reminder, recovered) and how far each channel has come: written to a file, that is
all a restart needs. Durations go by the monotonic clock and begin anew there; wall time is only told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import uuid4

from sipua.ports import Moment

INCIDENTS_MAX = 256  # with what is suspected; more troubles at once are not told one by one
KEEP_S = 86_400.0  # so long a recovery is tried to be told


class Phase(StrEnum):
    """Where an incident stands."""

    SUSPECTED = "suspected"
    OPEN = "open"
    CLEARING = "clearing"
    RECOVERED = "recovered"


class Word(StrEnum):
    """What a step tells."""

    OPENED = "opened"
    REMINDER = "reminder"
    RECOVERED = "recovered"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a look has found: of which subject (a trunk, a folder; "" if there is one only), and what to do."""

    subject: str
    what: str
    todo: str


@dataclass(frozen=True, slots=True)
class Patience:
    """Of one kind of trouble, in seconds."""

    after_s: float = 0.0
    clear_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to tell; numbers rise within the incident."""

    number: int
    word: Word
    at: datetime


@dataclass(slots=True)
class Incident:
    """``since``: when it was first seen; ``until``: since when it is well, as far as is known."""

    kind: str
    subject: str
    what: str
    todo: str
    since: datetime
    id: str = field(default_factory=lambda: str(uuid4()))
    phase: Phase = Phase.SUSPECTED
    until: datetime | None = None
    steps: tuple[Step, ...] = ()
    told: dict[str, int] = field(default_factory=dict)  # by channel: the number of the last step
    bad_at: float = float("inf")  # monotonic: first seen in this process
    well_at: float | None = None
    stepped_at: float | None = None

    def add(self, word: Word, now: Moment) -> None:
        """A newer reminder takes the place of an older one."""
        number = self.steps[-1].number + 1 if self.steps else 1
        kept = tuple(each for each in self.steps if each.word is not Word.REMINDER)
        self.steps, self.stepped_at = (*kept, Step(number, word, now.wall)), now.monotonic

    def left_for(self, channel: str) -> Iterator[Step]:
        """What this channel has not told yet, in order."""
        return (step for step in self.steps if step.number > self.told.get(channel, 0))


class Incidents:
    """All of one process. ``known``: as a process before it left them."""

    def __init__(
        self, channels: Collection[str], remind_s: float = 0.0, known: Iterable[Incident] = ()
    ) -> None:
        self._channels = tuple(channels)
        self._remind_s = remind_s
        self._all: list[Incident] = list(known)[:INCIDENTS_MAX]
        self.overlooked = 0  # troubles beyond INCIDENTS_MAX

    @property
    def all(self) -> Sequence[Incident]:
        """But those that are only suspected."""
        return [each for each in self._all if each.phase is not Phase.SUSPECTED]

    def is_open(self, kind: str, subject: str) -> bool:
        return any(
            (each.kind, each.subject) == (kind, subject) and each.phase in (Phase.OPEN, Phase.CLEARING)
            for each in self._all
        )

    def seen(self, kind: str, troubles: Sequence[Trouble], patience: Patience, now: Moment) -> list[Incident]:
        """What a look at one kind has found; the incidents that have something new to be told."""
        left = {each.subject: each for each in troubles}
        moved: list[Incident] = []
        for incident in [each for each in self._all if each.kind == kind]:
            if incident.phase is Phase.RECOVERED:
                continue
            trouble = left.pop(incident.subject, None)
            if (
                self._well(incident, patience, now)
                if trouble is None
                else self._bad(incident, trouble, patience, now)
            ):
                moved.append(incident)
        for trouble in left.values():
            if len(self._all) >= INCIDENTS_MAX:
                self.overlooked += 1
                continue
            incident = Incident(kind, trouble.subject, trouble.what, trouble.todo, now.wall)
            self._all.append(incident)
            if self._bad(incident, trouble, patience, now):
                moved.append(incident)
        self._forget(now)
        return moved

    def next_for(self, channel: str) -> tuple[Incident, Step] | None:
        """The oldest step that this channel has not told."""
        waiting = ((each, step) for each in self.all for step in each.left_for(channel))
        return min(waiting, key=lambda pair: pair[1].at, default=None)

    def waiting(self) -> int:
        """Steps that are still to be told, over all channels."""
        return sum(1 for channel in self._channels for each in self.all for _ in each.left_for(channel))

    def has_told(self, channel: str, incident: Incident, step: Step) -> None:
        incident.told[channel] = max(step.number, incident.told.get(channel, 0))
        self._all = [each for each in self._all if not self._is_done(each)]

    # ---- transitions: each says whether there is something to tell -----------------------------------------

    def _bad(self, incident: Incident, trouble: Trouble, patience: Patience, now: Moment) -> bool:
        incident.bad_at = min(incident.bad_at, now.monotonic)
        incident.well_at, incident.until = None, None
        incident.what, incident.todo = trouble.what, trouble.todo  # what is the matter now
        if incident.phase is Phase.SUSPECTED:
            if now.monotonic - incident.bad_at < patience.after_s:
                return False
            incident.phase = Phase.OPEN
            incident.add(Word.OPENED, now)
            return True
        incident.phase = Phase.OPEN
        if incident.stepped_at is None:  # told by the process before
            incident.stepped_at = now.monotonic
        if self._remind_s and now.monotonic - incident.stepped_at >= self._remind_s:
            incident.add(Word.REMINDER, now)
            return True
        return False

    def _well(self, incident: Incident, patience: Patience, now: Moment) -> bool:
        if incident.well_at is None:
            incident.well_at, incident.until = now.monotonic, now.wall
        if incident.phase is Phase.OPEN:
            incident.phase = Phase.CLEARING
        if now.monotonic - incident.well_at < patience.clear_s:
            return False
        if incident.phase is Phase.SUSPECTED:
            self._all.remove(incident)
            return False
        incident.phase = Phase.RECOVERED
        incident.add(Word.RECOVERED, now)
        return True

    def _forget(self, now: Moment) -> None:
        for each in self._all:
            if each.phase is Phase.RECOVERED and each.stepped_at is None:
                each.stepped_at = now.monotonic
        self._all = [each for each in self._all if not self._is_done(each, now)]

    def _is_done(self, incident: Incident, now: Moment | None = None) -> bool:
        if incident.phase is not Phase.RECOVERED:
            return False
        stale = (
            now is not None
            and incident.stepped_at is not None
            and now.monotonic - incident.stepped_at > KEEP_S
        )
        return stale or not any(any(incident.left_for(channel)) for channel in self._channels)
