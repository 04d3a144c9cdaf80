"""Where a 3xx of a carrier may lead: to what the trunk reaches, and to numbers that may be dialled on it."""

from __future__ import annotations

from sipua.errors import RemoteError
from sipua.resolve import Resolver, parse_place, static_hosts_of
from sipua.sip_message import parse_uri
from sipua.trunk import Trunk
from sipua.trunk_rules import number_plan_of
from sipua.trunks.numbers import NumberError, check_redirect
from sipua.trunks.routing import Address


class RefusedRedirect(RemoteError):
    """A Contact that is not followed; names it and why."""

    reason = "redirect_refused"


async def redirected_to(contact: str, trunk: Trunk, sender: Address) -> Address:
    """The first address of the Contact of a 3xx that ``sender`` gave. Raises RefusedRedirect, UnresolvedName."""
    uri = parse_uri(contact)
    if uri is None or uri.scheme != "sip":  # never less protected than it was asked to be
        where = "what is no URI" if uri is None else f"a {uri.scheme}: URI at {uri.host}"
        raise RefusedRedirect(f"trunk {trunk.name}: redirected to {where}; allowed: sip: URIs")
    try:
        check_redirect(number_plan_of(trunk), uri.user)
        text = f"{uri.host}:{uri.port}" if uri.port else uri.host
        place = parse_place(text, trunk.transport, srv=trunk.srv)
    except (NumberError, ValueError) as error:
        raise RefusedRedirect(f"trunk {trunk.name}: redirected to where it may not lead: {error}") from None
    # the transport that the call goes out on is of this family
    families = ("AAAA" if ":" in sender.address else "A",)
    return (await Resolver(static_hosts_of(trunk), families=families).addresses(place))[0]
