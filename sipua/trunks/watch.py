"""Health of one key (a target, or a trunk as a whole): probe, circuit breaker, Retry-After, registration.

Two state machines and a table for both; ``health`` holds one ``Watch`` per key and says who reports what. No I/O, no
clock.

* The probe: ``down_after`` misses take it down, ``up_after`` answers bring it up, but not before ``hold_down_s`` have
  passed. Unknown counts as up: nothing would ever be called otherwise. 503 is a miss.
* The breaker: opened by what ``policy`` blames on the target; after ``hold_down_s`` one call at a time is let
  through (the trial), which closes it or opens it again. While it is not closed only the trial has a say: the others
  began before. OPTIONS do not close it: a server that answers them may refuse calls.
* The time until which a Retry-After asked to be left alone; the target is not probed then either.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from sipua.errors import LocalError
from sipua.trunks.policy import RETRY_AFTER_CAP_S

HISTORY_LIMIT = 1024  # changes kept between two drains; the oldest go first
TRIAL_LIMIT_S = 60.0  # a trial that was never reported on (Timer B is 32 s) gives its place back


class Probe(StrEnum):
    """What OPTIONS say."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class Breaker(StrEnum):
    """What real calls say."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


FOLLOWERS: dict[Probe | Breaker, frozenset[Probe | Breaker]] = {
    Probe.UNKNOWN: frozenset({Probe.UP, Probe.DOWN}),
    Probe.UP: frozenset({Probe.DOWN}),
    Probe.DOWN: frozenset({Probe.UP}),
    Breaker.CLOSED: frozenset({Breaker.OPEN}),
    Breaker.OPEN: frozenset({Breaker.HALF_OPEN}),
    Breaker.HALF_OPEN: frozenset({Breaker.OPEN, Breaker.CLOSED}),
}


@dataclass(frozen=True, slots=True)
class HealthRules:
    """Of one trunk. ``options_interval_s`` 0 switches probing off."""

    options_interval_s: float = 30.0
    options_timeout_s: float = 4.0
    # Alive, if not always pleased: many carriers answer OPTIONS with 404, 405 or a challenge. Never 408 or 503.
    ok_codes: frozenset[int] = frozenset({200, 401, 404, 405, 407, 481, 483, 501})
    down_after: int = 3
    up_after: int = 2
    hold_down_s: float = 30.0
    fault_hold_down_s: float = 300.0  # after credentials were refused: nothing heals by itself
    open_after: int = 3  # counted failures in a row
    retry_after_cap_s: float = RETRY_AFTER_CAP_S

    def __post_init__(self) -> None:
        if self.ok_codes & {408, 503}:
            raise ValueError("ok codes: 408 and 503 are never healthy")
        if min(self.down_after, self.up_after, self.open_after) < 1:
            raise ValueError("down_after, up_after and open_after are at least 1")
        if self.options_interval_s and self.options_interval_s <= self.options_timeout_s:
            raise ValueError("options_interval must be longer than options_timeout")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """``address`` as the targets have it; "" is the trunk itself."""

    trunk: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class HealthChange:
    """One row of the history. ``what`` is probe, breaker, retry_after or registration."""

    at: float
    key: Key
    what: str
    before: str
    after: str
    why: str


@dataclass(frozen=True, slots=True)
class HealthView:
    """One line of ``sipua trunks``. ``why_not`` is "" where calls may go; ``latency_s`` of the last OPTIONS answer."""

    key: Key
    why_not: str
    probe: Probe
    breaker: Breaker
    changed_at: float | None
    latency_s: float | None
    last_code: int


class History:
    """The changes of all keys since the last drain; ``dropped`` counts what came too fast for the reader."""

    def __init__(self) -> None:
        self._changes: deque[HealthChange] = deque(maxlen=HISTORY_LIMIT)
        self.dropped = 0

    def add(self, change: HealthChange) -> None:
        self.dropped += len(self._changes) == HISTORY_LIMIT
        self._changes.append(change)

    def drain(self) -> tuple[HealthChange, ...]:
        """Oldest first."""
        changes = tuple(self._changes)
        self._changes.clear()
        return changes


class Watch:
    """State of one key."""

    def __init__(self, key: Key, rules: HealthRules, history: History, first_probe_at: float) -> None:
        self.key = key
        self.rules = rules
        self.probe = Probe.UNKNOWN
        self.breaker = Breaker.CLOSED
        self.unregistered = ""  # why, while the trunk must be registered and is not
        self.changed_at: float | None = None
        self.latency_s: float | None = None
        self.last_code = 0
        self.sent_at: float | None = None  # of the OPTIONS in flight
        self.next_probe_at = first_probe_at
        self._history = history
        self._misses = self._answers = self._failures = 0
        self._down_until = self._open_until = self.alone_until = float("-inf")
        self._trial: tuple[str, float] | None = None  # the half-open call and when it began
        self._open_why = ""

    def _note(self, now: float, what: str, before: str, after: str, why: str) -> None:
        self.changed_at = now
        self._history.add(HealthChange(now, self.key, what, before, after, why))

    def _to(self, now: float, state: Probe | Breaker, why: str) -> None:
        """The one place that assigns ``probe`` and ``breaker``."""
        what, before = ("probe", self.probe) if isinstance(state, Probe) else ("breaker", self.breaker)
        if state not in FOLLOWERS[before]:
            raise LocalError(f"{what} of {self.key} cannot go from {before} to {state}")
        if isinstance(state, Probe):
            self.probe = state
        else:
            self.breaker = state
        self._note(now, what, before, state, why)

    # ---- OPTIONS -----------------------------------------------------------------------------------------

    def probe_sent(self, now: float) -> None:
        self.sent_at = now
        self.next_probe_at = now + self.rules.options_interval_s

    def probe_answered(self, now: float) -> None:
        self._misses = 0
        self._answers += 1
        enough = self.probe is Probe.UNKNOWN or self._answers >= self.rules.up_after
        if self.probe is not Probe.UP and enough and now >= self._down_until:
            self._to(now, Probe.UP, f"OPTIONS {self.last_code}")

    def probe_missed(self, now: float, why: str) -> None:
        self._answers = 0
        self._misses += 1
        if self.probe is not Probe.DOWN and self._misses >= self.rules.down_after:
            self._down_until = now + self.rules.hold_down_s
            self._to(now, Probe.DOWN, why)

    def leave_alone(self, now: float, seconds: float, why: str) -> None:
        until = now + min(seconds, self.rules.retry_after_cap_s)
        if seconds > 0 and until > self.alone_until:
            self.alone_until = until
            self.next_probe_at = max(self.next_probe_at, until)
            self._note(now, "retry_after", "", f"{min(seconds, self.rules.retry_after_cap_s):g} s", why)

    # ---- calls -------------------------------------------------------------------------------------------

    def why_not(self, now: float) -> str:
        """Empty if a call may go there."""
        if self.unregistered:
            return f"not registered: {self.unregistered}"
        if now < self.alone_until:
            return f"asked to be left alone for {self.alone_until - now:.0f} s more"
        if self.probe is Probe.DOWN:
            return "down: OPTIONS unanswered or not healthy"
        if self.breaker is Breaker.OPEN and now < self._open_until:
            return f"breaker open for {self._open_until - now:.0f} s more: {self._open_why}"
        if self._trial is not None and now < self._trial[1] + TRIAL_LIMIT_S:
            return "breaker half open, a trial call is under way"
        return ""

    def begin(self, now: float, call: str) -> None:
        """A call goes there; ``why_not`` was empty."""
        if self.breaker is Breaker.OPEN:
            self._to(now, Breaker.HALF_OPEN, "hold-down over")
        if self.breaker is Breaker.HALF_OPEN:
            self._trial = call, now

    def worked(self, now: float, call: str, why: str) -> None:
        """The call got an answer that speaks for the target."""
        if self.breaker is Breaker.CLOSED:
            self._failures = 0
        elif self._end_trial(call):
            self._failures = 0
            self._to(now, Breaker.CLOSED, why)

    def failed(self, now: float, call: str, why: str, *, at_once: bool, hold_s: float) -> None:
        """The call failed through the target's fault; ``at_once`` without counting."""
        self._failures += 1
        if self.breaker is Breaker.CLOSED:
            opens = at_once or self._failures >= self.rules.open_after
        else:
            opens = self._end_trial(call)
        if opens:
            self._open_until, self._open_why = now + hold_s, why
            self._to(now, Breaker.OPEN, why)

    def inconclusive(self, call: str) -> None:
        """The call said nothing about the target: if it was the trial, the next one is."""
        self._end_trial(call)

    def _end_trial(self, call: str) -> bool:
        ours = self._trial is not None and self._trial[0] == call
        if ours:
            self._trial = None
        return ours

    def registration(self, now: float, why: str) -> None:
        """``why`` is "" while the trunk is registered; only the step between the two is history."""
        if bool(why) != bool(self.unregistered):
            states = "registered", "not registered"
            self._note(now, "registration", states[not why], states[bool(why)], why)
        self.unregistered = why

    def next_event_at(self, now: float) -> float | None:
        """When something changes or is to be done without an event from outside."""
        times = [at for at in (self.alone_until, self._open_until) if at > now]
        if self.sent_at is not None:
            times.append(self.sent_at + self.rules.options_timeout_s)
        elif self.rules.options_interval_s and self.key.address:
            times.append(self.next_probe_at)
        return min(times, default=None)

    def view(self, now: float) -> HealthView:
        return HealthView(
            self.key, self.why_not(now), self.probe, self.breaker, self.changed_at, self.latency_s, self.last_code
        )  # fmt: skip
