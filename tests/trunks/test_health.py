"""Health by hand-cranked time: OPTIONS, breaker, Retry-After, registration."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.errors import LocalError
from sipua.trunks.health import Health
from sipua.trunks.policy import Blame, CodePolicy, Decision, Fault, Outcome, Verdict, decide
from sipua.trunks.watch import FOLLOWERS, HISTORY_LIMIT, Breaker, HealthRules, History, Key, Probe, Watch

A, B = Key("alpha", "192.0.2.1:5060;udp"), Key("alpha", "192.0.2.2:5060;udp")
RULES = HealthRules(
    options_interval_s=10.0, options_timeout_s=2.0, down_after=3, up_after=2, hold_down_s=30.0
)
SILENT = HealthRules(options_interval_s=0.0)


def health(rules: HealthRules = SILENT) -> Health:
    made = Health(random.Random(1))
    made.watch("alpha", rules, (A.address, B.address), 0.0)
    return made


def outcome(code: int = 0, fault: Fault | None = None, **headers: str) -> Decision:
    values = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return decide(Outcome(code, fault, values, authenticated=True), CodePolicy())


def call(subject: Health, key: Key, now: float, decision: Decision, name: str = "call") -> None:
    assert subject.begin(key, now, name) == ""
    subject.report(key, now, name, decision)


def state(subject: Health, key: Key, now: float = 0.0) -> tuple[Probe, Breaker]:
    view = next(each for each in subject.views(now) if each.key == key)
    return view.probe, view.breaker


def probe_round(subject: Health, now: float, codes: dict[Key, int | None]) -> None:
    """One due probe per key: answered with a code after 50 ms, or not at all."""
    for key in subject.due(now):
        code = codes.get(key)
        if code is not None:
            subject.options_answered(key, now + 0.05, code)


# ---- OPTIONS -------------------------------------------------------------------------------------------------


def test_unknown_counts_as_up_and_one_answer_says_so() -> None:
    subject = health(RULES)
    assert subject.why_not(A, 0.0) == ""
    probe_round(subject, 5.0, {A: 200, B: 200})
    assert state(subject, A)[0] is Probe.UP


@pytest.mark.parametrize("code", [None, 503, 408, 500])
def test_n_misses_take_it_down_and_m_answers_bring_it_up_after_the_hold_down(code: int | None) -> None:
    subject = health(RULES)
    seen = []
    for step in range(1, 13):
        answer = code if 2 <= step <= 4 else 200
        probe_round(subject, step * 10.0, {A: answer, B: 200})
        subject.due(step * 10.0 + 3.0)
        seen.append(state(subject, A)[0])
    # Down with the third miss (at 40 s); two answers by 60 s, but the hold-down lasts until 70 s and some.
    up, down = Probe.UP, Probe.DOWN
    assert seen[:7] in ([up, up, up, down, down, down, up], [up, up, up, down, down, down, down])
    assert seen[7:] == [up] * 5
    changes = [(each.before, each.after) for each in subject.history.drain() if each.key == A]
    assert changes == [("unknown", "up"), ("up", "down"), ("down", "up")]
    assert subject.history.drain() == ()


def test_options_flap_changes_nothing() -> None:
    subject = health(RULES)
    for step in range(1, 40):
        probe_round(subject, step * 10.0, {A: 200 if step % 3 == 0 else None, B: 200})
    assert state(subject, A)[0] is Probe.UP


def test_503_with_retry_after_is_left_alone_and_not_probed() -> None:
    subject = health(RULES)
    assert A in subject.due(5.0)
    subject.options_answered(A, 5.1, 503, retry_after_s=120.0)
    assert subject.why_not(A, 100.0).startswith("asked to be left alone")
    assert not any(A in subject.due(now) for now in (20.0, 60.0, 125.0))
    assert A in subject.due(125.2)
    assert subject.why_not(A, 125.2) == ""


def test_latency_is_that_of_the_last_answer_and_late_ones_count_for_nothing() -> None:
    subject = health(RULES)
    subject.due(5.0)
    subject.options_answered(A, 5.25, 405)
    view = next(each for each in subject.views(5.3) if each.key == A)
    assert (view.latency_s, view.last_code, view.probe) == (0.25, 405, Probe.UP)
    subject.due(15.0)
    subject.due(17.0)  # timed out
    subject.options_answered(A, 17.5, 200)
    assert next(each for each in subject.views(18.0) if each.key == A).latency_s == 0.25


def test_a_probe_that_cannot_be_sent_is_a_miss() -> None:
    subject = health(RULES)
    for now in (10.0, 20.0, 30.0):
        subject.due(now)
        subject.options_failed(A, now, "refused")
    assert subject.why_not(A, 30.0).startswith("down")


def test_the_prober_is_told_when_to_wake() -> None:
    subject = health(RULES)
    at = subject.next_event_at(0.0)
    assert at is not None
    assert 0.0 <= at <= 5.0
    sent = 0
    now = at
    for _ in range(60):
        sent += len(subject.due(now))
        following = subject.next_event_at(now)
        assert following is not None
        assert following > now or subject.due(following) == ()
        now = following
    assert sent >= 20
    assert health(SILENT).next_event_at(0.0) is None


# ---- the breaker ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.NO_RESPONSE, Fault.TRANSPORT, Fault.DNS, Fault.TLS])
def test_a_dead_target_opens_at_once_and_is_tried_again_after_its_hold_down(fault: Fault) -> None:
    subject = health()
    call(subject, A, 0.0, outcome(fault=fault))
    assert fault.value in subject.why_not(A, 29.9)
    assert subject.why_not(B, 0.0) == ""
    assert subject.next_event_at(0.0) == 30.0
    assert subject.why_not(A, 30.0) == ""
    call(subject, A, 30.0, outcome(fault=fault), "trial")
    assert subject.why_not(A, 59.9)
    call(subject, A, 60.0, outcome(486), "trial")  # busy: the target works
    assert state(subject, A)[1] is Breaker.CLOSED
    whys = [each.after for each in subject.history.drain()]
    assert whys == ["open", "half_open", "open", "half_open", "closed"]


def test_three_counted_failures_in_a_row_open() -> None:
    subject = health()
    for code in (503, 500, 200, 503, 500):
        call(subject, A, 0.0, outcome(code))
    assert subject.why_not(A, 0.0) == ""
    call(subject, A, 0.0, outcome(504))
    assert subject.why_not(A, 0.0)


def test_half_open_lets_one_call_through_at_a_time() -> None:
    subject = health()
    call(subject, A, 0.0, outcome(fault=Fault.NO_RESPONSE))
    assert subject.begin(A, 30.0, "first") == ""
    assert "trial" in subject.begin(A, 30.0, "second")
    subject.report(A, 31.0, "stranger", outcome(200))  # began before it opened: no say
    assert "trial" in subject.why_not(A, 31.0)
    subject.progressed(A, 32.0, "first")
    assert subject.begin(A, 32.0, "second") == ""
    assert state(subject, A)[1] is Breaker.CLOSED


def test_a_trial_that_says_nothing_gives_its_place_back() -> None:
    subject = health()
    call(subject, A, 0.0, outcome(fault=Fault.NO_RESPONSE))
    call(subject, A, 30.0, Decision(Verdict.FINAL, "caller_cancelled", Blame.NONE))
    assert subject.begin(A, 31.0, "lost") == ""
    assert subject.why_not(A, 90.0)
    assert subject.why_not(A, 91.0) == ""  # never reported on


def test_refused_credentials_close_the_whole_trunk_for_longer() -> None:
    subject = health()
    call(subject, A, 0.0, outcome(403))
    assert "credentials" in subject.why_not(Key("alpha"), 299.0)
    assert subject.why_not(B, 299.0)
    assert subject.why_not(B, 300.0) == ""
    call(subject, B, 300.0, outcome(fault=Fault.TRANSPORT))  # says nothing about credentials
    assert subject.why_not(A, 300.0) == ""
    call(subject, A, 301.0, outcome(200))
    assert state(subject, Key("alpha"))[1] is Breaker.CLOSED


def test_retry_after_of_a_call() -> None:
    subject = health()
    call(subject, A, 0.0, outcome(503, retry_after="60"))
    assert subject.why_not(A, 59.9)
    assert subject.why_not(A, 60.0) == ""
    call(subject, A, 60.0, outcome(503))
    assert subject.why_not(A, 60.0) == ""  # without the header: one failure of three


# ---- registration, reload --------------------------------------------------------------------------------------


def test_a_trunk_that_is_not_registered_is_out() -> None:
    subject = health()
    subject.registration("alpha", 0.0, "REGISTER 503")
    subject.registration("alpha", 1.0, "no answer")
    assert subject.why_not(A, 1.0) == "not registered: no answer"
    subject.registration("alpha", 2.0, "")
    assert subject.why_not(A, 2.0) == ""
    rows = [(each.before, each.after) for each in subject.history.drain()]
    assert rows == [("registered", "not registered"), ("not registered", "registered")]


def test_known_addresses_keep_their_state_when_names_resolve_anew() -> None:
    subject = health()
    call(subject, A, 0.0, outcome(fault=Fault.TRANSPORT))
    subject.watch("alpha", SILENT, (A.address, "192.0.2.9:5060;udp"), 1.0)
    assert subject.why_not(A, 1.0)
    assert [view.key.address for view in subject.views(1.0)] == ["", A.address, "192.0.2.9:5060;udp"]
    subject.forget("alpha")
    assert subject.views(1.0) == ()
    subject.report(A, 2.0, "call", outcome(200))  # a call that outlived its trunk
    subject.options_answered(A, 2.0, 200)
    subject.options_failed(A, 2.0, "refused")


@pytest.mark.parametrize("before", [*Probe, *Breaker])
@pytest.mark.parametrize("after", [*Probe, *Breaker])
def test_only_steps_of_the_table_can_be_taken(before: Probe | Breaker, after: Probe | Breaker) -> None:
    if type(before) is not type(after):
        return
    watch = Watch(A, RULES, History(), 0.0)
    setattr(watch, "probe" if isinstance(before, Probe) else "breaker", before)
    if after in FOLLOWERS[before]:
        watch._to(0.0, after, "test")
        return
    with pytest.raises(LocalError, match=f"from {before} to {after}"):
        watch._to(0.0, after, "test")


@pytest.mark.parametrize(
    "rules",
    [
        {"ok_codes": frozenset({200, 503})},
        {"down_after": 0},
        {"options_interval_s": 2.0, "options_timeout_s": 2.0},
    ],
)
def test_impossible_rules_are_refused(rules: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"healthy|at least 1|longer"):
        HealthRules(**rules)  # type: ignore[arg-type]


def test_the_history_is_bounded_and_counts() -> None:
    subject = health()
    for step in range(HISTORY_LIMIT + 5):
        subject.registration("alpha", float(step), "down" if step % 2 == 0 else "")
    assert len(subject.history.drain()) == HISTORY_LIMIT
    assert subject.history.dropped == 5


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 40.0),
        st.sampled_from(["due", "200", "503", "alone", "call"]),
        st.sampled_from([200, 403, 486, 503, 0]),
    ),
    max_size=60,
)


@given(STEPS)
def test_any_history_keeps_to_the_table_and_ends_eligible(steps: list[tuple[float, str, int]]) -> None:
    subject = health(RULES)
    now = 0.0
    for delay, what, code in steps:
        now += delay
        if what == "due":
            subject.due(now)
        elif what == "call":
            if subject.begin(A, now, "x") == "":
                subject.report(A, now, "x", outcome(code) if code else outcome(fault=Fault.NO_RESPONSE))
        else:
            subject.options_answered(A, now, 200 if what == "200" else 503, 20.0 if what == "alone" else 0.0)
    for _ in range(60):  # everything heals: answers, and no more calls
        now += 10.0
        for key in subject.due(now):
            subject.options_answered(key, now, 200)
    assert subject.why_not(A, now) == ""
