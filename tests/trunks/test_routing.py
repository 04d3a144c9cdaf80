"""Routing, capacity and slots: tables, RFC 2782 by counting, and a token bucket by hand-cranked time."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.trunks.capacity import Limits, LocalCapacity
from sipua.trunks.health import Health
from sipua.trunks.numbers import Format, NumberPlan, NumberSet
from sipua.trunks.policy import CodePolicy, Fault, Outcome, decide
from sipua.trunks.routing import Address, Direction, Route, Router, TrunkRoute, by_priority, takes_did
from sipua.trunks.slots import TIMER_B_S, Slots
from sipua.trunks.watch import HealthRules, Key

CALLER = "+250788000001"


def plan(region: str = "RW", **changes: object) -> NumberPlan:
    return replace(NumberPlan(region, caller_id=CALLER), **changes)  # type: ignore[arg-type]


def place(host: str, address: str, priority: int = 0, weight: int = 0) -> Address:
    return Address(host, address, 5060, "udp", priority, weight)


MAIN = TrunkRoute("main", plan(), priority=10)
SPARE = TrunkRoute("spare", plan(to_format=Format.E164), priority=20)
ADDRESSES = {
    "main": (place("a.example", "192.0.2.1", 10, 1), place("a.example", "192.0.2.2", 10, 1),
             place("b.example", "192.0.2.3", 20)),
    "spare": (place("c.example", "198.51.100.1"),),
}  # fmt: skip


def router(*trunks: TrunkRoute, **addresses: tuple[Address, ...]) -> Router:
    known = ADDRESSES | addresses
    health = Health(random.Random(1))
    for trunk in trunks:
        health.watch(
            trunk.name,
            HealthRules(options_interval_s=0),
            tuple(a.label for a in known.get(trunk.name, ())),
            0.0,
        )
    return Router(trunks, known, health, LocalCapacity())


def find(
    subject: Router, to: str = "0788123456", caller: str = "", now: float = 0.0, only: str = ""
) -> Route:
    return subject.route(to, caller, now, random.Random(7), only=only)


def addresses_of(route: Route) -> list[str]:
    return [target.to.address for target in route.targets]


def test_priority_of_the_trunk_then_of_the_record_then_the_order_of_the_answer() -> None:
    route = find(router(SPARE, MAIN))
    assert addresses_of(route) == ["192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.1"]
    assert route.to_e164 == "+250788123456"
    assert [target.dialled.to_user for target in route.targets] == ["+250788123456"] * 3 + ["250788123456"]
    assert route.rejected == ()
    assert route.targets[0].why == "priority 10, weight 1; a.example: priority 10, weight 1"


LEFT_OUT = [
    ("disabled", replace(MAIN, enabled=False), {}, "disabled"),
    ("inbound only", replace(MAIN, direction=Direction.INBOUND), {}, "no outbound calls"),
    ("number plan", replace(MAIN, plan=plan(may_dial=NumberSet(("+256*",)))), {}, "may not be dialled"),
    ("caller id", replace(MAIN, plan=plan(caller_id="")), {}, "caller id|caller_id"),
    ("not asked for", MAIN, {"only": "spare"}, "another trunk was asked for"),
    ("not resolved", replace(MAIN, name="nowhere"), {}, "not resolved"),
]


@pytest.mark.parametrize(
    ("trunk", "arguments", "reason"), [row[1:] for row in LEFT_OUT], ids=[row[0] for row in LEFT_OUT]
)
def test_a_trunk_that_is_left_out_is_named_with_the_reason(
    trunk: TrunkRoute, arguments: dict[str, str], reason: str
) -> None:
    route = find(router(trunk, SPARE), **arguments)  # type: ignore[arg-type]
    assert addresses_of(route) == ["198.51.100.1"]
    [rejected] = route.rejected
    assert (rejected.trunk, rejected.address) == (trunk.name, "")
    assert any(word in rejected.reason for word in reason.split("|"))


def test_a_trunk_that_is_not_there_is_named_with_those_that_are() -> None:
    route = find(router(MAIN, SPARE), only="nope")
    assert [(each.trunk, each.reason) for each in route.rejected] == [
        ("nope", f"there is no such trunk; there are: {MAIN.name}, {SPARE.name}")
    ]
    assert route.targets == ()


def test_a_caller_id_chooses_the_trunk_that_may_present_it() -> None:
    ugandan = replace(SPARE, plan=plan("UG", caller_id="+256772000001"))
    route = find(router(MAIN, ugandan), "+27821234567", "+256772000001")
    assert [target.trunk for target in route.targets] == ["spare"]


def test_a_number_without_a_country_has_one_reading() -> None:
    ugandan = replace(SPARE, plan=plan("UG"))
    route = find(router(ugandan, MAIN), "0788123456")
    assert (route.to_e164, {each.trunk for each in route.targets}) == ("+250788123456", {"main"})
    assert "another country" in route.rejected[0].reason
    first = find(router(replace(ugandan, priority=1), MAIN), "0772123456")
    assert first.to_e164 == "+256772123456"
    assert len(find(router(ugandan, MAIN), "+250788123456").targets) == 4


def test_no_trunk_can_read_it() -> None:
    route = find(router(MAIN, SPARE), "alice")
    assert (route.to_e164, route.targets, len(route.rejected)) == ("", (), 2)


def test_dead_targets_and_unregistered_trunks_are_left_out() -> None:
    subject = router(MAIN, SPARE)
    assert isinstance(subject.health, Health)
    dead = decide(Outcome(fault=Fault.NO_RESPONSE), CodePolicy())
    subject.health.report(Key("main", "192.0.2.1:5060;udp"), 0.0, "x", dead)
    route = find(subject)
    assert addresses_of(route) == ["192.0.2.2", "192.0.2.3", "198.51.100.1"]
    assert [(each.trunk, each.address) for each in route.rejected] == [("main", "192.0.2.1:5060;udp")]
    subject.health.registration("main", 0.0, "REGISTER 503")
    route = find(subject)
    assert addresses_of(route) == ["198.51.100.1"]
    assert route.rejected[0].reason == "not registered: REGISTER 503"


def test_a_full_trunk_is_left_out() -> None:
    full = replace(MAIN, limits=Limits(max_channels=1))
    subject = router(full, SPARE)
    subject.capacity.take("main", full.limits, "up", 0.0)
    assert addresses_of(find(subject)) == ["198.51.100.1"]
    subject.capacity.release("main", "up")
    assert len(find(subject).targets) == 4


def test_equal_trunks_share_by_weight() -> None:
    heavy, light = replace(MAIN, weight=3), replace(SPARE, priority=10, weight=1)
    subject, rng = router(heavy, light), random.Random(3)
    first = Counter(subject.route("0788123456", "", 0.0, rng).targets[0].trunk for _ in range(2000))
    assert (
        0.70 < first["main"] / 2000 < 0.82
    )  # RFC 2782 draws from 0..4: (3 + 1/2) / 5 at worst, 3/4 in the limit


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100)), max_size=12), st.integers())
def test_every_item_comes_once_and_in_order_of_priority(ranks: list[tuple[int, int]], seed: int) -> None:
    items = list(enumerate(ranks))
    ordered = by_priority(items, lambda item: item[1], random.Random(seed))
    assert sorted(ordered) == sorted(items)
    assert [rank[0] for _, rank in ordered] == sorted(rank[0] for rank in ranks)


def test_names_of_weight_0_keep_their_order_and_come_first_hardly_ever() -> None:
    rng = random.Random(5)
    assert by_priority("abc", lambda _: (0, 0), rng) == ["a", "b", "c"]
    firsts = Counter(
        by_priority([("zero", 0), ("some", 99)], lambda each: (0, each[1]), rng)[0][0] for _ in range(1000)
    )
    assert firsts["zero"] < 30


@pytest.mark.parametrize(
    ("ranges", "user", "ours"),
    [((), "anything", True), (("+250788000001",), "0788000001", True), (("+2507880000*",), "+250788000099", True),
     (("+250788000001",), "+250788000002", False), (("+250788000001",), "alice", False)],
)  # fmt: skip
def test_did_ranges(ranges: tuple[str, ...], user: str, ours: bool) -> None:
    trunk = replace(MAIN, did_ranges=NumberSet(ranges), plan=plan(received_format=Format.NATIONAL))
    assert takes_did(trunk, user) == ours


# ---- capacity ------------------------------------------------------------------------------------------------


def test_channels() -> None:
    capacity, limits = LocalCapacity(), Limits(max_channels=2)
    capacity.occupy("t", "inbound")
    assert capacity.take("t", limits, "a", 0.0) == ""
    assert capacity.take("t", limits, "a", 0.0) == ""  # the next address of the same trunk
    assert "2 channels" in capacity.take("t", limits, "b", 0.0)
    assert capacity.take("other", limits, "b", 0.0) == ""
    capacity.release("t", "inbound")
    capacity.release("t", "never was")
    assert capacity.take("t", limits, "b", 0.0) == ""
    assert capacity.calls_up("t") == 2


def test_one_call_per_second() -> None:
    capacity, limits = LocalCapacity(), Limits(cps=1.0)
    taken = [
        now
        for now in (0.0, 0.5, 0.99, 1.0, 1.5, 2.1, 60.0, 60.1)
        if not capacity.take("t", limits, str(now), now)
    ]
    assert taken == [0.0, 1.0, 2.1, 60.0]
    assert "1 new calls per second" in capacity.why_full("t", limits, 60.5)


@given(st.lists(st.floats(0.0, 0.5), max_size=200), st.sampled_from([0.5, 1.0, 5.0]))
def test_never_more_than_the_rate_and_one_burst(gaps: list[float], cps: float) -> None:
    capacity, limits, now, taken = LocalCapacity(), Limits(cps=cps), 0.0, 0
    for index, gap in enumerate(gaps):
        now += gap
        taken += not capacity.take("t", limits, str(index), now)
    assert taken <= now * cps + max(1.0, cps) + 1e-6


# ---- slots ---------------------------------------------------------------------------------------------------


def test_an_abandoned_invite_keeps_its_slot_until_timer_b() -> None:
    slots = Slots(4)
    taken = []
    for held, leg in enumerate("abcd"):
        taken.append(slots.take(leg, 0.0, held))
        slots.made(leg)
    assert taken == [True, True, True, False]  # one is kept for refusing
    slots.abandoned("a", 3.0, was_heard=False)
    slots.disconnected("a")  # pjsua says so at once, and is wrong
    assert not slots.take("d", 3.0, 3)
    assert slots.in_use(TIMER_B_S, 4) == 2  # whatever else pjsua is busy with: the INVITEs that it refuses
    assert slots.take("d", TIMER_B_S, 3)


def test_a_cancelled_leg_is_free_when_pjsua_has_ended_it() -> None:
    slots = Slots(3)
    for held, leg in enumerate("ab"):
        assert slots.take(leg, 0.0, held)
        slots.made(leg)
    slots.abandoned("a", 15.0, was_heard=True)
    slots.disconnected("a")
    assert not slots.take("c", 15.1, 2)
    assert slots.take("c", 15.2, 1)  # its 487 has come
    assert not slots.take("d", 15.2, 1)  # pjsua does not know of c yet
    slots.made("c")
    assert not slots.take("d", 15.3, 2)
    slots.abandoned("b", 20.0, was_heard=True)  # its 487 never comes
    assert slots.in_use(20.0 + TIMER_B_S, 3) == 1
    slots.abandoned("stranger", 21.0, was_heard=False)
    assert slots.in_use(21.0 + TIMER_B_S, 3) == 1


def test_a_leg_that_was_never_sent_holds_nothing() -> None:
    slots = Slots(3)
    assert slots.take("a", 0.0, 0)
    slots.disconnected("a")
    assert slots.take("b", 0.0, 0)
    slots.abandoned("b", 1.0, was_heard=True)  # nobody waits any longer, before pjsua got it
    assert slots.in_use(1.0, 0) == 0


def test_the_number_of_who_is_passed_on_is_presented_where_that_is_allowed() -> None:
    free = replace(MAIN, plan=plan(allowed_caller_ids=NumberSet(("+1202555*",))))
    one_each = replace(SPARE, plan=plan(allowed_caller_ids=NumberSet(("*",)), per_number_auth=True))
    rng = random.Random(7)
    found = router(free, one_each).route("0788123456", "", 0.0, rng, presented="+12025550100")
    assert [(each.trunk, each.dialled.from_e164) for each in found.targets] == [
        *[("main", "+12025550100")] * 3,
        ("spare", CALLER),
    ]
