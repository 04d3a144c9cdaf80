"""The trunks of one process, alive: where they are, whether they are well, registered, full, and who may call on them.

``Fleet`` owns the health that inbound and outbound calls share, the registrars, the prober and the addresses, and
changes them when the trunk files are read again or a name resolves anew, without touching calls that are up. The SIP
side is a Protocol; events of the endpoint come in through ``on_sip_event``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sipua.dialler import Dialler
from sipua.errors import ConfigError, SipuaError
from sipua.fleet_view import PingView, TargetView, TrunkView
from sipua.ports import Clock, Moment, TrunkLedger
from sipua.prober import Ask, OptionsPort, Pinger, Prober
from sipua.registrar import Registered, RegisterPort, Registrar
from sipua.resolve import resolve_trunks
from sipua.sip_account import Account
from sipua.sip_events import OptionsAnswered, RegistrationAnswered, SipEvent
from sipua.tasks import tell_of_a_bug
from sipua.trunk import Trunk
from sipua.trunk_rules import registration_rules_of
from sipua.trunks.answers import Contact
from sipua.trunks.registration import Alert, Changed, Phase, RegistrationRules
from sipua.trunks.routing import Address
from sipua.trunks.watch import Key

log = logging.getLogger(__name__)

RESOLVE_EVERY_S = 60.0  # a name that moves is found within this; carriers' records live for 30 to 300 s
FIRST_LOOK_S = 2.0  # how long a start waits for DNS; what has not answered by then is asked on
UNREGISTER_S = 3.0  # how long the end of the process waits for registrars
SETTLE_S = 3.0  # how long another address of ours waits for the answer to a REGISTER, which it would lose
HISTORY_EVERY_S = 0.5  # how often changes of health become rows
SEEN_EVERY_S = 30.0  # how often states that do not change are written, with the latency of the last OPTIONS
NOT_YET_REGISTERED = "no answer of the registrar yet"

Addresses = Mapping[str, tuple[Address, ...]]
Resolve = Callable[[Sequence[Trunk]], Awaitable[tuple[Mapping[str, tuple[Address, ...]], Mapping[str, str]]]]


class FleetSip(RegisterPort, OptionsPort, Protocol):
    """``sipua.pj.endpoint.SipEndpoint``, as far as the trunks need it."""

    async def set_accounts(self, accounts: Sequence[Account]) -> None: ...


class Alarm(Protocol):
    """Where an operator is told: ``reason`` is a snake_case word."""

    def __call__(self, trunk: str, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a fleet is given once. ``accounts_of`` reads the passwords: ConfigError if one is not there."""

    clock: Clock
    rng: random.Random
    ledger: TrunkLedger
    alarm: Alarm
    accounts_of: Callable[[Sequence[Trunk]], Sequence[Account]]
    resolve: Resolve = resolve_trunks


