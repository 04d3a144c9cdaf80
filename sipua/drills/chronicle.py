"""What the trunks report while a drill runs, drawn on its timeline instead of written to a database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sipua.drills.findings import Tone
from sipua.ports import Moment
from sipua.trunks.registration import Changed
from sipua.trunks.watch import HealthChange, HealthView


class Mark(Protocol):
    """``sipua.drills.ground.Ground.mark``."""

    def __call__(
        self, text: str, tone: Tone = "plain", *, lane: str = ..., at: float | None = None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Step:
    """A change of a trunk's state: ``what`` is registration, probe, breaker or retry_after."""

    trunk: str
    what: str
    after: str
    why: str
    at: float
    is_well: bool = True


class Chronicle:
    """A ``sipua.ports.TrunkLedger``. ``steps`` holds every change, in order."""

    def __init__(self, mark: Mark) -> None:
        self.steps: list[Step] = []
        self.alarms: list[tuple[str, str]] = []  # trunk and reason
        self._mark = mark

    def watching(self, trunk: str, addresses: Sequence[str]) -> None:
        """Which targets a trunk has is no event of a drill."""

    def health_seen(self, views: Sequence[HealthView], at: Moment) -> None:
        """Nor is that nothing has changed."""

    def health_changed(self, change: HealthChange, at: Moment) -> None:
        is_well = change.after in ("up", "closed", "registered")
        self.steps.append(Step(change.key.trunk, change.what, change.after, change.why, change.at, is_well))
        where = change.key.address.partition(";")[0]
        tone: Tone = "good" if is_well else "bad"
        text = f"{change.what} {change.after}".replace("_", " ") + f": {change.why}"
        self._mark(f"{where} {text}".strip(), tone, lane=f"trunk {change.key.trunk}", at=change.at)

    def registration_changed(self, trunk: str, account: str, change: Changed, at: Moment) -> None:
        is_well = not change.why_not
        self.steps.append(Step(trunk, "registration", change.after.value, change.why, at.monotonic, is_well))
        tone: Tone = "good" if is_well else "bad"
        lane = f"trunk {trunk}"
        self._mark(f"{change.after.value}: {change.why}", tone, lane=lane, at=at.monotonic)

    def alarm(self, trunk: str, reason: str) -> None:
        """An operator is told."""
        self.alarms.append((trunk, reason))
        self._mark(f"alarm: {reason}", "bad", lane=f"trunk {trunk}")

    def of(self, trunk: str, what: str, *, since: float = 0.0) -> list[Step]:
        """The changes of one kind."""
        return [each for each in self.steps if (each.trunk, each.what) == (trunk, what) and each.at >= since]
