"""Registration: scenarios by hand-cranked time, and a storm of 1,000 registrars in a simulation."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.errors import LocalError
from sipua.trunks.registration import (
    ANSWER_LIMIT_S,
    FOLLOWERS,
    Action,
    Alert,
    Changed,
    Phase,
    Registration,
    RegistrationRules,
    Send,
)

RULES = RegistrationRules(expires_s=600, retry_first_s=30.0, retry_cap_s=1800.0)


def started(rules: RegistrationRules = RULES, seed: int = 1) -> Registration:
    subject = Registration(rules, random.Random(seed))
    assert sends(subject.start(0.0)) == [rules.expires_s]
    return subject


def sends(actions: tuple[Action, ...]) -> list[int]:
    return [each.expires_s for each in actions if isinstance(each, Send)]


def alerts(actions: tuple[Action, ...]) -> list[str]:
    return [each.reason for each in actions if isinstance(each, Alert)]


def due(subject: Registration) -> float:
    assert subject.next_at is not None
    return subject.next_at


def test_registered_and_refreshed_before_the_binding_ends() -> None:
    subject = started()
    subject.answered(1.0, 200, expires_s=100)
    assert subject.is_registered(100.9)
    assert not subject.is_registered(101.0)
    assert 76.0 <= due(subject) <= 91.0
    assert subject.tick(50.0) == ()
    assert sends(subject.tick(due(subject))) == [600]


def test_a_failed_refresh_leaves_the_binding_until_it_expires() -> None:
    subject = started()
    subject.answered(0.0, 200, expires_s=600)
    at = due(subject)
    subject.tick(at)
    [change] = subject.failed(at + 32.0, "no answer")
    assert isinstance(change, Changed)
    assert (change.after, change.why_not) == (Phase.WAITING, "")
    while due(subject) < 600.0:
        now = due(subject)
        if sends(subject.tick(now)):
            subject.failed(now, "no answer")
            assert subject.is_registered(now)
    assert due(subject) == 600.0
    assert not subject.is_registered(600.0)


def test_the_expiry_is_seen_while_backing_off() -> None:
    subject = started(RegistrationRules(expires_s=60, retry_first_s=500.0, retry_jitter=0.0))
    subject.answered(0.0, 200)
    at = due(subject)
    subject.tick(at)
    subject.failed(at, "refused")
    assert due(subject) == 60.0
    [change] = subject.tick(60.0)
    assert isinstance(change, Changed)
    assert (change.why_not, subject.phase) == ("binding expired: refused", Phase.WAITING)
    assert due(subject) == at + 500.0


def test_retry_after_is_honoured_and_capped() -> None:
    subject = started()
    subject.answered(0.0, 503, retry_after_s=500.0)
    assert 500.0 <= due(subject) <= 550.0
    subject.tick(due(subject))
    now = due(subject)
    subject.answered(now, 503, retry_after_s=1e9)
    assert 3600.0 <= due(subject) - now <= 3960.0


def test_registrar_423_asks_for_longer() -> None:
    subject = started()
    assert sends(subject.answered(0.1, 423, min_expires_s=1800)) == [1800]
    subject.answered(0.2, 200)
    assert subject.is_registered(1800.0)


@pytest.mark.parametrize("min_expires_s", [0, 600, 10**9])
def test_a_423_that_asks_for_nothing_sensible_backs_off(min_expires_s: int) -> None:
    subject = started()
    assert sends(subject.answered(0.1, 423, min_expires_s=min_expires_s)) == []
    assert subject.phase is Phase.WAITING


def test_a_423_loop_is_bounded() -> None:
    subject = started()
    count = 0
    while sends(subject.answered(0.1, 423, min_expires_s=601 + count)):
        count += 1
    assert count == 2
    assert subject.phase is Phase.WAITING


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (401, "credentials_refused"),
        (407, "credentials_refused"),
        (403, "forbidden"),
        (404, "unknown_address_of_record"),
    ],
)
def test_refused_is_slow_and_told_once(code: int, reason: str) -> None:
    subject = started()
    subject.answered(0.0, 200)
    at = due(subject)
    subject.tick(at)
    assert alerts(subject.answered(at, code)) == [reason]
    assert subject.phase is Phase.REFUSED
    assert not subject.is_registered(at)
    assert 150.0 <= due(subject) - at <= 300.0
    at = due(subject)
    subject.tick(at)
    assert alerts(subject.answered(at, code)) == []
    at = due(subject)
    subject.tick(at)
    subject.answered(at, 200)
    at = due(subject)
    subject.tick(at)
    assert alerts(subject.answered(at, code)) == [reason]  # a new spell


@pytest.mark.parametrize("code", [200, 302, 500, 600, 999])
def test_nonsense_backs_off(code: int) -> None:
    subject = started()
    subject.answered(0.0, code, expires_s=0)
    assert subject.phase is Phase.WAITING
    assert 15.0 <= due(subject) <= 30.0


def test_an_answer_that_never_comes() -> None:
    subject = started()
    assert due(subject) == ANSWER_LIMIT_S
    subject.tick(ANSWER_LIMIT_S)
    assert subject.phase is Phase.WAITING
    assert subject.answered(40.0, 200) == ()  # late: the next REGISTER will tell


def test_unregister_on_drain() -> None:
    subject = started()
    subject.answered(0.0, 200)
    assert sends(subject.drain(10.0)) == [0]
    assert subject.address_changed(11.0) == ()
    subject.answered(12.0, 200)
    assert (subject.phase, subject.next_at) == (Phase.STOPPED, None)
    assert not subject.is_registered(12.0)
    assert sends(subject.start(20.0)) == [600]


@pytest.mark.parametrize(("code", "unregisters"), [(200, True), (503, False), (403, False)])
def test_drain_waits_for_the_register_under_way(code: int, unregisters: bool) -> None:
    subject = started()
    assert sends(subject.drain(0.1)) == []
    assert sends(subject.answered(0.2, code)) == ([0] if unregisters else [])
    if unregisters:
        subject.tick(due(subject))  # the registrar is gone: we stop all the same
    assert subject.phase is Phase.STOPPED


def test_drain_while_not_bound_stops_at_once() -> None:
    subject = started()
    subject.failed(1.0, "refused")
    assert sends(subject.drain(2.0)) == []
    assert subject.phase is Phase.STOPPED
    assert subject.drain(3.0) == ()
    assert subject.address_changed(3.0) == ()


def test_another_address_is_registered_at_once_or_right_after() -> None:
    subject = started()
    assert sends(subject.address_changed(0.1)) == []
    assert sends(subject.answered(0.2, 200)) == [600]
    subject.answered(0.3, 200)
    assert sends(subject.address_changed(5.0)) == [600]
    assert sends(subject.address_changed(5.1, is_lost=True)) == [600]


@pytest.mark.parametrize("before", Phase)
@pytest.mark.parametrize("after", Phase)
def test_only_steps_of_the_table(before: Phase, after: Phase) -> None:
    subject = Registration(RULES, random.Random(1))
    subject.phase = before
    if after is before or after in FOLLOWERS[before]:
        subject._to(0.0, after, "test")
        return
    with pytest.raises(LocalError, match=f"from {before} to {after}"):
        subject._to(0.0, after, "test")


@pytest.mark.parametrize(
    "rules", [{"retry_first_s": 0.0}, {"retry_first_s": 9.0, "retry_cap_s": 8.0}, {"retry_jitter": 1.1}]
)
def test_impossible_rules(rules: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="retry first"):
        RegistrationRules(**rules)  # type: ignore[arg-type]


EVENTS = st.sampled_from(["tick", "200", "200/0", "403", "423", "503", "fail", "address"])


@given(st.lists(st.tuples(EVENTS, st.floats(0.0, 50.0)), max_size=50), st.integers())
def test_one_register_at_a_time_never_given_up_and_stopped_by_drain(
    events: list[tuple[str, float]], seed: int
) -> None:
    subject, now, under_way = Registration(RULES, random.Random(seed)), 0.0, 0

    def performed(actions: tuple[Action, ...]) -> None:
        nonlocal under_way
        under_way += len(sends(actions))
        assert under_way <= 1  # pjsua has one REGISTER at a time

    performed(subject.start(now))
    for index, (event, delay) in enumerate(events):
        now += delay
        if event == "tick":
            if subject.phase is Phase.REGISTERING and now >= due(subject):
                under_way = 0  # no longer waited for
            performed(subject.tick(now))
        elif event == "address":
            performed(subject.address_changed(now))
        elif event == "fail":
            under_way = 0
            performed(subject.failed(now, "lost"))
        else:
            under_way = 0
            expires_s = 0 if "/" in event else None
            performed(subject.answered(now, int(event[:3]), expires_s=expires_s, min_expires_s=700 + index))
        assert subject.next_at is not None  # something is always waited for
        assert subject.next_at >= now
    subject.drain(now)
    for _ in range(4):
        if subject.next_at is not None:
            subject.tick(subject.next_at)
    assert subject.phase is Phase.STOPPED


def test_a_storm_of_1000_registrars_backs_off_with_jitter() -> None:
    """The registrar is gone for an hour: waits are spread over 50-100 % of a doubling, capped bound; all come back."""
    outage_s = 3600.0
    registrars = [Registration(RULES, random.Random(seed)) for seed in range(1000)]
    queue: list[tuple[float, int]] = []
    waits: dict[int, list[float]] = {}
    load: Counter[int] = Counter()
    for index, subject in enumerate(registrars):
        subject.start(0.0)
        heapq.heappush(queue, (0.0, index))
    registered: list[float] = []
    while queue:
        now, index = heapq.heappop(queue)
        subject = registrars[index]
        if now > 0.0:
            assert sends(subject.tick(now)) == [600]
        load[int(now)] += 1
        if now < outage_s:
            subject.failed(now, "refused")
            waits.setdefault(subject.failures, []).append(due(subject) - now)
            heapq.heappush(queue, (due(subject), index))
        else:
            subject.answered(now, 200)
            registered.append(now)

    for failures, spread in waits.items():
        bound = min(1800.0, 30.0 * 2 ** (failures - 1))
        assert bound * 0.5 <= min(spread)
        assert max(spread) <= bound
        if len(spread) == 1000:  # uniform: each tenth of the range holds about a hundred
            tenths = Counter(int((wait / bound - 0.5) * 20) for wait in spread)
            assert all(60 <= tenths[tenth] <= 145 for tenth in range(10)), (failures, tenths)
    assert len(waits[7]) == 1000  # nobody gives up
    assert load[0] == 1000
    assert max(count for second, count in load.items() if second >= 15) < 110  # 1,000 in 15 s at first
    assert max(count for second, count in load.items() if second >= 400) < 20
    assert len(registered) == 1000
    assert max(registered) <= outage_s + 1800.0