class Fleet:
    """One per process; ``start`` once the endpoint is up, ``stop`` before it goes down."""

    def __init__(self, dialler: Dialler, around: Surroundings) -> None:
        self.dialler = dialler
        self.trunks: tuple[Trunk, ...] = ()
        self._around = around
        self._health = dialler.health
        self._sip: FleetSip | None = None
        self._pinger: Pinger | None = None
        self._prober: Prober | None = None
        self._accounts: dict[str, Account] = {}
        self._registrars: dict[str, tuple[Registrar, Account, RegistrationRules]] = {}
        self._unbound: dict[str, str] = {}  # by account: why it is not registered, "" if it is
        self._addresses: Addresses = {}
        self.faults: Mapping[str, str] = {}  # of DNS, by trunk
        self._tasks: list[asyncio.Task[None]] = []
        self._looking: asyncio.Task[None] | None = None

    # ---- life --------------------------------------------------------------------------------------------

    async def start(self, sip: FleetSip, trunks: Sequence[Trunk]) -> None:
        """ConfigError if these trunks cannot be: passwords, more accounts than the build has."""
        clock = self._around.clock
        self._sip, self._pinger = sip, Pinger(sip, clock)
        self._prober = Prober(self._health, self._pinger, clock, self._ask_of)
        await self.replace(trunks)
        assert self._looking is not None
        await asyncio.wait({self._looking}, timeout=FIRST_LOOK_S)
        self._prober.start()
        self._spawn(self._look_up_for_ever(), "names")
        self._spawn(self._write_history(), "trunk-history")

    async def stop(self) -> None:
        """No more OPTIONS; every binding is taken back, within ``UNREGISTER_S``."""
        tasks = [*self._tasks, *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._prober is not None:
            await self._prober.stop()
        await self._drain(list(self._registrars))
        self._drain_history()

    async def replace(self, trunks: Sequence[Trunk]) -> None:
        """Other trunk files. ConfigError: they cannot be, and the old ones stay."""
        assert self._sip is not None
        accounts = {each.name: each for each in self._around.accounts_of(trunks)}
        rules = {each.name: registration_rules_of(each) for each in trunks}
        wanted = {name: (each, rules[each.trunk]) for name, each in accounts.items() if each.registrar}
        old = {name: (account, of_then) for name, (_, account, of_then) in self._registrars.items()}
        moved = [name for name in old if name in wanted and self._has_moved(name, *wanted[name])]
        other = [name for name, each in old.items() if wanted.get(name) != each and name not in moved]
        # taken back while their accounts are there; a new binding of the same address of record comes afterwards
        await self._drain(other)
        settled = await asyncio.gather(*(self._registrars[name][0].settle(SETTLE_S) for name in moved))
        try:
            await self._sip.set_accounts(tuple(accounts.values()))
        except SipuaError:
            self._register({name: each for name, each in old.items() if name not in self._registrars})
            raise
        known = _same_places(self.trunks, trunks, self._addresses)
        gone = {each.name for each in self.trunks} - {each.name for each in trunks}
        self.trunks, self._accounts = tuple(trunks), accounts
        self._moved(known)
        for name in gone:
            self._around.ledger.watching(name, ())
        for trunk in self.trunks:
            if trunk.kind == "static":
                self._health.registration(trunk.name, self._now().monotonic, "")
        for name, is_settled in zip(moved, settled, strict=True):
            registrar, (account, of_now) = self._registrars[name][0], wanted[name]
            self._registrars[name] = registrar, account, of_now
            registrar.address_changed(_contact_of(account), is_lost=not is_settled)
        self._register({name: each for name, each in wanted.items() if name not in self._registrars})
        self._look_up()

    def own_address_changed(self) -> None:
        """Every contact is registered anew, at once, wherever the kernel sends from now."""
        for registrar, account, _ in self._registrars.values():
            registrar.address_changed(_contact_of(account))

    def addresses_of(self, trunk: str) -> tuple[str, ...]:
        """Where its calls go, as far as that is known."""
        return tuple(each.address for each in self._addresses.get(trunk, ()))

    def on_sip_event(self, event: SipEvent) -> None:
        """Everything that the SIP thread reports, on the loop."""
        if isinstance(event, RegistrationAnswered):
            found = self._registrars.get(event.account)
            if found is not None:
                found[0].deliver(event)
        elif isinstance(event, OptionsAnswered):
            if self._pinger is not None:
                self._pinger.deliver(event)
        else:
            self.dialler.deliver(event)

    # ---- registration ------------------------------------------------------------------------------------

    def _register(self, wanted: Mapping[str, tuple[Account, RegistrationRules]]) -> None:
        assert self._sip is not None
        for name, (account, rules) in wanted.items():
            who = Registered(name, account.trunk, _contact_of(account))
            registrar = Registrar(
                who, rules, self._sip, self._around.clock, self._around.rng, self._registration_changed,
                self._alerted,
            )  # fmt: skip
            self._registrars[name] = registrar, account, rules
            self._bound(who, NOT_YET_REGISTERED)
            registrar.start()

    def _has_moved(self, name: str, account: Account, rules: RegistrationRules) -> bool:
        """Whether nothing but our public address is another one."""
        _, before, of_then = self._registrars[name]
        listener = replace(before.listener, public_address=account.listener.public_address)
        is_same = (replace(before, listener=listener), of_then) == (account, rules)
        return is_same and before != account

    async def _drain(self, names: Sequence[str]) -> None:
        leaving = [self._registrars[name][0] for name in names]
        await asyncio.gather(*(each.drain(UNREGISTER_S) for each in leaving))
        for name in names:
            del self._registrars[name]
            self._unbound.pop(name, None)

    def _registration_changed(self, who: Registered, step: Changed, at: Moment) -> None:
        self._around.ledger.registration_changed(who.trunk, who.account, step, at)
        trying = step.after is Phase.REGISTERING  # says no more than what kept us unbound before
        if not (trying and step.why_not and self._unbound.get(who.account)):
            self._bound(who, step.why_not)

    def _bound(self, who: Registered, why_not: str) -> None:
        self._unbound[who.account] = why_not
        self._health.registration(who.trunk, self._now().monotonic, why_not)

    def _alerted(self, who: Registered, alert: Alert) -> None:
        self._around.alarm(who.trunk, alert.reason)

    # ---- names -------------------------------------------------------------------------------------------

    def _look_up(self) -> None:
        """Asks for every name again; an answer for trunks that are no longer those of the files is dropped."""
        self._looking = asyncio.create_task(self._resolve(self.trunks), name="resolve")
        self._looking.add_done_callback(tell_of_a_bug)

    async def _look_up_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RESOLVE_EVERY_S)
            await self._resolve(self.trunks)

    async def _resolve(self, trunks: tuple[Trunk, ...]) -> None:
        found, faults = await self._around.resolve(trunks)
        if trunks is not self.trunks:
            return
        for name, fault in faults.items():
            if self.faults.get(name) != fault:
                log.warning("trunk %s: %s", name, fault)
        self.faults = faults
        addresses = {
            name: with_last_known(each, self._addresses.get(name, ())) if name in faults else each
            for name, each in found.items()
        }
        if addresses != self._addresses:
            self._moved(addresses)

    def _moved(self, addresses: Addresses) -> None:
        """Other targets, from the next call and the next OPTIONS on."""
        self._drain_history()  # of what may be forgotten now
        self._addresses = addresses
        self.dialler.replace(self.trunks, addresses)
        for name, places in addresses.items():
            if places:
                self._around.ledger.watching(name, [each.label for each in places])
        for name, why_not in self._unbound.items():  # of a trunk that was not known before
            self._bound(self._registrars[name][0].who, why_not)
        if self._prober is not None:
            self._prober.look_again()

    # ---- OPTIONS -----------------------------------------------------------------------------------------

    def _ask_of(self, key: Key) -> Ask | None:
        place = next((each for each in self._addresses.get(key.trunk, ()) if each.label == key.address), None)
        return None if place is None else self._ask(key.trunk, place)

    def _ask(self, name: str, place: Address) -> Ask:
        account = next(each.name for each in self._accounts.values() if each.trunk == name)
        trunk = next(each for each in self.trunks if each.name == name)
        return Ask(place.uri, account, trunk.options_timeout_s)

    async def ping(self, name: str) -> tuple[PingView, ...]:
        """OPTIONS to every target of a trunk, now; what comes back says nothing to its health. ConfigError."""
        assert self._pinger is not None
        places = self._addresses.get(name)
        if places is None:
            known = ", ".join(self._addresses) or "none"
            raise ConfigError(f"trunk {name!r}: is none that calls go out on; there are: {known}")
        if not places:
            raise ConfigError(f"trunk {name}: no address: {self.faults.get(name) or 'it names no domain'}")
        pongs = await asyncio.gather(*(self._pinger.ping(self._ask(name, each)) for each in places))
        return tuple(PingView.of(place, pong) for place, pong in zip(places, pongs, strict=True))

    # ---- to look at --------------------------------------------------------------------------------------

    def views(self) -> tuple[TrunkView, ...]:
        """For ``sipua trunks`` and the metrics, in the order of their priority."""
        now = self._now()
        targets: dict[str, list[TargetView]] = {}
        own: dict[str, TargetView] = {}
        for each in self._health.views(now.monotonic):
            view = TargetView.of(each, now)
            if each.key.address:
                targets.setdefault(each.key.trunk, []).append(view)
            else:
                own[each.key.trunk] = view
        return tuple(
            TrunkView(
                trunk,
                own.get(trunk.name),
                tuple(targets.get(trunk.name, ())),
                tuple(
                    (name, registrar.view())
                    for name, (registrar, account, _) in self._registrars.items()
                    if account.trunk == trunk.name
                ),
                self.faults.get(trunk.name, ""),
                self.dialler.occupancy.calls_up(trunk.name),
            )
            for trunk in sorted(self.trunks, key=lambda each: (each.priority, each.name))
        )

    # ---- history -----------------------------------------------------------------------------------------

    async def _write_history(self) -> None:
        seen_at = float("-inf")
        while True:
            self._drain_history()
            now = self._now()
            if now.monotonic >= seen_at + SEEN_EVERY_S:
                seen_at = now.monotonic
                self._around.ledger.health_seen(self._health.views(seen_at), now)
            await asyncio.sleep(HISTORY_EVERY_S)

    def _drain_history(self) -> None:
        now = self._now()
        for change in self._health.history.drain():
            if change.what != "registration":  # its steps are rows already
                self._around.ledger.health_changed(change, now)

    def _now(self) -> Moment:
        return self._around.clock.now()

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(tell_of_a_bug)
        self._tasks.append(task)


def with_last_known(found: tuple[Address, ...], before: tuple[Address, ...]) -> tuple[Address, ...]:
    """What a trunk's names led to, and for those that failed what they led to last."""
    hosts = {each.host for each in found}
    return found + tuple(each for each in before if each.host not in hosts)


def _same_places(old: Sequence[Trunk], new: Sequence[Trunk], addresses: Addresses) -> Addresses:
    """The addresses that are known already of trunks whose names are the same as before."""
    before = {each.name: _names_of(each) for each in old}
    return {
        each.name: addresses.get(each.name, ()) if before.get(each.name) == _names_of(each) else ()
        for each in new
        if each.enabled and each.direction != "inbound"
    }


def _names_of(trunk: Trunk) -> tuple[object, ...]:
    return trunk.domain, trunk.outbound_proxies, trunk.srv, trunk.static_hosts, trunk.transport


def _contact_of(account: Account) -> Contact:
    listener = account.listener
    hosts = {listener.bind, listener.public_address} - {""}
    return Contact(account.contact_user, tuple((host, listener.port) for host in hosts))
