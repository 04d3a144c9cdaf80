"""OPTIONS to the targets of one trunk from an endpoint of its own, where no agent runs that could be asked."""

from __future__ import annotations

import asyncio

from sipua.accounts import Place, accounts_of, secrets_of
from sipua.clock import SystemClock
from sipua.errors import ConfigError
from sipua.fleet_view import PingView
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.prober import Ask, Pinger
from sipua.resolve import resolve_trunks
from sipua.sip_events import OptionsAnswered, Refusal, SipEvent
from sipua.source_address import bind_address
from sipua.trunk import Trunk


async def ping_alone(trunk: Trunk) -> tuple[PingView, ...]:
    """What each of its targets answers. ConfigError if it has none."""
    addresses, faults = await resolve_trunks([trunk])
    places = addresses.get(trunk.name, ())
    if not places:
        why = faults.get(trunk.name) or "it is disabled, takes calls only, or names no domain"
        raise ConfigError(f"trunk {trunk.name}: no address: {why}")
    bind = bind_address(addresses)
    pinger: Pinger

    def deliver(event: SipEvent) -> None:
        if isinstance(event, OptionsAnswered):
            pinger.deliver(event)

    endpoint = SipEndpoint(
        EndpointConfig(bind=bind, port=0, codecs=trunk.codecs, contact_user="ping"),
        lambda arrival, message: Refusal(480, "a ping takes no calls", None),
        deliver,
    )
    pinger = Pinger(endpoint, SystemClock())
    await endpoint.start()
    try:
        place = Place(bind, 0, "ping", has_fixed_ports=False)
        await endpoint.set_accounts(accounts_of([trunk], place, secrets_of([trunk])))
        asks = [Ask(each.uri, trunk.name, trunk.options_timeout_s) for each in places]
        pongs = await asyncio.gather(*(pinger.ping(each) for each in asks))
    finally:
        await endpoint.stop()
    return tuple(PingView.of(place, pong) for place, pong in zip(places, pongs, strict=True))
