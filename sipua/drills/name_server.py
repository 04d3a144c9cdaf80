"""A DNS server on loopback that answers from a table, for drills of names and for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

# (name, type) → records in zone-file text; an rcode ("SERVFAIL"); "silence"
Zone = Mapping[tuple[str, str], Sequence[str] | str]


class NameServer(asyncio.DatagramProtocol):
    """UDP only. A name without any record does not exist. ``asked`` holds (name, type) in order."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self.asked: list[tuple[str, str]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = str(question.name).rstrip("."), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        found = self._zone.get((name, kind), ())
        if found == "silence":
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if isinstance(found, str):
            response.set_rcode(dns.rcode.from_text(found))
        elif found:
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
        elif not any(each == name for each, _ in self._zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(), addr)


async def start_name_server(zone: Zone) -> NameServer:
    """Close its transport in the end."""
    _, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(zone), local_addr=("127.0.0.1", 0)
    )
    return server
