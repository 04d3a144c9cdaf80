"""Which address of ours a test call is sent from: the one that the kernel chooses towards its targets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

from sipua.errors import LocalError
from sipua.media_ports import local_address_towards
from sipua.sip_message import is_address, parse_uri
from sipua.trunks.routing import Address


def bind_address(addresses: Mapping[str, tuple[Address, ...]]) -> str:
    """The local address that leads to all of them; all of ours if there is no such one."""
    local = set()
    for each in (address for group in addresses.values() for address in group):
        try:
            local.add(local_address_towards(each.address))
        except OSError:
            continue  # its attempt will say so
    return local.pop() if len(local) == 1 else "0.0.0.0"


async def source_address(uri: str) -> str:
    """The local address that the target is reached from."""
    target = parse_uri(uri)
    if target is None or not target.host:
        raise LocalError(f"{uri!r} is not a SIP URI; expected sip:user@host[:port]")
    host = target.host.strip("[]")
    if not is_address(host):
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, 5060, type=socket.SOCK_DGRAM)
        except socket.gaierror as error:
            raise LocalError(f"{uri}: the host {host} cannot be resolved: {error.strerror}") from None
        host = str(found[0][4][0])
    try:
        return local_address_towards(host)
    except OSError as error:
        raise LocalError(f"{uri}: no route to {host}: {error.strerror}") from None
