"""What a drill found out, as plain values: figures, checks, a timeline. No I/O. docs/drills.md defines each figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Tone = Literal["plain", "good", "bad"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened on ``lane``: at a moment, or from ``at_ms`` to ``until_ms`` of the drill."""

    lane: str
    at_ms: int
    until_ms: int | None
    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation and what was found."""

    expected: str
    held: bool
    found: str


@dataclass(frozen=True, slots=True)
class CanaryCall:
    """How good a canary call was for the caller, by the E-model; None: it heard nothing."""

    lane: str
    trunk: str  # that answered, or ""
    r: float | None
    mos: float | None
    loss_percent: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """One drill."""

    name: str
    held: bool
    breaks: str
    expected: str
    what_happened: str
    expects_failover: bool
    detect_ms: int | None = None
    attempted: int = 0
    lost: int = 0
    extra_pdd_ms: int | None = None
    attempts_per_call: float | None = None
    recover_ms: int | None = None
    started_at: str = ""  # ISO 8601, UTC
    duration_ms: int = 0
    mutation: str = ""
    checks: Sequence[Check] = ()
    timeline: Sequence[Entry] = ()
    calls: Sequence[CanaryCall] = ()

    @property
    def worst_mos(self) -> float | None:
        """Of the canary calls that heard something."""
        return min((each.mos for each in self.calls if each.mos is not None), default=None)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def result_of(document: Mapping[str, Any]) -> Result:
    """The reverse of ``Result.as_dict``."""
    known = dict(document)
    known["checks"] = tuple(Check(**each) for each in document["checks"])
    known["timeline"] = tuple(Entry(**each) for each in document["timeline"])
    known["calls"] = tuple(CanaryCall(**each) for each in document["calls"])
    return Result(**known)


def said(checks: Sequence[Check]) -> str:
    """What happened in one line: what did not hold, or all that was found."""
    failed = [each for each in checks if not each.held]
    if failed:
        return "; ".join(f"expected {each.expected}, found {each.found}" for each in failed)
    return "; ".join(dict.fromkeys(each.found for each in checks))
