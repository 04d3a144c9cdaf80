"""Registration of one account as a state machine: when to send REGISTER, and what an answer means (RFC 3261, 10).

No I/O and no clock. pjsua sends the request (and answers challenges and stale nonces); what it lacks is here: a
back-off that never gives up (RFC 5626 section 4.5: exponential, capped, 50 to 100 % jitter), Retry-After, an operator's
view of refused credentials, a refresh well before the binding ends. Feed events with ``now``, perform what they
return, call ``tick`` at ``next_at``. A refresh that fails leaves the binding valid until it expires; a refusal
(401, 403, 404) ends it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from sipua.errors import LocalError
from sipua.trunks.policy import RETRY_AFTER_CAP_S

ANSWER_LIMIT_S = 34.0  # Timer F is 32 s; an answer that was never reported must not stop us for ever
INTERVALS_TOO_BRIEF = 2  # 423 in a row that are obeyed at once; more are nonsense and back off
EXPIRES_MAX_S = 86_400  # a Min-Expires beyond a day is nonsense too
REFRESH_AT = (0.75, 0.9)  # of what was granted: spread, and with room for a refresh that is not answered
RETRY_AFTER_SPREAD = 0.1  # never before Retry-After, but not everybody in the same instant either


class Phase(StrEnum):
    """Where the exchange stands; whether we are bound is ``is_registered``."""

    STOPPED = "stopped"
    REGISTERING = "registering"  # a REGISTER is under way
    REGISTERED = "registered"
    WAITING = "waiting"  # backing off
    REFUSED = "refused"  # credentials or address of record: slow, and somebody is told
    UNREGISTERING = "unregistering"


FOLLOWERS: dict[Phase, frozenset[Phase]] = {
    Phase.STOPPED: frozenset({Phase.REGISTERING}),
    Phase.REGISTERING: frozenset({Phase.REGISTERING, Phase.REGISTERED, Phase.WAITING, Phase.REFUSED}),
    Phase.REGISTERED: frozenset({Phase.REGISTERING, Phase.UNREGISTERING, Phase.STOPPED}),
    Phase.WAITING: frozenset({Phase.REGISTERING, Phase.UNREGISTERING, Phase.STOPPED}),
    Phase.REFUSED: frozenset({Phase.REGISTERING, Phase.STOPPED}),
    Phase.UNREGISTERING: frozenset({Phase.STOPPED}),
}
# What a registrar says about us rather than about the moment.
REFUSALS = {
    401: "credentials_refused", 407: "credentials_refused", 403: "forbidden", 404: "unknown_address_of_record",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RegistrationRules:
    """``retry_first_s`` is the longest first wait, doubled per failure up to ``retry_cap_s``."""

    expires_s: int = 3600
    retry_first_s: float = 30.0
    retry_cap_s: float = 1800.0
    retry_jitter: float = 0.5  # a wait is drawn from [1 - jitter, 1] of its bound
    refused_retry_s: float = 300.0
    retry_after_cap_s: float = RETRY_AFTER_CAP_S

    def __post_init__(self) -> None:
        if not (0 < self.retry_first_s <= self.retry_cap_s and 0 <= self.retry_jitter <= 1):
            raise ValueError("registration: 0 < retry first <= retry cap, jitter from 0 to 1")


@dataclass(frozen=True, slots=True)
class Send:
    """Send REGISTER, asking for so many seconds; 0 unregisters."""

    expires_s: int


@dataclass(frozen=True, slots=True)
class Alert:
    """Tell the operator, once per spell of refusals."""

    reason: str
    code: int


@dataclass(frozen=True, slots=True)
class Changed:
    """One row of the history; ``why_not`` is what ``Health.registration`` wants ("" while bound)."""

    at: float
    before: Phase
    after: Phase
    why: str
    why_not: str


Action = Send | Alert | Changed


@dataclass(frozen=True, slots=True)
class RegistrationView:
    """For ``sipua trunks``. ``expires_in_s`` is None where no binding is known; ``next_in_s``: until the next step."""

    phase: Phase
    why: str
    expires_in_s: float | None
    next_in_s: float | None
    failures: int


class Registration:
    """One account's binding."""

    def __init__(self, rules: RegistrationRules, rng: random.Random) -> None:
        self.rules = rules
        self.phase = Phase.STOPPED
        self.failures = 0  # in a row
        self.next_at: float | None = None  # when to call ``tick``
        self._rng = rng
        self._expires_s = rules.expires_s
        self._bound_until = float("-inf")
        self._act_at = float("inf")
        self._why = "not started"
        self._too_brief = 0
        self._alerted = False
        self._draining = False
        self._again = False  # our address changed while a REGISTER was under way
        self._actions: list[Action] = []

    def is_registered(self, now: float) -> bool:
        """Whether the registrar holds a binding of ours, as far as we know."""
        return now < self._bound_until

    def view(self, now: float) -> RegistrationView:
        """How it stands."""
        expires_in_s = self._bound_until - now if self.is_registered(now) else None
        next_in_s = None if self.next_at is None else max(0.0, self._act_at - now)
        return RegistrationView(self.phase, self._why, expires_in_s, next_in_s, self.failures)

    # ---- events: each returns what to do -----------------------------------------------------------------

    def start(self, now: float) -> tuple[Action, ...]:
        """Begin; also after ``drain`` has ended."""
        self._draining, self.failures = False, 0
        self._register(now, "start")
        return self._done(now)

    def address_changed(self, now: float, *, is_lost: bool = False) -> tuple[Action, ...]:
        """Our contact is another one now: register it at once, unless we are stopped or stopping.

        A REGISTER under way is waited for, unless its answer ``is_lost``.
        """
        if self.phase is Phase.REGISTERING and not is_lost:
            self._again = True
        elif self.phase not in (Phase.STOPPED, Phase.UNREGISTERING):
            self._register(now, "own address changed")
        return self._done(now)

    def answered(
        self,
        now: float,
        code: int,
        *,
        expires_s: int | None = None,
        min_expires_s: int = 0,
        retry_after_s: float = 0.0,
    ) -> tuple[Action, ...]:
        """The final response to the REGISTER under way. ``expires_s``: what was granted to our contact, if said."""
        if self.phase is Phase.UNREGISTERING:
            self._stop(now, f"unregistered: {code}")
        elif self.phase is Phase.REGISTERING:
            self._judge(now, code, expires_s, min_expires_s, retry_after_s)
            self._go_on(now)
        return self._done(now)

    def failed(self, now: float, why: str) -> tuple[Action, ...]:
        """No final response: transport, DNS or TLS."""
        if self.phase is Phase.UNREGISTERING:
            self._stop(now, f"not unregistered: {why}")
        elif self.phase is Phase.REGISTERING:
            self._back_off(now, why, 0.0)
            self._go_on(now)
        return self._done(now)

    def drain(self, now: float) -> tuple[Action, ...]:
        """The process ends: take the binding back. A REGISTER under way is waited for (pjsua has one at a time)."""
        self._draining = True
        if self.phase is not Phase.REGISTERING:
            self._go_on(now)
        return self._done(now)

    def tick(self, now: float) -> tuple[Action, ...]:
        """At ``next_at`` or later; too early does nothing."""
        if now >= self._act_at and self.phase in (Phase.REGISTERING, Phase.UNREGISTERING):
            return self.failed(now, "no answer")
        if now >= self._act_at:
            self._register(now, "refresh" if self.phase is Phase.REGISTERED else "retry")
        elif float("-inf") < self._bound_until <= now:
            self._bound_until = float("-inf")
            self._to(now, self.phase, f"binding expired: {self._why}")
        return self._done(now)

    # ---- what an answer means ----------------------------------------------------------------------------

    def _judge(
        self, now: float, code: int, expires_s: int | None, min_expires_s: int, retry_after_s: float
    ) -> None:
        granted = self._expires_s if expires_s is None else expires_s
        if 200 <= code < 300 and granted > 0:
            self.failures = self._too_brief = 0
            self._alerted = False
            self._bound_until = now + granted
            self._act_at = now + granted * self._rng.uniform(*REFRESH_AT)
            self._to(now, Phase.REGISTERED, f"granted {granted} s")
        elif (
            code == 423
            and self._too_brief < INTERVALS_TOO_BRIEF
            and self._expires_s < min_expires_s <= EXPIRES_MAX_S
        ):
            self._too_brief += 1
            self._expires_s = min_expires_s  # RFC 3261 section 10.2.8
            self._register(now, f"423, at least {min_expires_s} s")
        elif code in REFUSALS:
            self._bound_until = float("-inf")
            if not self._alerted:
                self._actions.append(Alert(REFUSALS[code], code))
            self._alerted = True
            wait_s = self.rules.refused_retry_s * self._jitter()
            self._act_at = now + max(wait_s, self._spread(retry_after_s))
            self._to(now, Phase.REFUSED, REFUSALS[code])
        else:
            nonsense = ": granted 0 s" if 200 <= code < 300 else ""
            self._back_off(now, f"REGISTER {code}{nonsense}", retry_after_s)

    def _back_off(self, now: float, why: str, retry_after_s: float) -> None:
        self.failures += 1
        self._too_brief = 0
        # RFC 5626 section 4.5; the exponent is bounded because the failures are not
        bound_s = min(self.rules.retry_cap_s, self.rules.retry_first_s * 2.0 ** min(self.failures - 1, 30))
        self._act_at = now + max(bound_s * self._jitter(), self._spread(retry_after_s))
        self._to(now, Phase.WAITING, why)

    def _jitter(self) -> float:
        return self._rng.uniform(1.0 - self.rules.retry_jitter, 1.0)

    def _spread(self, retry_after_s: float) -> float:
        return min(retry_after_s, self.rules.retry_after_cap_s) * self._rng.uniform(
            1.0, 1.0 + RETRY_AFTER_SPREAD
        )

    # ---- steps -------------------------------------------------------------------------------------------

    def _go_on(self, now: float) -> None:
        """After an exchange: what was asked for meanwhile."""
        if self._draining and self.phase in (Phase.REGISTERED, Phase.WAITING) and self.is_registered(now):
            self._act_at = now + ANSWER_LIMIT_S
            self._to(now, Phase.UNREGISTERING, "drain")
            self._actions.append(Send(0))
        elif self._draining and self.phase not in (Phase.STOPPED, Phase.UNREGISTERING, Phase.REGISTERING):
            self._stop(now, "drain")
        elif self._again and self.phase is not Phase.REGISTERING:
            self._register(now, "own address changed")

    def _register(self, now: float, why: str) -> None:
        self._again = False
        self._act_at = now + ANSWER_LIMIT_S
        self._to(now, Phase.REGISTERING, why)
        self._actions.append(Send(self._expires_s))

    def _stop(self, now: float, why: str) -> None:
        self._bound_until, self._act_at = float("-inf"), float("inf")
        self._to(now, Phase.STOPPED, why)

    def _to(self, now: float, phase: Phase, why: str) -> None:
        """The one place that assigns ``phase``. Staying is for the history (an expired binding) and no step."""
        if phase is not self.phase and phase not in FOLLOWERS[self.phase]:
            raise LocalError(f"a registration cannot go from {self.phase} to {phase}")
        before, self.phase, self._why = self.phase, phase, why
        self._actions.append(Changed(now, before, phase, why, "" if self.is_registered(now) else why))

    def _done(self, now: float) -> tuple[Action, ...]:
        times = [at for at in (self._act_at, self._bound_until) if now < at < float("inf")]
        self.next_at = None if self.phase is Phase.STOPPED else min([*times, max(self._act_at, now)])
        actions, self._actions = tuple(self._actions), []
        return actions
