"""The fail-over of ONE outbound call: events in, actions out. No I/O, no clock; pjsua2 has nothing of the kind.

One leg lives at a time. A leg that answers nothing within ``first_response_timeout_s``, or says 100 and nothing more
within ``progress_timeout_s``, is cancelled and the next target invited; ringing has a time-out of its own, which ends
the call. What a final response means is in ``policy``. A cancelled leg may still answer (its 200 crossed our CANCEL,
RFC 3261 section 9.1): it gets ACK and BYE, whatever became of the call meanwhile.

    READY → TRYING (INVITE sent) → PROCEEDING (100) → RINGING (18x) → EARLY (18x with SDP) → ANSWERED
               ▲──────── next target ◀────────────────────┘             no way back: nothing is
                                                                        re-routed after media

The adapter performs the actions in order, then waits for an event or ``next_at``, whichever is first. Once ENDED or
ANSWERED only late answers of abandoned legs matter; keep the object until ``slots`` has freed them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sipua.errors import LocalError
from sipua.outcome import Ending, Status, ending_of_code
from sipua.trunks.attempt_events import (
    AckBye,
    Action,
    Cancel,
    CancelledByUser,
    Event,
    Failed,
    Final,
    Finish,
    Invite,
    NoSlot,
    NotSent,
    Provisional,
    Record,
    Ringing,
    Started,
)
from sipua.trunks.policy import Blame, CodePolicy, Decision, Fault, Outcome, Verdict, decide
from sipua.trunks.routing import Target


@dataclass(frozen=True, slots=True)
class LegRules:
    """Of one trunk."""

    policy: CodePolicy = field(default_factory=CodePolicy)
    has_credentials: bool = False
    first_response_timeout_s: float = 3.0  # any 1xx, 100 too
    progress_timeout_s: float = (
        15.0  # 100, then nothing; mobile networks take up to ten seconds to find a callee
    )
    ring_timeout_s: float = 60.0  # from the first 18x


@dataclass(frozen=True, slots=True)
class CallRules:
    """Of one call. ``max_attempts`` 1 is no fail-over (``sipua drill --mutate no-failover``)."""

    ring_timeout_s: float | None = None  # else each trunk's own
    total_timeout_s: float = 120.0  # until the answer, all targets together
    max_attempts: int = 6
    max_redirects: int = 2


class Phase(StrEnum):
    """Where the set-up of the call stands, seen at its living leg."""

    READY = "ready"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    RINGING = "ringing"
    EARLY = "early"
    ANSWERED = "answered"
    ENDED = "ended"


_ANY_END = frozenset({Phase.ANSWERED, Phase.ENDED})
FOLLOWERS: dict[Phase, frozenset[Phase]] = {
    Phase.READY: frozenset({Phase.TRYING, Phase.ENDED}),
    Phase.TRYING: _ANY_END | {Phase.TRYING, Phase.PROCEEDING, Phase.RINGING, Phase.EARLY},
    Phase.PROCEEDING: _ANY_END | {Phase.TRYING, Phase.RINGING, Phase.EARLY},
    Phase.RINGING: _ANY_END | {Phase.TRYING, Phase.EARLY},
    Phase.EARLY: _ANY_END,
    Phase.ANSWERED: frozenset(),
    Phase.ENDED: frozenset(),
}


@dataclass(slots=True)
class _Leg:
    number: int
    target: Target
    since: float
    redirected_to: str = ""
    rang_at: float | None = None


class Attempt:
    """The machine. ``legs`` maps each trunk of the targets to its rules."""

    def __init__(self, targets: Sequence[Target], legs: Mapping[str, LegRules], rules: CallRules) -> None:
        self.phase = Phase.READY
        self._left = list(targets)
        self._leg_rules = legs
        self._rules = rules
        self._legs: list[
            _Leg
        ] = []  # all, by number from 0; the last one is alive unless the phase says otherwise
        self._over: set[int] = set()  # legs that had a final response, or were never sent
        self._uris: set[str] = set()  # where redirects have led
        self._sent = 0
        self._account_faults = 0  # targets that refused our account
        self._last: Decision | None = None
        self._last_code = 0
        self._give_up_at = float("inf")
        self._actions: list[Action] = []

    @property
    def next_at(self) -> float | None:
        """When to feed ``Timer``; None when nothing is waited for."""
        if self.phase in (Phase.READY, Phase.ANSWERED, Phase.ENDED):
            return None
        return min(self._give_up_at, self._patience(self._legs[-1]))

    def _patience(self, leg: _Leg) -> float:
        """When this leg has been silent for too long."""
        rules = self._leg_rules[leg.target.trunk]
        if leg.rang_at is not None:
            asked = self._rules.ring_timeout_s
            return leg.rang_at + (rules.ring_timeout_s if asked is None else asked)
        heard = self.phase is Phase.PROCEEDING
        return leg.since + (rules.progress_timeout_s if heard else rules.first_response_timeout_s)

    def feed(self, event: Event, now: float) -> tuple[Action, ...]:
        """One event. What concerns a leg that is over is ignored; a leg that never was is a bug of the adapter."""
        number = getattr(event, "leg", None)
        if number is None:
            self._on_call(event, now)
        elif not 0 <= number < len(self._legs):
            raise LocalError(f"{event} is about a leg that was never invited")
        elif number not in self._over:
            alive = number == len(self._legs) - 1 and self.phase not in (Phase.ANSWERED, Phase.ENDED)
            if alive:
                self._on_leg(self._legs[-1], event, now)
            elif isinstance(event, Final):  # the end of an abandoned leg; a 487 needs nothing from us
                self._over.add(number)
                if event.code < 300:
                    self._actions.append(AckBye(number))
        actions, self._actions = tuple(self._actions), []
        return actions

    # ---- events ------------------------------------------------------------------------------------------

    def _on_call(self, event: Event, now: float) -> None:
        if isinstance(event, Started):
            self._give_up_at = now + self._rules.total_timeout_s
            self._next(now)
        elif isinstance(event, CancelledByUser) and self.phase is Phase.READY:
            self._finish(Ending(Status.NO_ANSWER, "caller_cancelled"))
        elif self.phase in (Phase.READY, Phase.ANSWERED, Phase.ENDED):
            return
        elif isinstance(event, CancelledByUser):
            self._abandon_call(Ending(Status.NO_ANSWER, "caller_cancelled"), now)
        elif now >= self._give_up_at:
            rang = self._legs[-1].rang_at is not None
            self._abandon_call(Ending(Status.NO_ANSWER if rang else Status.FAILED, "setup_timeout"), now)
        elif now >= self._patience(self._legs[-1]):
            self._on_silence(self._legs[-1], now)

    def _on_leg(self, leg: _Leg, event: Event, now: float) -> None:
        if isinstance(event, Provisional):
            self._on_provisional(leg, event, now)
            return
        self._over.add(leg.number)
        if isinstance(event, Final):
            self._conclude(leg, self._judge(leg, Outcome(event.code, headers=event.headers)), now, event.code)
        elif isinstance(event, Failed):
            self._conclude(leg, self._judge(leg, Outcome(fault=event.fault)), now)
        elif isinstance(event, NotSent):
            self._sent -= 1
            self._record(leg, Decision(Verdict.NEXT, event.why, Blame.NONE), now, is_of_target=False)
            self._next(now)
        elif isinstance(event, NoSlot):
            decision = Decision(Verdict.FINAL, "no_call_slot", Blame.NONE)
            self._record(leg, decision, now, is_of_target=False)
            self._finish(
                Ending(Status.FAILED, decision.reason, "every call slot of this process is taken", 503)
            )

    def _on_provisional(self, leg: _Leg, event: Provisional, now: float) -> None:
        # RFC 6228: a 199 says that an early dialog is over, not that somebody rings
        silent = event.code in (100, 199)
        phase = Phase.PROCEEDING if silent else Phase.EARLY if event.has_sdp else Phase.RINGING
        if phase not in FOLLOWERS[self.phase]:  # a repetition
            return
        self._to(phase)
        if not silent:
            leg.rang_at = now if leg.rang_at is None else leg.rang_at
            self._actions.append(Ringing(leg.number, event.has_sdp))

    def _on_silence(self, leg: _Leg, now: float) -> None:
        if leg.rang_at is not None:
            self._abandon_call(Ending(Status.NO_ANSWER, "no_answer"), now)
            return
        fault = Fault.NO_PROGRESS if self.phase is Phase.PROCEEDING else Fault.NO_RESPONSE
        self._cancel(leg)
        self._conclude(leg, self._judge(leg, Outcome(fault=fault)), now)

    # ---- decisions ---------------------------------------------------------------------------------------

    def _judge(self, leg: _Leg, outcome: Outcome) -> Decision:
        """The policy's decision, within what one call may do at most."""
        rules = self._leg_rules[leg.target.trunk]
        known = replace(
            outcome,
            authenticated=rules.has_credentials,
            rang=leg.rang_at is not None,
            media_started=self.phase is Phase.EARLY,
        )
        decision = decide(known, rules.policy)
        if (
            decision.verdict is Verdict.NEXT_TRUNK
        ):  # elsewhere once: refused by two trunks, it is the call that is wrong
            self._account_faults += 1
            return replace(decision, verdict=Verdict.FINAL) if self._account_faults > 1 else decision
        if decision.verdict is Verdict.REDIRECT:
            fresh = tuple(uri for uri in decision.contacts if uri not in self._uris)
            if not fresh or len(self._uris) >= self._rules.max_redirects:
                return replace(decision, verdict=Verdict.FINAL, reason="redirect_loop")
            return replace(decision, contacts=fresh)
        return decision

    def _conclude(self, leg: _Leg, decision: Decision, now: float, code: int = 0) -> None:
        """Records how the leg went and does what was decided."""
        self._record(leg, decision, now, code, is_of_target=not leg.redirected_to)
        self._last, self._last_code = decision, code
        if decision.verdict is Verdict.ANSWERED:
            self._to(Phase.ANSWERED)
            self._actions.append(
                Finish(Ending(Status.IN_PROGRESS, decision.reason, sip_code=code), leg.number)
            )
        elif decision.verdict is Verdict.REDIRECT:
            self._uris.add(decision.contacts[0])
            self._invite(leg.target, now, decision.contacts[0])
        elif decision.verdict is Verdict.NEXT_TRUNK:
            self._left = [each for each in self._left if each.trunk != leg.target.trunk]
            self._next(now)
        elif decision.verdict is Verdict.NEXT:
            self._next(now)
        else:
            status = ending_of_code(code).status if code else Status.FAILED
            self._finish(Ending(status, decision.reason, leg.target.trunk, code))

    def _next(self, now: float) -> None:
        """The next target, or the end of the call if none is left."""
        if self._left and self._sent < self._rules.max_attempts:
            self._invite(self._left.pop(0), now)
        elif self._last is None:
            self._finish(Ending(Status.FAILED, "no_route", "no target may be used now", 503))
        else:
            detail = f"{self._sent} tried; last: {self._last.reason}"
            self._finish(Ending(Status.FAILED, "all_targets_failed", detail, self._last_code or 503))

    # ---- steps -------------------------------------------------------------------------------------------

    def _invite(self, target: Target, now: float, redirected_to: str = "") -> None:
        leg = _Leg(len(self._legs), target, now, redirected_to)
        self._legs.append(leg)
        self._sent += 1
        self._to(Phase.TRYING)
        self._actions.append(Invite(leg.number, target, redirected_to))

    def _cancel(self, leg: _Leg) -> None:
        self._actions.append(Cancel(leg.number, was_heard=self.phase is not Phase.TRYING))

    def _abandon_call(self, ending: Ending, now: float) -> None:
        """Nobody waits any longer: the living leg goes, and the call with it."""
        leg = self._legs[-1]
        self._cancel(leg)
        blame = Blame.NONE if leg.rang_at is None else Blame.CLEAR
        decision = Decision(Verdict.FINAL, ending.reason, blame)
        self._record(leg, decision, now, is_of_target=not leg.redirected_to)
        self._finish(ending)

    def _record(
        self, leg: _Leg, decision: Decision, now: float, code: int = 0, *, is_of_target: bool
    ) -> None:
        ms = round((now - leg.since) * 1000)
        self._actions.append(Record(leg.number, leg.target, code, ms, decision, is_of_target))

    def _finish(self, ending: Ending) -> None:
        self._to(Phase.ENDED)
        self._actions.append(Finish(ending))

    def _to(self, phase: Phase) -> None:
        """The one place that assigns ``phase``."""
        if phase not in FOLLOWERS[self.phase]:
            raise LocalError(f"a call's set-up cannot go from {self.phase} to {phase}")
        self.phase = phase
