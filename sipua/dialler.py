"""What the outbound calls of one process share: where the trunks are, which targets are healthy, how many calls a trunk
has, how many slots of pjsua are taken, and whose leg an event of the SIP thread is about.

``replace`` gives it other trunks or addresses at any time; calls that are being dialled keep those they began with.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from sipua.clock import SystemClock
from sipua.media_ports import MediaPorts
from sipua.occupancy import Occupancy
from sipua.outbound import EarlyMedia, OutboundCall, Tell
from sipua.ports import Clock, OutboundSip
from sipua.sip_events import (
    EndpointFailed,
    KeyAnswered,
    KeyPressed,
    LegChanged,
    LegProgress,
    LegState,
    MediaChanged,
    SipEvent,
    TransferProgress,
)
from sipua.trunk import Trunk
from sipua.trunk_rules import health_rules_of, leg_rules_of, route_of
from sipua.trunks.attempt import CallRules
from sipua.trunks.capacity import Capacity
from sipua.trunks.health import Health
from sipua.trunks.routing import Address, HealthPort, Route, Router


def router_of(
    trunks: Sequence[Trunk],
    addresses: Mapping[str, tuple[Address, ...]],
    health: HealthPort,
    capacity: Capacity,
) -> Router:
    """The trunks of the files as routing sees them."""
    return Router(tuple(route_of(each) for each in trunks), addresses, health, capacity)


class Dialler:
    """The outbound side of one process."""

    def __init__(
        self, health: Health, occupancy: Occupancy, ports: MediaPorts, rng: random.Random, clock: Clock
    ) -> None:
        self.health = health
        self.occupancy = occupancy
        self.ports = ports
        self.rng = rng
        self._clock = clock
        self.trunks: Mapping[str, Trunk] = {}
        self._router = router_of((), {}, health, occupancy)
        self._legs: dict[UUID, OutboundCall] = {}

    @classmethod
    def alone(
        cls,
        trunks: Sequence[Trunk],
        addresses: Mapping[str, tuple[Address, ...]],
        *,
        limit: int,
        held: Callable[[], int],
        ports: MediaPorts,
    ) -> Dialler:
        """One that shares nothing with inbound calls. pjsua has ``limit`` call slots, ``held`` of them taken."""
        rng, occupancy = random.Random(), Occupancy()
        occupancy.open(limit, held)
        dialler = cls(Health(rng), occupancy, ports, rng, SystemClock())
        dialler.replace(trunks, addresses)
        return dialler

    def replace(self, trunks: Sequence[Trunk], addresses: Mapping[str, tuple[Address, ...]]) -> None:
        """Other trunks, or other addresses of them, from the next call on; what is known of the others stays."""
        for name in set(self.trunks) - set(addresses):
            self.health.forget(name)
        self.trunks = {each.name: each for each in trunks}
        now = self._clock.now().monotonic
        for name, places in addresses.items():
            labels = tuple(each.label for each in places)
            self.health.watch(name, health_rules_of(self.trunks[name]), labels, now)
        self._router = router_of(trunks, addresses, self.health, self.occupancy)

    def route(self, to: str, caller: str = "", only: str = "", presented: str = "") -> Route:
        """Where a call to this number would go now; see ``Router.route``."""
        now = self._clock.now().monotonic
        return self._router.route(to, caller, now, self.rng, only=only, presented=presented)

    def call(
        self,
        sip: OutboundSip,
        route: Route,
        rules: CallRules,
        tell: Tell = lambda progress: None,
        early_media: EarlyMedia | None = None,
        diverted_from: str = "",
    ) -> OutboundCall:
        """A call that is ready to be dialled; ``diverted_from`` is our number that a call was passed on from."""
        legs = {name: leg_rules_of(each) for name, each in self.trunks.items()}
        return OutboundCall(self, sip, route, legs, rules, tell, early_media, diverted_from)

    def owns(self, key: UUID, call: OutboundCall) -> None:
        """Events about this leg are the call's, until it is gone."""
        self._legs[key] = call

    def disowns(self, key: UUID) -> None:
        """Its INVITE was not sent."""
        self._legs.pop(key, None)

    def deliver(self, event: SipEvent) -> None:
        """Every event of the endpoint goes through here to the call whose leg it is about."""
        if isinstance(event, EndpointFailed):
            for call in dict.fromkeys(self._legs.values()):
                call.deliver(event)
        elif isinstance(
            event, LegChanged | LegProgress | MediaChanged | KeyPressed | KeyAnswered | TransferProgress
        ):
            owner = self._legs.get(event.key)
            if owner is not None:
                owner.deliver(event)
            if isinstance(event, LegChanged) and event.state is LegState.DISCONNECTED:
                self._legs.pop(event.key, None)
