"""The fail-over of one call: scenarios named after the drills, and a property over random outcomes and clocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipua.errors import LocalError
from sipua.outcome import Status
from sipua.trunks.attempt import FOLLOWERS, Attempt, CallRules, LegRules, Phase
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
    Timer,
)
from sipua.trunks.numbers import Dialled
from sipua.trunks.policy import NEVER, CodePolicy, Fault, HeaderMatch, Verdict
from sipua.trunks.routing import Address, Target

NUMBERS = Dialled("+250788123456", "+250788000001", "+250788123456", "+250788000001", "agent")
RULES = CallRules(ring_timeout_s=60.0, total_timeout_s=120.0)
LEGS = {
    "a": LegRules(CodePolicy(fatal_match=(HeaderMatch(603, "X-Twilio-Error"),)), has_credentials=True),
    "b": LegRules(has_credentials=True),
    "c": LegRules(CodePolicy(failover_codes=frozenset({480, 488}))),
}


def target(trunk: str, last: int = 1) -> Target:
    return Target(trunk, Address(f"{trunk}.example", f"192.0.2.{last}", 5060, "udp"), NUMBERS, "")


A1, A2, B, C = target("a", 1), target("a", 2), target("b"), target("c")


@dataclass
class Run:
    """A call by hand-cranked time; checks at every step what must always hold."""

    targets: tuple[Target, ...] = (A1, B)
    rules: CallRules = RULES
    now: float = 0.0
    done: list[Action] = field(default_factory=list)
    live: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.attempt = Attempt(self.targets, LEGS, self.rules)

    def feed(self, event: Event, after: float = 0.0) -> tuple[Action, ...]:
        self.now += after
        answers = isinstance(event, Final) and event.code < 300  # that leg lives on, as the call
        if isinstance(event, Final | Failed | NotSent | NoSlot) and not answers and not self.finishes:
            self.live.discard(event.leg)
        actions = self.attempt.feed(event, self.now)
        for action in actions:
            if isinstance(action, Invite):
                assert not self.live, "two live legs"
                self.live.add(action.leg)
            elif isinstance(action, Cancel):
                self.live.remove(action.leg)
        self.done += actions
        assert len(self.finishes) <= 1
        if self.finishes:
            assert self.live == ({self.finishes[0].leg} if self.finishes[0].leg is not None else set())
        return actions

    def play(self, *events: tuple[float, Event]) -> Run:
        """Each event after so many seconds; the timer fires in between when it is due."""
        self.feed(Started())
        for delay, event in events:
            self.until(self.now + delay)
            self.feed(event)
        self.until(self.now + 1000.0)
        return self

    def until(self, end: float) -> None:
        while (at := self.attempt.next_at) is not None and at <= end:
            self.now = max(self.now, at)
            self.feed(Timer())
        self.now = max(self.now, end if self.attempt.next_at is not None else self.now)

    def of(self, kind: type[Action]) -> list[Action]:
        return [each for each in self.done if isinstance(each, kind)]

    @property
    def finishes(self) -> list[Finish]:
        return [each for each in self.done if isinstance(each, Finish)]

    @property
    def end(self) -> tuple[str, str, int]:
        [finish] = self.finishes
        return finish.ending.status.value, finish.ending.reason, finish.ending.sip_code

    @property
    def rows(self) -> list[tuple[str, int, str, str]]:
        return [
            (r.target.trunk, r.code, r.decision.reason, r.decision.verdict.value)
            for r in self.done
            if isinstance(r, Record)
        ]

    @property
    def ms(self) -> list[int]:
        return [each.ms for each in self.done if isinstance(each, Record)]


def final(leg: int, code: int, **headers: str) -> Final:
    return Final(leg, code, {name.replace("_", "-"): (value,) for name, value in headers.items()})


OK_ON_B = ((0.1, Provisional(1, 180)), (1.0, final(1, 200)))
ANSWERED = ("in_progress", "answered", 200)

# name, events until the second leg answers, the row of the first attempt
MOVES_ON = [
    ("refused", [(0.01, Failed(0, Fault.TRANSPORT))], ("a", 0, "transport_error", "next")),
    ("TLS handshake failure", [(0.01, Failed(0, Fault.TLS))], ("a", 0, "tls_error", "next")),
    ("no such name", [(0.01, Failed(0, Fault.DNS))], ("a", 0, "dns_error", "next")),
    ("black hole", [(3.0, Provisional(0, 100))], ("a", 0, "no_response", "next")),
    ("503", [(0.1, final(0, 503))], ("a", 503, "service_unavailable", "next")),
    ("503 with Retry-After", [(0.1, final(0, 503, retry_after="30"))], ("a", 503, "service_unavailable", "next")),
    ("100 then silence", [(0.1, Provisional(0, 100)), (15.0, Provisional(0, 100))], ("a", 0, "no_progress", "next")),
    ("408", [(2.0, final(0, 408))], ("a", 408, "request_timeout", "next")),
    ("wrong password", [(0.1, final(0, 403))], ("a", 403, "credentials_forbidden", "next_trunk")),
    ("401 loop", [(0.1, final(0, 401))], ("a", 401, "credentials_refused", "next_trunk")),
    (
        "603 with X-Twilio-Error", [(0.1, final(0, 603, x_twilio_error="64001"))],
        ("a", 603, "trunk_suspended", "next_trunk"),
    ),
    (
        "503 after ringing without media", [(0.1, Provisional(0, 180)), (1, final(0, 503))],
        ("a", 503, "service_unavailable", "next"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("events", "row"), [row[1:] for row in MOVES_ON], ids=[row[0] for row in MOVES_ON])
def test_moves_on(events: list[tuple[float, Event]], row: tuple[str, int, str, str]) -> None:
    run = Run().play(*events, *OK_ON_B)
    assert run.end == ANSWERED
    assert run.finishes[0].leg == 1
    assert run.rows == [row, ("b", 200, "answered", "answered")]


# name, events, end; the second target must never hear of it
STAYS = [
    ("busy", [(0.1, Provisional(0, 180)), (1.0, final(0, 486))], ("busy", "busy", 486)),
    ("603 plain", [(0.1, final(0, 603))], ("failed", "declined", 603)),
    ("not found", [(0.1, final(0, 404))], ("failed", "not_found", 404)),
    ("no common codec", [(0.1, final(0, 488))], ("failed", "no_common_codec", 488)),
    ("nobody answers", [(0.1, Provisional(0, 180))], ("no_answer", "no_answer", 0)),
    (
        "nobody answers, says the carrier", [(0.1, Provisional(0, 180)), (30.0, final(0, 408))],
        ("no_answer", "no_answer", 408),
    ),
    (
        "503 after early media", [(0.1, Provisional(0, 183, True)), (1, final(0, 503))],
        ("failed", "service_unavailable", 503),
    ),
    (
        "connection lost after early media", [(0.1, Provisional(0, 183, True)), (1, Failed(0, Fault.TRANSPORT))],
        ("failed", "transport_error", 0),
    ),
    ("slow 180", [(0.1, Provisional(0, 100)), (10.0, Provisional(0, 180)), (20.0, final(0, 200))], ANSWERED),
    ("answered at once", [(2.9, final(0, 200))], ANSWERED),
    ("long early media", [(0.1, Provisional(0, 183, True)), (55.0, final(0, 200))], ANSWERED),
    ("caller gives up", [(0.1, Provisional(0, 180)), (5.0, CancelledByUser())], ("no_answer", "caller_cancelled", 0)),
    ("caller gives up before any answer", [(0.1, CancelledByUser())], ("no_answer", "caller_cancelled", 0)),
    ("no slot", [(0.0, NoSlot(0))], ("failed", "no_call_slot", 503)),
]  # fmt: skip


@pytest.mark.parametrize(("events", "end"), [row[1:] for row in STAYS], ids=[row[0] for row in STAYS])
def test_stays(events: list[tuple[float, Event]], end: tuple[str, str, int]) -> None:
    run = Run().play(*events)
    assert run.end == end
    assert len(run.of(Invite)) == 1
    assert len(run.rows) == 1


def test_a_black_hole_costs_the_first_response_timeout_and_holds_its_slot() -> None:
    run = Run()
    run.feed(Started())
    assert run.attempt.next_at == 3.0
    assert run.feed(Timer(), 2.9) == ()
    cancel, record, invite = run.feed(Timer(), 0.1)
    assert cancel == Cancel(0, was_heard=False)
    assert isinstance(record, Record)
    assert record.ms == 3000
    assert isinstance(invite, Invite)
    assert invite.target == B


def test_100_then_silence_sends_a_cancel() -> None:
    run = Run().play((0.1, Provisional(0, 100)), (15.0, Provisional(1, 180)), (1.0, final(1, 200)))
    assert run.of(Cancel) == [Cancel(0, was_heard=True)]
    assert run.ms[0] == 15_000


def test_ringing_is_told_once_and_media_once_more() -> None:
    run = Run().play(
        (0.1, Provisional(0, 180)), (0.1, Provisional(0, 180)), (0.1, Provisional(0, 199)),
        (0.1, Provisional(0, 183, True)), (0.1, Provisional(0, 183, True)), (0.1, Provisional(0, 180)),
        (1.0, final(0, 200)),
    )  # fmt: skip
    assert run.of(Ringing) == [Ringing(0, False), Ringing(0, True)]


def test_199_is_no_ringing() -> None:
    run = Run().play((0.1, Provisional(0, 199)), (14.9, Provisional(1, 180)), (1.0, final(1, 200)))
    assert run.rows[0][2] == "no_progress"


LATE = [
    ("while the second leg is tried", [(3.0, final(0, 200)), *OK_ON_B], ANSWERED),
    ("after the second leg answered", [(3.1, final(1, 200)), (0.1, final(0, 200))], ANSWERED),
    ("after the second leg was busy", [(3.1, final(1, 486)), (0.1, final(0, 200))], ("busy", "busy", 486)),
    ("after giving up", [(0.1, CancelledByUser()), (0.1, final(0, 200))], ("no_answer", "caller_cancelled", 0)),
    ("after all rang out", [(0.1, Provisional(0, 180)), (60.0, final(0, 200))], ("no_answer", "no_answer", 0)),
]  # fmt: skip


@pytest.mark.parametrize(("events", "end"), [row[1:] for row in LATE], ids=[row[0] for row in LATE])
def test_late_200_after_cancel_gets_ack_and_bye(
    events: list[tuple[float, Event]], end: tuple[str, str, int]
) -> None:
    run = Run().play(*events)
    assert run.end == end
    assert run.of(AckBye) == [AckBye(0)]
    assert run.feed(final(0, 200)) == ()  # once


def test_a_487_after_cancel_needs_nothing() -> None:
    run = Run().play((3.1, final(0, 487)), *OK_ON_B)
    assert run.of(AckBye) == []


def test_all_trunks_down() -> None:
    run = Run((A1, B)).play((3.0, Failed(1, Fault.TRANSPORT)))
    assert run.end == ("failed", "all_targets_failed", 503)
    assert [row[2] for row in run.rows] == ["no_response", "transport_error"]
    assert run.now == 3.0


def test_no_target_at_all() -> None:
    run = Run(()).play()
    assert run.end == ("failed", "no_route", 503)


def test_the_last_code_is_the_calls() -> None:
    assert Run((A1, B)).play((0.1, final(0, 503)), (0.1, final(1, 500))).end == (
        "failed",
        "all_targets_failed",
        500,
    )


def test_refused_credentials_skip_the_other_addresses_of_the_trunk_and_move_on_once() -> None:
    run = Run((A1, A2, B, C)).play((0.1, final(0, 403)), (0.1, final(1, 401)))
    assert [each.target for each in run.of(Invite) if isinstance(each, Invite)] == [A1, B]
    assert run.end == ("failed", "credentials_refused", 401)
    assert run.rows[1][3] == "final"


def test_first_srv_target_dead() -> None:
    run = Run((A1, A2)).play((0.0, Failed(0, Fault.TRANSPORT)), *OK_ON_B)
    assert run.end == ANSWERED
    assert run.ms[0] == 0


@pytest.mark.parametrize("code", [480, 488])
def test_a_trunks_own_failover_codes(code: int) -> None:
    assert Run((C, B)).play((0.1, final(0, code)), *OK_ON_B).end == ANSWERED


def test_without_fail_over_the_call_is_lost() -> None:
    run = Run(rules=CallRules(max_attempts=1)).play((0.1, final(0, 503)))
    assert run.end == ("failed", "all_targets_failed", 503)
    assert len(run.of(Invite)) == 1


def test_a_target_that_was_not_sent_to_is_skipped_and_costs_no_attempt() -> None:
    run = Run(rules=CallRules(max_attempts=1)).play((0.0, NotSent(0, "breaker half open")), *OK_ON_B)
    assert run.end == ANSWERED
    [skipped, answered] = [each for each in run.of(Record) if isinstance(each, Record)]
    assert (skipped.is_of_target, answered.is_of_target) == (False, True)
    assert Run((A1,)).play((0.0, NotSent(0, "full"))).end == ("failed", "no_route", 503)


def test_a_slot_runs_out_during_the_fail_over() -> None:
    run = Run().play((3.0, NoSlot(1)))
    assert run.end == ("failed", "no_call_slot", 503)
    assert run.now == 3.0


def test_the_total_bound() -> None:
    run = Run(tuple(itertools.islice(itertools.cycle((A1, B)), 6)), CallRules(total_timeout_s=10.0)).play()
    assert run.end == ("failed", "setup_timeout", 0)
    assert run.now == 10.0
    rang = Run(rules=CallRules(ring_timeout_s=500.0)).play((0.1, Provisional(0, 180)))
    assert rang.end == ("no_answer", "setup_timeout", 0)
    assert rang.now == 120.0


def test_a_redirect_is_followed_on_the_same_trunk() -> None:
    run = Run().play(
        (0.1, final(0, 302, contact="<sip:+250788123456@198.51.100.9>")),
        (0.1, Provisional(1, 180)),
        (1, final(1, 200)),
    )
    [_, second] = [each for each in run.of(Invite) if isinstance(each, Invite)]
    assert (second.target, second.redirected_to) == (A1, "sip:+250788123456@198.51.100.9")
    assert [each.is_of_target for each in run.of(Record) if isinstance(each, Record)] == [True, False]
    assert run.end == ANSWERED


@pytest.mark.parametrize("hosts", [("x", "x"), ("x", "y", "x"), ("x", "y", "z")])
def test_redirect_loops_are_bounded(hosts: tuple[str, ...]) -> None:
    run = Run().play(*((0.1, final(leg, 302, contact=f"<sip:1@{host}>")) for leg, host in enumerate(hosts)))
    assert run.end == ("failed", "redirect_loop", 302)
    assert len(run.of(Invite)) <= 3


def test_bugs_of_the_adapter_are_errors() -> None:
    run = Run()
    with pytest.raises(LocalError, match="never invited"):
        run.feed(Provisional(0, 180))
    run.feed(Started())
    run.feed(Provisional(0, 183, True))
    with pytest.raises(LocalError, match="from early to trying"):
        run.attempt.feed(Started(), 0.0)


def test_a_call_that_is_given_up_before_it_began() -> None:
    run = Run()
    assert run.feed(Timer()) == ()
    run.feed(CancelledByUser())
    assert run.end == ("no_answer", "caller_cancelled", 0)
    assert run.feed(CancelledByUser()) == ()


def test_no_way_back_after_media_or_the_end() -> None:
    assert Phase.TRYING not in FOLLOWERS[Phase.EARLY]
    assert FOLLOWERS[Phase.ANSWERED] == FOLLOWERS[Phase.ENDED] == frozenset()
    assert all(Phase.ENDED in after for phase, after in FOLLOWERS.items() if after)


# ---- the property --------------------------------------------------------------------------------------------

CODES = [
    200,
    301,
    401,
    403,
    404,
    408,
    480,
    486,
    487,
    488,
    500,
    501,
    503,
    504,
    599,
    600,
    603,
    604,
    606,
    607,
    608,
]
WHICH = st.integers(0, 9)  # counted back from the newest leg: mostly that one, sometimes an abandoned one
HAPPENS = st.one_of(
    st.tuples(st.just("1xx"), WHICH, st.sampled_from([100, 180, 181, 183, 199]), st.booleans()),
    st.tuples(st.just("final"), WHICH, st.sampled_from(CODES), st.booleans()),
    st.tuples(st.just("failed"), WHICH, st.sampled_from([*Fault][:3]), st.booleans()),
    st.tuples(
        st.just("other"), WHICH, st.sampled_from(["not sent", "no slot", "user", "timer"]), st.booleans()
    ),
)
SCRIPT = st.lists(st.tuples(st.floats(0.0, 70.0) | st.floats(0.0, 2.0), HAPPENS), max_size=30)


def event_of(happens: tuple[str, int, object, bool], legs: int) -> Event:
    kind, back, what, flag = happens
    leg = max(0, legs - 1 - max(0, back - 6))
    if kind == "1xx":
        assert isinstance(what, int)
        return Provisional(leg, what, flag)
    if kind == "final":
        assert isinstance(what, int)
        headers = (
            {"contact": (f"<sip:x@{legs}.example>",), "x-twilio-error": ("1",)}
            if flag
            else {"retry-after": ("9",)}
        )
        return Final(leg, what, headers)
    if kind == "failed":
        assert isinstance(what, Fault)
        return Failed(leg, what)
    others: dict[object, Event] = {
        "not sent": NotSent(leg, "full"),
        "no slot": NoSlot(leg),
        "user": CancelledByUser(),
    }
    return others.get(what, Timer())


def is_sound(event: Event, run: Run) -> bool:
    """Only what an adapter can report: nothing is refused before sending once something was heard."""
    if isinstance(event, NotSent | NoSlot):
        return run.attempt.phase is Phase.TRYING and event.leg in run.live
    return True


def assert_no_retry_after_a_final_code(actions: Iterable[Action]) -> None:
    over = False
    for action in actions:
        assert not (over and isinstance(action, Invite)), "a retry after a final code"
        if isinstance(action, Record):
            fatal = action.code == 603 and action.decision.reason == "trunk_suspended"
            over = over or action.decision.verdict in (Verdict.FINAL, Verdict.CODEC, Verdict.ANSWERED)
            over = over or (action.code in NEVER and not fatal)


@settings(max_examples=400)
@given(st.lists(st.sampled_from([A1, A2, B, C]), max_size=8), SCRIPT, st.integers(1, 8))
def test_never_two_live_legs_never_a_retry_after_a_final_code_and_every_call_ends(
    targets: list[Target], script: list[tuple[float, tuple[str, int, object, bool]]], max_attempts: int
) -> None:
    run = Run(tuple(targets), CallRules(max_attempts=max_attempts))
    run.feed(Started())
    for delay, happens in script:
        if happens[3]:  # a timely clock; else the timer is late, as on a busy machine
            run.until(run.now + delay)
        else:
            run.now += delay
        legs = len(run.of(Invite))
        if legs and is_sound(event := event_of(happens, legs), run):
            run.feed(event)
    run.until(run.now + 1000.0)
    assert len(run.finishes) == 1
    assert run.attempt.next_at is None
    assert_no_retry_after_a_final_code(run.done)
    records = [each.leg for each in run.of(Record) if isinstance(each, Record)]
    assert records == [
        each.leg for each in run.of(Invite) if isinstance(each, Invite)
    ]  # one row each, in order
    assert len(records) <= len(targets) + run.rules.max_redirects
    answered = run.finishes[0].ending.status is Status.IN_PROGRESS
    assert answered == (run.finishes[0].leg is not None)
    byes = [each.leg for each in run.of(AckBye) if isinstance(each, AckBye)]
    assert len(byes) == len(set(byes))
    assert run.finishes[0].leg not in byes
