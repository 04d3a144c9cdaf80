"""Where a trunk's domain or outbound proxy is: NAPTR, SRV and A/AAAA (RFC 3263), ``static_hosts`` before any of them.

Every address of a name is a target of its own. What the answers mean is in the pure functions at the head; ``Resolver``
asks dnspython, which this module alone imports. The transport is the trunk's: a NAPTR record only says which SRV name
serves it. An address literal needs no DNS at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from sipua.errors import RemoteError
from sipua.sip_message import is_address
from sipua.trunk import Trunk
from sipua.trunk_rules import family_of
from sipua.trunks.routing import Address

TIMEOUT_S = 5.0  # of one place, all its questions together
PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
_NAPTR_SERVICE = {"udp": "SIP+D2U", "tcp": "SIP+D2T", "tls": "SIPS+D2T"}
_SRV_PREFIX = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}


class UnresolvedName(RemoteError):
    """A name that leads to no address; names it, the question and what came of it."""

    retryable = True
    reason = "unresolved_name"


@dataclass(frozen=True, slots=True)
class Place:
    """What a trunk file names: a host, a port (0: what SRV or the transport says) and a transport."""

    host: str
    port: int
    transport: str
    srv: bool = True


@dataclass(frozen=True, slots=True)
class Naptr:
    """One NAPTR record (RFC 3403)."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Srv:
    """One SRV record (RFC 2782); target "." says that there is no such service."""

    priority: int
    weight: int
    port: int
    target: str


