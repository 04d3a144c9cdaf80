"""Which facts the reports of trunks become."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sipua.ports import Moment
from sipua.trunk_ledger import TrunkLedger
from sipua.trunks.health import Health
from sipua.trunks.registration import Changed, Registration, RegistrationRules
from sipua.trunks.watch import HealthRules, Key
from storage.facts import Group
from storage.trunk_facts import TargetsWatched, TrunkChange, TrunkState

START = datetime(2026, 1, 1, tzinfo=UTC)
INSTANCE = UUID(int=7)
ADDRESS = "192.0.2.1:5060;udp"


def at(seconds: float) -> Moment:
    return Moment(100.0 + seconds, START + timedelta(seconds=seconds))


class Book:
    """A ledger on a writer that keeps the groups."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.ledger = TrunkLedger(self, {"node": "n1", "worker": 2, "instance": str(INSTANCE)})

    def put(self, group: Group) -> None:
        self.groups.append(group)


def probed_down(health: Health) -> None:
    """One OPTIONS that nobody answers."""
    health.watch("mtn", HealthRules(down_after=1), (ADDRESS,), 100.0)
    assert health.due(106.0) == (Key("mtn", ADDRESS),)
    health.due(110.0)


def test_a_change_is_history_and_state_at_the_time_when_it_happened() -> None:
    book, health = Book(), Health(random.Random(1))
    probed_down(health)
    (change,) = health.history.drain()
    book.ledger.health_changed(change, at(12.5))
    ((line, state),) = book.groups
    assert isinstance(line, TrunkChange)
    assert isinstance(state, TrunkState)
    assert (line.at, line.before, line.after, line.why) == (
        at(10).wall,
        "unknown",
        "down",
        "OPTIONS unanswered",
    )
    assert (state.changed_at, state.seen_at, state.state, state.why) == (
        at(10).wall,
        at(12.5).wall,
        "down",
        line.why,
    )
    for row in (line, state):
        assert (row.node, row.worker, row.instance) == ("n1", 2, INSTANCE)
        assert (row.trunk, row.target, row.what) == ("mtn", ADDRESS, "probe")


def test_every_step_of_a_registration_is_told_with_its_account() -> None:
    book = Book()
    registration = Registration(RegistrationRules(), random.Random(1))
    steps = [*registration.start(100.0), *registration.answered(101.0, 200, expires_s=60)]
    for step in steps:
        if isinstance(step, Changed):
            book.ledger.registration_changed("mtn", "mtn/+250788123456", step, at(1))
    told = [
        (row.target, row.what, row.before, row.after)
        for row, _ in book.groups
        if isinstance(row, TrunkChange)
    ]
    assert told == [
        ("mtn/+250788123456", "registration", "stopped", "registering"),
        ("mtn/+250788123456", "registration", "registering", "registered"),
    ]


def test_what_is_seen_has_latency_and_no_change() -> None:
    book, health = Book(), Health(random.Random(1))
    health.watch("mtn", HealthRules(), (ADDRESS,), 100.0)
    health.due(106.0)
    health.options_answered(Key("mtn", ADDRESS), 106.0123, 200)
    book.ledger.health_seen(health.views(107.0), at(7))
    (states,) = book.groups
    told = [
        (s.target, s.what, s.state, s.latency_ms, s.changed_at) for s in states if isinstance(s, TrunkState)
    ]
    assert told == [
        ("", "breaker", "closed", None, None),
        (ADDRESS, "breaker", "closed", None, None),
        (ADDRESS, "probe", "up", 12.3, None),
    ]


def test_a_trunk_is_itself_and_its_addresses_or_gone() -> None:
    book = Book()
    book.ledger.watching("mtn", [ADDRESS])
    book.ledger.watching("mtn", [])
    assert book.groups == [
        (TargetsWatched("n1", 2, "mtn", ("", ADDRESS)),),
        (TargetsWatched("n1", 2, "mtn", ()),),
    ]
