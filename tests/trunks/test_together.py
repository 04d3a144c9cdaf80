"""The cores put together the way an outbound call of the adapters does it, against carriers made of a few lines."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from sipua.trunks.attempt import Attempt, CallRules, LegRules
from sipua.trunks.attempt_events import (
    Cancel,
    Event,
    Final,
    Finish,
    Invite,
    NoSlot,
    NotSent,
    Provisional,
    Record,
    Started,
    Timer,
)
from sipua.trunks.capacity import Limits, LocalCapacity
from sipua.trunks.health import Health
from sipua.trunks.numbers import NumberPlan
from sipua.trunks.routing import Address, Router, TrunkRoute
from sipua.trunks.slots import Slots
from sipua.trunks.watch import HealthRules

PLAN = NumberPlan("RW", caller_id="+250788000001")
PRIMARY, SECONDARY = TrunkRoute("primary", PLAN, priority=1), TrunkRoute("secondary", PLAN, priority=2)
ADDRESSES = {
    each: (Address(each, f"192.0.2.{last}", 5060, "udp"),)
    for last, each in enumerate(("primary", "secondary"))
}


@dataclass
class Office:
    """One process: routes and performs. ``answers`` maps a trunk to (seconds, response), () is a black hole."""

    answers: dict[str, tuple[tuple[float, int], ...]]
    slots: Slots = field(default_factory=lambda: Slots(16))
    invited: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.health = Health(random.Random(1))
        for name in ADDRESSES:
            self.health.watch(name, HealthRules(options_interval_s=0), (ADDRESSES[name][0].label,), 0.0)
        self.router = Router((PRIMARY, SECONDARY), ADDRESSES, self.health, LocalCapacity())

    def call(
        self, now: float, name: str, *, rules: CallRules | None = None
    ) -> tuple[Finish, float, list[str]]:
        """One call from beginning to end: how it ended, when, and its attempts."""
        route = self.router.route("0788123456", "", now, random.Random(2))
        legs = {trunk.name: LegRules() for trunk in self.router.trunks}
        attempt = Attempt(route.targets, legs, rules or CallRules())
        pending: list[tuple[float, Event]] = [(now, Started())]
        rows: list[str] = []
        while True:
            timer = attempt.next_at
            event: Event
            pending.sort(key=lambda each: each[0])
            if timer is not None and (not pending or timer <= pending[0][0]):
                now, event = timer, Timer()
            else:
                now, event = pending.pop(0)
            for action in attempt.feed(event, now):
                leg = f"{name}/{getattr(action, 'leg', '')}"
                if isinstance(action, Invite):
                    pending += [(now + delay, each) for delay, each in self._invite(action, leg, now)]
                elif isinstance(action, Cancel):
                    self.slots.abandoned(leg, now, was_heard=action.was_heard)
                elif isinstance(action, Record):
                    rows.append(f"{action.target.trunk}:{action.decision.reason}")
                    if action.is_of_target:
                        self.health.report(action.target.key, now, leg, action.decision)
                elif isinstance(action, Finish):
                    if action.leg is not None:
                        self.slots.disconnected(f"{name}/{action.leg}")  # the talk is over at once
                    for trunk in self.router.trunks:
                        self.router.capacity.release(trunk.name, name)
                    return action, now, rows

    def _invite(self, action: Invite, leg: str, now: float) -> list[tuple[float, Event]]:
        trunk, call = action.target.trunk, leg.partition("/")[0]
        if not self.slots.take(leg, now, self.slots.limit):
            return [(0.0, NoSlot(action.leg))]
        why = self.router.capacity.take(trunk, Limits(), call, now) or self.health.begin(
            action.target.key, now, leg
        )
        if why:
            self.slots.disconnected(leg)
            return [(0.0, NotSent(action.leg, why))]
        self.invited[trunk] += 1
        return [
            (delay, Provisional(action.leg, code) if code < 200 else Final(action.leg, code))
            for delay, code in self.answers[trunk]
        ]


GOOD = ((0.05, 100), (0.2, 180), (1.0, 200))


def test_black_holed_primary_the_second_call_goes_straight_to_the_secondary() -> None:
    office = Office({"primary": (), "secondary": GOOD})
    finish, ended, rows = office.call(0.0, "one")
    assert (finish.ending.reason, ended) == ("answered", 4.0)
    assert rows == ["primary:no_response", "secondary:answered"]
    finish, ended, rows = office.call(10.0, "two")
    assert (finish.ending.reason, ended, rows) == ("answered", 11.0, ["secondary:answered"])


def test_it_is_tried_again_after_its_hold_down_and_serves_again() -> None:
    office = Office({"primary": (), "secondary": GOOD})
    office.call(0.0, "one")
    office.answers["primary"] = GOOD
    assert office.call(32.9, "two")[2] == ["secondary:answered"]
    assert office.call(33.0, "three")[2] == ["primary:answered"]
    assert office.call(34.0, "four")[2] == ["primary:answered"]


def test_fifty_calls_none_lost_when_the_primary_dies_half_way() -> None:
    office = Office({"primary": GOOD, "secondary": GOOD})
    ends = []
    for number in range(50):
        if number == 25:
            office.answers["primary"] = ()
        ends.append(office.call(number * 2.0, str(number))[0].ending.reason)
    assert ends == ["answered"] * 50
    assert office.invited["primary"] == 25 + 1 + 1  # one found out, one was the trial after the hold-down
    assert office.slots.in_use(1000.0, 16) == 0


def test_busy_rings_exactly_once() -> None:
    office = Office({"primary": ((0.1, 180), (0.5, 486)), "secondary": GOOD})
    assert office.call(0.0, "one")[0].ending.reason == "busy"
    assert office.invited == {"primary": 1}


@pytest.mark.parametrize("answers", [(), ((0.1, 503),), ((0.05, 100),)])
def test_without_fail_over_the_call_is_lost(answers: tuple[tuple[float, int], ...]) -> None:
    office = Office({"primary": answers, "secondary": GOOD})
    finish, _, rows = office.call(0.0, "one", rules=CallRules(max_attempts=1))
    assert finish.ending.reason == "all_targets_failed"
    assert len(rows) == 1


def test_abandoned_invites_use_up_the_four_slots_of_the_wheel() -> None:
    office = Office({"primary": (), "secondary": ()}, slots=Slots(4))
    assert office.call(0.0, "one")[0].ending.reason == "all_targets_failed"
    office.health.watch("primary", HealthRules(options_interval_s=0), (), 6.0)  # forgotten: closed again
    office.health.watch("primary", HealthRules(options_interval_s=0), (ADDRESSES["primary"][0].label,), 6.0)
    office.health.watch("secondary", HealthRules(options_interval_s=0), (), 6.0)
    office.health.watch(
        "secondary", HealthRules(options_interval_s=0), (ADDRESSES["secondary"][0].label,), 6.0
    )
    finish, ended, _ = office.call(6.0, "two")
    assert (finish.ending.reason, finish.ending.sip_code, ended) == ("no_call_slot", 503, 9.0)