def parse_place(text: str, transport: str, *, srv: bool = True) -> Place:
    """``host``, ``host:port`` or ``[IPv6]:port``. Raises ValueError."""
    host, colon, port = text, "", ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        _, colon, port = rest.partition(":")
    elif text.count(":") == 1:
        host, colon, port = text.partition(":")
    if not host or (colon and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError(f"{text!r}: expected host, host:port or [IPv6 address]:port")
    return Place(host, int(port or 0), transport, srv)


def srv_name(place: Place, naptrs: Sequence[Naptr]) -> str:
    """The name to ask for SRV: what the best NAPTR record of our transport leads to, or the usual one."""
    wanted = _NAPTR_SERVICE[place.transport]
    fitting = [each for each in naptrs if each.service.upper() == wanted and each.flags.upper() == "S"]
    best = min(fitting, key=lambda each: (each.order, each.preference), default=None)
    return best.replacement if best is not None else _SRV_PREFIX[place.transport] + place.host


def hosts_of(place: Place, srvs: Sequence[Srv]) -> tuple[Srv, ...]:
    """The hosts to ask for addresses, by priority; the place itself if there are no SRV records. UnresolvedName."""
    if not srvs:
        return (Srv(0, 0, place.port or PORTS[place.transport], place.host),)
    offered = sorted((each for each in srvs if each.target not in ("", ".")), key=lambda each: each.priority)
    if not offered:
        raise UnresolvedName(
            f"{place.host}: its SRV record says that it offers no SIP over {place.transport}"
        )
    return tuple(offered)


class Resolver:
    """Asks the system's name servers, or ``nameservers`` (address, port)."""

    def __init__(
        self,
        static_hosts: Mapping[str, Sequence[str]],
        *,
        families: Sequence[str] = ("A", "AAAA"),
        timeout_s: float = TIMEOUT_S,
        nameservers: Sequence[tuple[str, int]] = (),
    ) -> None:
        self._static = {name.lower().rstrip("."): tuple(found) for name, found in static_hosts.items()}
        self._families = families
        self._timeout_s = timeout_s
        self._nameservers = nameservers
        self.asked: list[tuple[str, str, int]] = []  # name, type and number of records, to show

    async def addresses(self, place: Place) -> tuple[Address, ...]:
        """All of a place's, in the order of the answers. Raises UnresolvedName."""
        if is_address(place.host) or self._known(place.host):
            return await self._of_host(hosts_of(place, ())[0], place)
        try:
            async with asyncio.timeout(self._timeout_s):
                hosts = await self._hosts(place)
                found = [await self._of_host(host, place) for host in hosts]
        except (TimeoutError, dns.resolver.LifetimeTimeout):
            raise UnresolvedName(f"{place.host}: no answer from DNS within {self._timeout_s:g} s") from None
        addresses = tuple(dict.fromkeys(each for group in found for each in group))
        if not addresses:
            names = ", ".join(dict.fromkeys(host.target for host in hosts))
            raise UnresolvedName(
                f"{place.host}: DNS knows no {' or '.join(self._families)} record of {names}"
            )
        return addresses

    def _known(self, host: str) -> tuple[str, ...]:
        return self._static.get(host.lower().rstrip("."), ())

    async def _hosts(self, place: Place) -> tuple[Srv, ...]:
        if place.port or not place.srv:  # RFC 3263 section 4.2: a port says that no SRV is wanted
            return hosts_of(place, ())
        naptrs = [
            Naptr(
                each.order, each.preference, _text(each.flags), _text(each.service), _name(each.replacement)
            )
            for each in await self._ask(place.host, "NAPTR")
        ]
        srvs = [
            Srv(each.priority, each.weight, each.port, _name(each.target))
            for each in await self._ask(srv_name(place, naptrs), "SRV")
        ]
        return hosts_of(place, srvs)

    async def _of_host(self, host: Srv, place: Place) -> tuple[Address, ...]:
        if is_address(host.target):
            found: list[str] = [host.target]
        elif known := self._known(host.target):
            found = list(known)
        else:
            found = [
                each.address for family in self._families for each in await self._ask(host.target, family)
            ]
        # the name that was asked for, not one that DNS led to (RFC 5922 section 4)
        tls_name = place.host if place.transport == "tls" and not is_address(place.host) else ""
        return tuple(
            Address(host.target, each, host.port, place.transport, host.priority, host.weight, tls_name)
            for each in found
        )

    async def _ask(self, name: str, kind: str) -> list[Any]:
        """The records; none is an empty list, and so is a name that does not exist."""
        try:
            resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            if self._nameservers:
                resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(address, port) for address, port in self._nameservers
                ]
            found = list(await resolver.resolve(name, kind, lifetime=self._timeout_s, search=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            found = []
        except dns.resolver.LifetimeTimeout:
            raise
        except dns.exception.DNSException as error:
            raise UnresolvedName(f"{name}: DNS query for {kind} failed: {error}") from None
        self.asked.append((name, kind, len(found)))
        return found


def _text(value: bytes | str) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _name(value: Any) -> str:
    """Without the root's dot, but for the root itself."""
    return str(value).rstrip(".") or "."


def static_hosts_of(trunk: Trunk) -> dict[str, list[str]]:
    """What the trunk file says of names, as ``Resolver`` takes it."""
    return {name: [str(each) for each in hosts] for name, hosts in trunk.static_hosts.items()}


async def resolve_trunks(
    trunks: Sequence[Trunk],
    *,
    bind: str = "",
    nameservers: Sequence[tuple[str, int]] = (),
) -> tuple[dict[str, tuple[Address, ...]], dict[str, str]]:
    """Addresses of every enabled trunk that calls go out on, and what went wrong by trunk name.

    Outbound proxies in the order of the file stand for the domain if there are any. ``bind`` is the address of trunks
    without one: names lead to addresses of the same family.
    """
    wanted = [each for each in trunks if each.enabled and each.direction != "inbound"]
    found = await asyncio.gather(*(_of_trunk(each, bind, nameservers) for each in wanted))
    faults = {trunk.name: fault for trunk, (_, fault) in zip(wanted, found, strict=True) if fault}
    return {trunk.name: each for trunk, (each, _) in zip(wanted, found, strict=True)}, faults


async def _of_trunk(
    trunk: Trunk, bind: str, nameservers: Sequence[tuple[str, int]]
) -> tuple[tuple[Address, ...], str]:
    resolver = Resolver(static_hosts_of(trunk), families=(family_of(trunk, bind),), nameservers=nameservers)
    addresses: dict[str, Address] = {}
    faults = []
    for rank, text in enumerate(trunk.outbound_proxies or ((trunk.domain,) if trunk.domain else ())):
        try:
            for each in await resolver.addresses(parse_place(text, trunk.transport, srv=trunk.srv)):
                # a proxy further down the list is tried after all addresses of those before it
                ranked = replace(
                    each, priority=each.priority + rank * 65536, tls_name=trunk.tls_name or each.tls_name
                )
                addresses.setdefault(each.label, ranked)
        except (UnresolvedName, ValueError) as error:
            faults.append(str(error))
    return tuple(addresses.values()), "; ".join(faults)
