"""What trunks have to say: which carried a call, how they stand, how a drill went. Parts of ``storage.facts``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from storage.words import TrunkAspect, one_of

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallCarried:
    """Which trunk carries an outbound call, once that is known; ids as in ``CallCreated``."""

    call_id: UUID
    trunk: str
    provider: str | None = None
    sip_session_id: str | None = None
    twilio_call_sid: str | None = None
    mtn_call_sid: str | None = None


@dataclass(frozen=True, slots=True)
class CallAttempt:
    """One INVITE of an outbound call, when it is over. ``ordinal`` counts from 1; ``code`` None: no final response."""

    id: UUID
    call_id: UUID
    ordinal: int
    trunk: str
    target: str
    code: int | None
    reason: str
    ms: int
    decision: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class TrunkState:
    """How one aspect of a target, an account or (``target`` "") a trunk stands at ``seen_at``.

    Without ``changed_at`` it was merely seen: ``why`` and ``changed_at`` stay as they are. So does ``latency_ms`` None.
    """

    node: str
    worker: int
    instance: UUID
    trunk: str
    target: str
    what: TrunkAspect
    state: str
    seen_at: datetime
    why: str | None = None
    changed_at: datetime | None = None
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        one_of(self.what, TrunkAspect, "aspect of a trunk")

    @property
    def key(self) -> tuple[str, int, str, str, str]:
        return self.node, self.worker, self.trunk, self.target, self.what


@dataclass(frozen=True, slots=True)
class TrunkChange:
    """One line of the history of such an aspect."""

    id: UUID
    at: datetime
    node: str
    worker: int
    instance: UUID
    trunk: str
    target: str
    what: TrunkAspect
    before: str
    after: str
    why: str

    def __post_init__(self) -> None:
        one_of(self.what, TrunkAspect, "aspect of a trunk")


@dataclass(frozen=True, slots=True)
class TargetsWatched:
    """From now on a trunk consists of these targets ("" is itself); states of others are forgotten.

    Without any the trunk is no more, and its accounts are forgotten too.
    """

    node: str
    worker: int
    trunk: str
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DrillRun:
    """One drill of a run. Times that did not come to pass are None; ``details`` holds the timeline."""

    id: UUID
    run_id: UUID
    drill: str
    held: bool
    attempted: int
    lost: int
    version: str
    node: str
    started_at: datetime
    ended_at: datetime
    detect_ms: float | None = None
    extra_pdd_ms: float | None = None
    attempts_per_call: float | None = None
    recover_ms: float | None = None
    mutate: str | None = None
    live: bool = False
    details: Json = field(default_factory=dict)
