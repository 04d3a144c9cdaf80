"""The trunks of a process in virtual time, on a scripted SIP side: registration, OPTIONS, names, other trunk files."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from rtp.ports import PortAllocator
from sipua.dialler import Dialler
from sipua.errors import ConfigError
from sipua.fleet import RESOLVE_EVERY_S, Fleet, Surroundings, with_last_known
from sipua.media_ports import MediaPorts
from sipua.occupancy import Occupancy
from sipua.ports import Moment
from sipua.sip_account import Account, Listener
from sipua.sip_events import OptionsAnswered, RegistrationAnswered
from sipua.trunk import Trunk
from sipua.trunks.health import Health
from sipua.trunks.registration import Changed
from sipua.trunks.routing import Address
from sipua.trunks.watch import HealthChange, HealthView
from tests.fleet.virtual import VirtualClock, run

NUMBER = "0788123456"
LISTENER = Listener("udp", "192.0.2.7", 5060)


def trunk(name: str, **keys: Any) -> Trunk:
    values = {
        "schema": 1,
        "name": name,
        "provider": "carrier",
        "caller_id": "+250788000001",
        "domain": "192.0.2.1",
    }
    return Trunk.model_validate(values | keys)


def registering(name: str, **keys: Any) -> Trunk:
    own = {"kind": "register", "registrar_uri": "sip:192.0.2.1", "aor_user": name}
    return trunk(name, **(own | keys))


@dataclass
class Accounts:
    """One per enabled trunk; ``public`` is how the world sees us."""

    public: str = ""

    def __call__(self, trunks: Sequence[Trunk]) -> tuple[Account, ...]:
        listener = replace(LISTENER, public_address=self.public)
        return tuple(
            Account(
                each.name, each.name, listener, f"sip:{each.aor_user}@{each.domain}", "us",
                registrar=each.registrar_uri,
            )
            for each in trunks
            if each.enabled
        )  # fmt: skip


@dataclass
class Wire:
    """Grants what is asked and answers every OPTIONS, unless told otherwise."""

    code: int = 200  # of REGISTER; 0 is silence
    options_code: int = 200
    after_s: float = 0.02
    limit: int = 8
    fleet: Fleet | None = None
    log: list[str] = field(default_factory=list)  # "REGISTER name expires", "accounts names"
    probed: list[str] = field(default_factory=list)

    async def set_accounts(self, accounts: Sequence[Account]) -> None:
        if len(accounts) > self.limit:
            raise ConfigError(f"{len(accounts)} accounts, and this build takes {self.limit}")
        self.log.append("accounts " + " ".join(each.name for each in accounts))

    async def register(self, account: str, expires_s: int) -> None:
        self.log.append(f"REGISTER {account} {expires_s}")
        if self.code:
            self._soon(RegistrationAnswered(account, self.code, "", {"expires": (str(expires_s),)}))

    async def options(self, uri: str, token: UUID, account: str) -> None:
        self.probed.append(f"{account} {uri}")
        if self.options_code:
            self._soon(OptionsAnswered(token, self.options_code, "", {}))

    def _soon(self, event: RegistrationAnswered | OptionsAnswered) -> None:
        assert self.fleet is not None
        asyncio.get_running_loop().call_later(self.after_s, self.fleet.on_sip_event, event)


@dataclass
class Rows:
    health: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    alerts: list[tuple[str, str]] = field(default_factory=list)
    watched: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seen: int = 0

    def health_changed(self, change: HealthChange, at: Moment) -> None:
        assert at.monotonic >= change.at
        self.health.append(f"{change.key.trunk} {change.key.address} {change.what} {change.after}")

    def registration_changed(self, trunk: str, account: str, change: Changed, at: Moment) -> None:
        self.steps.append(f"{account} {change.after.value}")

    def watching(self, trunk: str, addresses: Sequence[str]) -> None:
        self.watched[trunk] = tuple(addresses)

    def health_seen(self, views: Sequence[HealthView], at: Moment) -> None:
        self.seen += len(views)

    def alarm(self, trunk: str, reason: str) -> None:
        self.alerts.append((trunk, reason))


@dataclass
class Names:
    """What names lead to; "" of a name is a fault."""

    places: dict[str, Sequence[str]] = field(default_factory=dict)
    asked: int = 0

    async def __call__(
        self, trunks: Sequence[Trunk]
    ) -> tuple[Mapping[str, tuple[Address, ...]], Mapping[str, str]]:
        self.asked += 1
        found: dict[str, tuple[Address, ...]] = {}
        faults: dict[str, str] = {}
        for each in trunks:
            if each.enabled and each.direction != "inbound":
                places = self.places.get(each.domain, [each.domain])
                found[each.name] = tuple(Address(each.domain, ip, 5060, "udp") for ip in places)
                if not places:
                    faults[each.name] = f"{each.domain}: no answer from DNS within 5 s"
        return found, faults


@dataclass
class World:
    wire: Wire
    rows: Rows
    names: Names
    fleet: Fleet
    accounts: Accounts

    def why(self, name: str) -> str:
        return next(each.why for each in self.fleet.views() if each.trunk.name == name)


Story = Callable[[World], Coroutine[Any, Any, None]]


def lived(
    trunks: Sequence[Trunk], story: Story, wire: Wire | None = None, names: Names | None = None
) -> World:
    wire, rows, names = wire or Wire(), Rows(), names or Names()
    found: list[World] = []

    async def main() -> None:
        rng, clock = random.Random(1), VirtualClock()
        occupancy = Occupancy(lambda: clock.now().monotonic)
        occupancy.open(16, lambda: 16)
        dialler = Dialler(Health(rng), occupancy, MediaPorts(PortAllocator(0, 0)), rng, clock)
        accounts = Accounts()
        fleet = Fleet(dialler, Surroundings(clock, rng, rows, rows.alarm, accounts, names))
        wire.fleet = fleet
        world = World(wire, rows, names, fleet, accounts)
        found.append(world)
        await fleet.start(wire, trunks)
        try:
            await story(world)
        finally:
            await fleet.stop()
        assert len(asyncio.all_tasks()) == 1

    run(main)
    return found[0]


def targets(world: World) -> list[str]:
    return [each.to.label for each in world.fleet.dialler.route(NUMBER).targets]


def test_a_trunk_that_registers_carries_calls_while_it_is_bound() -> None:
    async def story(world: World) -> None:
        assert world.why("a") == "not registered: no answer of the registrar yet"
        assert targets(world) == []
        await asyncio.sleep(1)
        assert (world.why("a"), len(targets(world))) == ("", 1)
        world.wire.code = 403
        await asyncio.sleep(4000)
        assert world.why("a") == "not registered: forbidden"
        assert targets(world) == []

    world = lived([registering("a")], story)
    assert world.rows.alerts == [("a", "forbidden")]
    assert world.rows.steps[:2] == ["a registering", "a registered"]
    assert not any("registration" in each for each in world.rows.health), "its steps are rows already"


def test_a_trunk_for_calls_that_come_in_is_up_while_it_is_bound() -> None:
    async def story(world: World) -> None:
        assert world.why("a") == "not registered: registering (start)"
        await asyncio.sleep(1)
        (view,) = world.fleet.views()
        assert (view.state, view.targets, view.own) == ("up", (), None)
        world.wire.code = 503
        await asyncio.sleep(4000)
        assert world.why("a").startswith("not registered: ")
        assert world.wire.probed == []

    lived([registering("a", direction="inbound")], story)


def test_the_binding_is_taken_back_at_the_end() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(1)

    assert lived([registering("a")], story).wire.log == ["accounts a", "REGISTER a 3600", "REGISTER a 0"]


def test_the_end_does_not_wait_for_silent_registrars() -> None:
    times = []

    async def story(world: World) -> None:
        await asyncio.sleep(1)
        world.wire.code = 0
        times.append(asyncio.get_running_loop().time())
        await world.fleet.stop()
        times.append(asyncio.get_running_loop().time())

    lived([registering("a"), registering("b"), registering("c")], story)
    assert times[1] - times[0] == pytest.approx(3.0)


def test_other_files_touch_only_what_is_other() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(1)
        world.wire.log.clear()
        same, changed, new = (
            registering("same"),
            registering("changed", reg_expires_s=600),
            registering("new"),
        )
        await world.fleet.replace([same, changed, new])
        await asyncio.sleep(1)
        assert sorted(world.wire.log[:2]) == ["REGISTER changed 0", "REGISTER gone 0"]
        assert world.wire.log[2] == "accounts same changed new"
        assert sorted(world.wire.log[3:]) == ["REGISTER changed 600", "REGISTER new 3600"]
        assert [each.trunk.name for each in world.fleet.views()] == ["changed", "new", "same"]
        assert len(targets(world)) == 3

    rows = lived([registering("same"), registering("changed"), registering("gone")], story).rows
    address = ("192.0.2.1:5060;udp",)
    assert rows.watched == {"same": address, "changed": address, "new": address, "gone": ()}


def test_a_trunk_that_registers_no_more_needs_no_binding() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(1)
        assert targets(world) == []
        await world.fleet.replace([trunk("a")])
        await asyncio.sleep(1)
        assert world.why("a") == ""

    lived([registering("a")], story, Wire(code=500))


def test_more_accounts_than_the_build_takes_change_nothing() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(1)
        with pytest.raises(ConfigError, match="2 accounts, and this build takes 1"):
            await world.fleet.replace([registering("b"), registering("c")])
        await asyncio.sleep(1)
        assert [each.trunk.name for each in world.fleet.views()] == ["a"]
        assert world.why("a") == ""

    lived([registering("a")], story, Wire(limit=1))


def test_a_start_that_cannot_be_is_refused() -> None:
    async def story(world: World) -> None:
        raise AssertionError("not started")

    with pytest.raises(ConfigError, match="2 accounts, and this build takes 1"):
        lived([trunk("a"), trunk("b")], story, Wire(limit=1))


def test_a_name_that_moves_is_followed_and_one_that_fails_keeps_its_last_addresses() -> None:
    names = Names({"carrier.test": ["192.0.2.1"]})

    async def story(world: World) -> None:
        assert targets(world) == ["192.0.2.1:5060;udp"]
        names.places["carrier.test"] = ["192.0.2.2", "192.0.2.3"]
        await asyncio.sleep(RESOLVE_EVERY_S + 1)
        assert targets(world) == ["192.0.2.2:5060;udp", "192.0.2.3:5060;udp"]
        names.places["carrier.test"] = []
        await asyncio.sleep(RESOLVE_EVERY_S)
        assert len(targets(world)) == 2
        (view,) = world.fleet.views()
        assert view.fault == "carrier.test: no answer from DNS within 5 s"
        world.wire.probed.clear()
        await asyncio.sleep(31)
        assert sorted(world.wire.probed) == [
            "a sip:192.0.2.2:5060;transport=udp", "a sip:192.0.2.3:5060;transport=udp",
        ]  # fmt: skip

    lived([trunk("a", domain="carrier.test")], story, names=names)


def test_another_name_in_the_file_does_not_inherit_the_addresses() -> None:
    async def story(world: World) -> None:
        await world.fleet.replace([trunk("a", domain="other.test")])
        await asyncio.sleep(1)
        assert targets(world) == []
        assert world.why("a").startswith("no address: other.test")

    lived([trunk("a")], story, names=Names({"other.test": []}))


def test_a_target_that_is_down_and_what_is_shown_of_it() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(40)
        assert world.why("a") == ""
        world.wire.options_code = 0
        await asyncio.sleep(120)
        assert targets(world) == []
        (view,) = world.fleet.views()
        shown = view.as_dict()
        assert (shown["state"], shown["why"]) == ("down", "down: OPTIONS unanswered or not healthy")
        assert shown["targets"][0]["probe"] == "down"
        assert shown["targets"][0]["options_ms"] == 20.0
        assert shown["changed_at"] is not None

    world = lived([trunk("a")], story)
    assert world.rows.seen >= 8
    assert world.rows.health == ["a 192.0.2.1:5060;udp probe up", "a 192.0.2.1:5060;udp probe down"]


def test_ping_asks_every_target_now() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(10)
        first = await world.fleet.ping("a")
        assert [(each.address, each.code, each.ms) for each in first] == [
            ("192.0.2.1:5060;udp", 404, 20.0), ("192.0.2.2:5060;udp", 404, 20.0),
        ]  # fmt: skip
        world.wire.options_code = 0
        assert [each.why for each in await world.fleet.ping("a")] == ["no answer within 4 s"] * 2
        with pytest.raises(ConfigError, match="'b': is none that calls go out on; there are: a"):
            await world.fleet.ping("b")

    names = Names({"carrier.test": ["192.0.2.1", "192.0.2.2"]})
    lived([trunk("a", domain="carrier.test", options_interval_s=0)], story, Wire(options_code=404), names)


def test_our_own_address_changes() -> None:
    """The new contact is registered at once, and calls go out meanwhile; the old binding goes with its account."""

    async def story(world: World) -> None:
        await asyncio.sleep(1)
        world.accounts.public = "203.0.113.7"
        await world.fleet.replace(world.fleet.trunks)
        assert (world.why("a"), len(targets(world))) == ("", 1)
        await asyncio.sleep(1)
        assert world.wire.log == ["accounts a", "REGISTER a 3600"] * 2

    lived([registering("a")], story)


def test_our_own_address_changes_while_a_register_is_under_way() -> None:
    """The answer is waited for, as it would be lost with the account; nothing is unregistered, calls go out."""

    async def story(world: World) -> None:
        await asyncio.sleep(1)
        world.wire.after_s = 1.0
        world.fleet.own_address_changed()
        await asyncio.sleep(0.1)
        world.accounts.public = "203.0.113.7"
        replacing = asyncio.create_task(world.fleet.replace(world.fleet.trunks))
        for _ in range(30):  # the REGISTER under way, the new account, its REGISTER
            await asyncio.sleep(0.1)
            assert (world.why("a"), len(targets(world))) == ("", 1)
        await replacing
        again = ["REGISTER a 3600", "accounts a", "REGISTER a 3600"]
        assert world.wire.log == ["accounts a", "REGISTER a 3600", *again]

    lived([registering("a")], story)


def test_our_own_address_changes_while_the_registrar_is_silent() -> None:
    """Its answer is not waited for for ever: the one to the new contact counts."""

    async def story(world: World) -> None:
        await asyncio.sleep(1)
        world.wire.code = 200
        world.accounts.public = "203.0.113.7"
        await world.fleet.replace(world.fleet.trunks)
        await asyncio.sleep(1)
        assert world.wire.log == ["accounts a", "REGISTER a 3600"] * 2
        assert world.why("a") == ""

    lived([registering("a")], story, Wire(code=0))


def test_the_last_known_stand_in_for_the_names_that_failed() -> None:
    one, two, three = (Address(host, ip, 5060, "udp") for host, ip in (("x", "1"), ("x", "2"), ("y", "3")))
    assert with_last_known((two,), (one, three)) == (two, three)
    assert with_last_known((), (one,)) == (one,)
