"""Where names are that the SIP side meets on its way: a registrar, a Contact, a Record-Route.

``static_hosts`` of the enabled trunks come first, then DNS as RFC 3263 has it. Targets of calls are not looked up here:
the fleet resolves them and every request names the address it is meant for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sipua.resolve import Place, Resolver, UnresolvedName
from sipua.trunk import Trunk

log = logging.getLogger(__name__)


class Names:
    """``family`` is that of the local address: A or AAAA."""

    def __init__(
        self, family: str, trunks: Sequence[Trunk], *, nameservers: Sequence[tuple[str, int]] = ()
    ) -> None:
        self._family = family
        self._nameservers = nameservers
        self.replace(trunks)

    def replace(self, trunks: Sequence[Trunk]) -> None:
        """The trunks in force; of two that name one host the first file counts."""
        self._static: dict[str, tuple[str, ...]] = {}
        for trunk in trunks:
            if trunk.enabled:
                for name, addresses in trunk.static_hosts.items():
                    self._static.setdefault(name, tuple(map(str, addresses)))

    async def find(self, host: str, port: int, transport: str) -> list[tuple[str, int]]:
        """Its addresses and their ports, the preferred first; none if nobody knows it."""
        resolver = Resolver(self._static, families=(self._family,), nameservers=self._nameservers)
        try:
            found = await resolver.addresses(Place(host, port, transport))
        except UnresolvedName as error:
            log.warning("%s", error)
            return []
        return [(each.address, each.port) for each in sorted(found, key=lambda each: each.priority)]
