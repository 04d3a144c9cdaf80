"""Which address of ours a trunk's far end is told, where it is not a fixed one. No I/O, no clock.

Three sources: the local address that the kernel would send from towards the trunk; what a STUN server sees (RFC 8489);
what the trunk itself sees and says in ``received`` of the Via that it returns (RFC 3261 section 18.2.1). The last
counts most, since it is that trunk's view. A network with several ways out may show us under several addresses: a new
one counts once it was seen twice in a row, or at once where nothing was known or our own address has changed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

_SENT_BY = re.compile(r"^SIP\s*/\s*2\.0\s*/\s*\w+\s+(\[[^\]]+\]|[^\s;:]+)")
_RECEIVED = re.compile(r";\s*received\s*=\s*\[?([0-9A-Fa-f:.]+)\]?", re.I)
TIMES_SEEN = 2


class Kind(Enum):
    """Where the address of a trunk comes from."""

    LOCAL = "local"  # the kernel's choice: we listen on all addresses
    PUBLIC = "public"  # public_ip = "auto"


@dataclass(slots=True)
class _Seen:
    """What one source says: the value that counts, and one that was seen since."""

    value: str = ""
    other: str = ""
    times: int = 0
    is_doubtful: bool = False  # our own address has changed since

    def observe(self, address: str) -> None:
        if address == self.value:
            self.other, self.times, self.is_doubtful = "", 0, False
            return
        self.times = self.times + 1 if address == self.other else 1
        self.other = address
        if not self.value or self.is_doubtful or self.times >= TIMES_SEEN:
            self.value, self.other, self.times, self.is_doubtful = address, "", 0, False


class Reflexive:
    """One process. ``follow`` names the trunks; every observation returns those whose address is another one now."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}
        self._local: dict[str, str] = {}
        self._via: dict[str, _Seen] = {}
        self._stun = _Seen()

    def follow(self, kinds: Mapping[str, Kind]) -> None:
        """These from now on; what is known of them stays."""
        self._kinds = dict(kinds)
        for known in (self._local, self._via):
            for trunk in set(known) - set(kinds):
                del known[trunk]

    def address(self, trunk: str) -> str:
        """What the trunk is told; "" as long as nothing is known, and for one that is not followed."""
        if trunk not in self._kinds:
            return ""
        local = self._local.get(trunk, "")
        if self._kinds[trunk] is Kind.LOCAL:
            return local
        via = self._via.get(trunk)
        return (via.value if via is not None else "") or self._stun.value or local

    def local(self, trunk: str, address: str) -> set[str]:
        """The kernel would send from here towards the trunk."""
        before = self._addresses()
        if self._local.get(trunk, "") not in ("", address):
            self._stun.is_doubtful = True
            for seen in self._via.values():
                seen.is_doubtful = True
        self._local[trunk] = address
        return self._changed(before)

    def via(self, trunk: str, address: str) -> set[str]:
        """The trunk saw a request of ours come from here."""
        before = self._addresses()
        self._via.setdefault(trunk, _Seen()).observe(address)
        return self._changed(before)

    def stun(self, address: str) -> set[str]:
        """A STUN server saw us here."""
        before = self._addresses()
        self._stun.observe(address)
        return self._changed(before)

    def _addresses(self) -> dict[str, str]:
        return {trunk: self.address(trunk) for trunk in self._kinds}

    def _changed(self, before: Mapping[str, str]) -> set[str]:
        return {trunk for trunk, address in self._addresses().items() if address != before[trunk]}


def seen_from(headers: Mapping[str, tuple[str, ...]]) -> str:
    """The address that the far end saw, by the topmost Via of its answer; "" if that does not tell."""
    via = headers.get("via", ("",))[0]
    received, sent_by = _RECEIVED.search(via), _SENT_BY.match(via)
    # without ``received`` it saw what we had written there
    text = received[1] if received else sent_by[1].strip("[]") if sent_by else ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    return "" if address.is_unspecified or address.is_multicast else str(address)
