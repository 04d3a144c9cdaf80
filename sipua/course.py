"""How a call went, for a plot afterwards: its media every few seconds, and how long callers waited for answers. No I/O.

Both series are bounded: of a full one each two neighbours become the worse of them, so that a long call is told as a
whole, in coarser steps (60 points are 5 minutes at 5 s, an hour and a half at 80 s). Loss and MOS are of the step
alone, and MOS takes its loss for random; the figures of the whole call know bursts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rtp.quality import Losses, quality

STEP_S = 5.0
MOST = 60  # of either series
WAIT_MAX_S = 60.0  # what comes later is no answer to that


@dataclass(frozen=True, slots=True)
class Point:
    """``at_s`` after the answer, the end of its step. None: nothing was measured."""

    at_s: float
    jitter_ms: float | None
    loss_percent: float | None
    mos: float | None


@dataclass(frozen=True, slots=True)
class Turn:
    """``ms`` from the service's word that the caller has stopped to the first sound of the answer."""

    at_s: float
    ms: int


class Course:
    """Of one call; times are seconds since its answer."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.turns: list[Turn] = []
        self._step_s = STEP_S
        self._due_s = STEP_S
        self._before: tuple[float, float] = 0.0, 0.0  # heard, lost
        self._stopped_s: float | None = None

    def is_due(self, at_s: float) -> bool:
        """Whether ``measured`` wants to hear."""
        return at_s >= self._due_s

    def measured(self, at_s: float, figures: Mapping[str, Any]) -> None:
        """``figures`` as ``sipua.media_figures.MediaFigures.as_dict``: sums since the beginning."""
        buffer, whole = figures["buffer"], figures["quality"]
        heard, lost = buffer.get("get") or 0, buffer.get("lost") or 0
        step = Losses(
            round(heard + lost - sum(self._before)),
            round(lost - self._before[1]),
            round(lost - self._before[1]),
        )
        self._before = heard, lost
        mos = None
        if whole is not None and step.expected > 0:
            mos = round(quality(step, whole["delay_ms"]).mos, 2)
        jitter_ms = figures["jitter_ms"]
        self.points.append(
            Point(
                round(at_s, 1),
                None if jitter_ms is None else round(jitter_ms, 1),
                round(step.percent, 2) if step.expected > 0 else None,
                mos,
            )
        )
        if len(self.points) > MOST:
            pairs = zip(self.points[:MOST:2], self.points[1:MOST:2], strict=True)
            self.points = [*(_worse(*pair) for pair in pairs), *self.points[MOST:]]
            self._step_s *= 2
        self._due_s = at_s + self._step_s

    def caller_spoke(self) -> None:
        """Again, before anything was answered."""
        self._stopped_s = None

    def caller_stopped(self, at_s: float) -> None:
        self._stopped_s = at_s

    def answered(self, at_s: float) -> Turn | None:
        """Sound has come. Whether it is the first of an answer, and how long that took."""
        stopped_s, self._stopped_s = self._stopped_s, None
        if stopped_s is None or not 0 <= at_s - stopped_s <= WAIT_MAX_S:
            return None
        turn = Turn(round(at_s, 1), round((at_s - stopped_s) * 1000))
        self.turns.append(turn)
        if len(self.turns) > MOST:
            pairs = zip(self.turns[:MOST:2], self.turns[1:MOST:2], strict=True)
            self.turns = [*(max(pair, key=lambda each: each.ms) for pair in pairs), *self.turns[MOST:]]
        return turn

    def as_dict(self) -> dict[str, Any]:
        """For rows; empty if nothing was measured."""
        series: dict[str, Sequence[Point | Turn]] = {"points": self.points, "turns": self.turns}
        return {name: [asdict(each) for each in found] for name, found in series.items() if found}


def _worse(first: Point, second: Point) -> Point:
    """Of both steps, at the end of the second."""
    most = [
        [getattr(each, name) for each in (first, second)] for name in ("jitter_ms", "loss_percent", "mos")
    ]
    jitter, loss, mos = ([value for value in values if value is not None] for values in most)
    return Point(second.at_s, max(jitter, default=None), max(loss, default=None), min(mos, default=None))
