"""Which trunks and which of their addresses carry an outbound call, in which order and why. No I/O, no clock.

Trunks go by priority, among equals by weighted chance (RFC 2782); within a trunk its addresses go by the priority and
weight of their SRV records, all addresses of one name together. Every address of a name is a target of its own. What
is left out is named with a reason, for ``sipua route``.

A number without a country ("0788…") means different subscribers to trunks of different regions. The reading of the
first trunk that may be used for such a number (by priority and name, whatever its health) is the call's; a trunk that
reads it otherwise is left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Protocol, TypeVar

from sipua.trunks.capacity import Capacity, Limits
from sipua.trunks.numbers import Dialled, NumberError, NumberPlan, NumberSet, dial, may_present, received
from sipua.trunks.watch import Key

T = TypeVar("T")

NO_ADDRESS = "no address: its name was not resolved"


class Direction(StrEnum):
    """Which calls a trunk carries."""

    BOTH = "both"
    INBOUND = "inbound"
    OUTBOUND = "outbound"


@dataclass(frozen=True, slots=True)
class TrunkRoute:
    """What routing needs of a trunk file."""

    name: str
    plan: NumberPlan
    enabled: bool = True
    direction: Direction = Direction.BOTH
    priority: int = 10
    weight: int = 1
    limits: Limits = field(default_factory=Limits)
    did_ranges: NumberSet = field(default_factory=NumberSet)  # empty: every number that the trunk delivers


@dataclass(frozen=True, slots=True)
class Address:
    """One resolved address of ``host``. ``tls_name`` is what TLS shows as SNI and holds the certificate against."""

    host: str
    address: str
    port: int
    transport: str  # udp, tcp or tls
    priority: int = 0
    weight: int = 0
    tls_name: str = ""

    @property
    def label(self) -> str:
        """The address part of a health key: ``192.0.2.1:5060;udp``."""
        return f"{self._literal}:{self.port};{self.transport}"

    @property
    def uri(self) -> str:
        """Where a request goes, whatever host its Request-URI names."""
        if self.transport == "tls" and self.tls_name:
            return f"sip:{self.tls_name}:{self.port};transport=tls;maddr={self._literal}"
        return f"sip:{self._literal}:{self.port};transport={self.transport}"

    @property
    def _literal(self) -> str:
        return f"[{self.address}]" if ":" in self.address else self.address


@dataclass(frozen=True, slots=True)
class Target:
    """One place to send the INVITE, with its numbers written the trunk's way."""

    trunk: str
    to: Address
    dialled: Dialled
    why: str

    @property
    def key(self) -> Key:
        return Key(self.trunk, self.to.label)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A trunk (``address`` is "") or one of its targets that is left out."""

    trunk: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class Route:
    """``to_e164`` is "" if no trunk could read the number."""

    to_e164: str
    targets: tuple[Target, ...]
    rejected: tuple[Rejected, ...]


class HealthPort(Protocol):
    """``sipua.trunks.health.Health``."""

    def why_not(self, key: Key, now: float) -> str: ...


@dataclass(frozen=True, slots=True)
class Router:
    """The trunks of the moment (rebuilt on SIGHUP and when names resolve anew) and what it asks about them."""

    trunks: tuple[TrunkRoute, ...]
    addresses: Mapping[str, tuple[Address, ...]]
    health: HealthPort
    capacity: Capacity

    def route(
        self, to: str, caller: str, now: float, rng: random.Random, *, only: str = "", presented: str = ""
    ) -> Route:
        """Targets for a call to ``to`` from ``caller`` ("": each trunk's own), on the trunk ``only`` if named.

        ``presented``: whose call is passed on; a trunk that may not present this number presents its own.
        """
        names = [trunk.name for trunk in self.trunks]
        if only and only not in names:
            unknown = f"there is no such trunk; there are: {', '.join(names)}"
            return Route("", (), (Rejected(only, "", unknown),))
        rejected: list[Rejected] = []
        usable: list[tuple[TrunkRoute, Dialled]] = []
        reading = ""
        for trunk in sorted(self.trunks, key=lambda each: (each.priority, each.name)):
            theirs = presented if presented and may_present(trunk.plan, presented) else caller
            dialled = _dialled(trunk, to, theirs, only)
            if isinstance(dialled, str):
                rejected.append(Rejected(trunk.name, "", dialled))
                continue
            reading = reading or dialled.to_e164
            why_not = self._why_not(trunk, dialled, reading, now)
            if why_not:
                rejected.append(Rejected(trunk.name, "", why_not))
            else:
                usable.append((trunk, dialled))
        targets: list[Target] = []
        for trunk, dialled in by_priority(usable, lambda each: (each[0].priority, each[0].weight), rng):
            for place in _in_order(self.addresses[trunk.name], rng):
                why_not = self.health.why_not(Key(trunk.name, place.label), now)
                if why_not:
                    rejected.append(Rejected(trunk.name, place.label, why_not))
                else:
                    targets.append(Target(trunk.name, place, dialled, _why(trunk, place)))
        return Route(reading, tuple(targets), tuple(rejected))

    def _why_not(self, trunk: TrunkRoute, dialled: Dialled, reading: str, now: float) -> str:
        """What of the moment keeps a trunk out that could carry the call; "" if nothing does."""
        if dialled.to_e164 != reading:
            return "reads the number as one of another country than a trunk before it; dial it with +"
        if not self.addresses.get(trunk.name):
            return NO_ADDRESS
        return self.health.why_not(Key(trunk.name), now) or self.capacity.why_full(
            trunk.name, trunk.limits, now
        )


# In this order; the first that applies is the reason.
_UNUSABLE: tuple[tuple[str, Callable[[TrunkRoute, str], bool]], ...] = (
    ("another trunk was asked for", lambda trunk, only: bool(only) and trunk.name != only),
    ("disabled (enabled = false)", lambda trunk, only: not trunk.enabled),
    (
        "takes no outbound calls (direction = inbound)",
        lambda trunk, only: trunk.direction is Direction.INBOUND,
    ),
)


def _dialled(trunk: TrunkRoute, to: str, caller: str, only: str) -> Dialled | str:
    """The numbers on this trunk, or why it can never carry such a call."""
    for reason, applies in _UNUSABLE:
        if applies(trunk, only):
            return reason
    try:
        return dial(trunk.plan, to, caller)
    except NumberError as error:
        return str(error)


def _why(trunk: TrunkRoute, place: Address) -> str:
    of_trunk = f"priority {trunk.priority}, weight {trunk.weight}"
    return f"{of_trunk}; {place.host}: priority {place.priority}, weight {place.weight}"


def takes_did(trunk: TrunkRoute, user: str) -> bool:
    """Whether an inbound call to this user part is for us: any if the trunk names no DID ranges."""
    if not trunk.did_ranges.patterns:
        return True
    number = received(trunk.plan, user)
    return number is not None and number in trunk.did_ranges


def _in_order(addresses: Sequence[Address], rng: random.Random) -> list[Address]:
    """RFC 2782 chooses among names; the addresses of the chosen name follow in the order of the answer."""
    names: dict[tuple[int, int, str, int, str], list[Address]] = {}
    for each in addresses:
        names.setdefault((each.priority, each.weight, each.host, each.port, each.transport), []).append(each)
    chosen = by_priority(list(names), lambda name: (name[0], name[1]), rng)
    return [each for name in chosen for each in names[name]]


def by_priority(items: Sequence[T], rank: Callable[[T], tuple[int, int]], rng: random.Random) -> list[T]:
    """Items by ascending priority, equals by weighted chance (RFC 2782, "Weight"). ``rank`` is (priority, weight).

    Items of weight 0 are all that is left or stand before the others with next to no chance of being first; among
    themselves they keep their order.
    """
    ordered: list[T] = []
    for _, group in groupby(sorted(items, key=lambda each: rank(each)[0]), key=lambda each: rank(each)[0]):
        left = sorted(group, key=lambda each: rank(each)[1] > 0)
        while left:
            draw = rng.randint(0, sum(rank(each)[1] for each in left))
            for index, each in enumerate(left):
                draw -= rank(each)[1]
                if draw <= 0:
                    ordered.append(left.pop(index))
                    break
    return ordered
