"""A drill on the configured trunks: one is made unreachable on our side alone, and a canary call says who carries it.

Nothing is sent to that trunk: its targets are replaced, in the routing table of this process, by a place of our own
machine that takes everything and says nothing (or by a port that is closed). Everybody else's calls, those of a running
agent too, know nothing of it.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from sipua.drills.ground import Ground
from sipua.drills.scenario import Scenario
from sipua.errors import ConfigError
from sipua.media_ports import local_address_towards
from sipua.resolve import resolve_trunks
from sipua.trunk import Trunk
from sipua.trunks.routing import Address

RING_S = 25.0  # nobody has to answer: ringing is enough
LIMIT_S = 90.0
TALK_S = 1.0
KINDS = {"black-hole": "takes everything and says nothing", "refused": "is a closed port"}
# Numbers that are nobody's: of films and manuals.
_DOCUMENTATION = re.compile(r"\+1[0-9]{3}55501[0-9]{2}|\+250788123456|\+447700900[0-9]{3}|\+61491570[0-9]{3}")


@dataclass(frozen=True, slots=True)
class Live:
    """``trunk`` is made unreachable, ``expect`` is to carry the call to ``number`` within ``within_s``."""

    trunk: str
    expect: str
    within_s: float
    number: str


def check_number(number: str) -> str:
    """The test number. ConfigError if there is none or it is nobody's."""
    if not number:
        raise ConfigError(
            "drill.test_number: is not set, and --live calls it; set a number of your own that may ring"
        )
    if _DOCUMENTATION.fullmatch(number):
        raise ConfigError(
            f"drill.test_number = {number!r}: is a documentation number, which is nobody's: no carrier connects it, "
            "and the drill would tell nothing; set a number of your own"
        )
    return number


def check_trunks(trunks: Sequence[Trunk], live: Live) -> None:
    """ConfigError unless both are trunks that calls go out on."""
    usable = [each.name for each in trunks if each.enabled and each.direction != "inbound"]
    for option, name in (("--trunk", live.trunk), ("--expect", live.expect)):
        if name not in usable:
            raise ConfigError(
                f"{option} {name}: is no enabled trunk that calls go out on; there are: {', '.join(usable) or 'none'}"
            )
    if live.trunk == live.expect:
        raise ConfigError(f"--expect {live.expect}: is the trunk that is made unreachable")


def scenario_of(kind: str, trunks: Sequence[Trunk], live: Live) -> Scenario:
    """The drill ``kind`` (of KINDS) on these trunks."""

    async def perform(ground: Ground) -> None:
        with ExitStack() as stack:
            await _perform(ground, kind, trunks, live, stack)

    return Scenario(
        kind,
        f"{live.trunk} {KINDS[kind]}, on our side only",
        f"{live.expect} carries a call within {live.within_s:g} s",
        perform,
        expects_failover=True,
        limit_s=LIMIT_S,
    )


async def _perform(ground: Ground, kind: str, trunks: Sequence[Trunk], live: Live, stack: ExitStack) -> None:
    addresses, faults = await resolve_trunks(trunks)
    for name in (live.trunk, live.expect):
        if not addresses.get(name):
            raise ConfigError(f"trunk {name}: no address: {faults.get(name) or 'it names no domain'}")
    leads: Mapping[str, tuple[Address, ...]] = addresses
    if ground.breaks(f"{live.trunk} {KINDS[kind]}, on our side only"):
        places = _nowhere(addresses[live.trunk], kind, stack)
        leads = {**addresses, live.trunk: places}
    await ground.open_configured(trunks, leads, live.number)
    route = ground.dialler.route(live.number)
    first = route.targets[0].trunk if route.targets else "none"
    if first != live.trunk:
        why = "; ".join(f"{each.trunk}: {each.reason}" for each in route.rejected)
        raise ConfigError(
            f"--trunk {live.trunk}: a call to the test number goes to {first} first, so that nothing would be tried; "
            f"see `sipua route`{': ' + why if why else ''}"
        )
    canary = await ground.call(stays=True, ring_timeout_s=RING_S)
    ground.detected(canary)
    tried = [each.trunk for each in canary.attempts]
    ground.expect(f"{live.trunk} is tried and left", live.trunk in tried[:-1], canary.story)
    reached_at = canary.rang_at or canary.answered_at
    reached_ms = None if reached_at is None else round((reached_at - canary.dialled_at) * 1000)
    carried_by = tried[-1] if reached_ms is not None and tried else "nobody"
    in_time = carried_by == live.expect and reached_ms is not None and reached_ms <= live.within_s * 1000
    canary.expects_answer = carried_by == "nobody"  # a test number that only rings is not lost
    found = f"{carried_by} after {reached_ms} ms" if reached_ms is not None else f"nobody: {canary.reason}"
    ground.expect(f"it rings or is answered on {live.expect} within {live.within_s:g} s", in_time, found)
    if canary.answered_at is not None:
        await asyncio.sleep(TALK_S)
        ground.expect("sound is heard", canary.heard > 0, f"{canary.heard} packets heard")
    await canary.hang_up()


def _nowhere(places: Sequence[Address], kind: str, stack: ExitStack) -> tuple[Address, ...]:
    """In place of each address one of this machine, on the interface that leads to it."""
    found = []
    for place in places:
        host = local_address_towards(place.address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        wire = socket.SOCK_DGRAM if place.transport == "udp" else socket.SOCK_STREAM
        silent = socket.socket(family, wire)
        silent.bind((host, 0))
        port: int = silent.getsockname()[1]
        if kind == "refused":
            silent.close()
        else:
            stack.enter_context(silent)
            if wire == socket.SOCK_STREAM:
                silent.listen()  # connections are made by the kernel; nobody reads from them
        found.append(replace(place, address=host, port=port))
    return tuple(found)
