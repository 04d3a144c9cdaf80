"""How often something may happen: token buckets in a table of bounded size. No I/O; ``now`` in seconds.

A bucket that was not touched for long is full again, which is what an absent one is: the ones forgotten first when
the table is full are those.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

KEYS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` at once, then ``per_s`` a second."""

    per_s: float
    burst: float


def rate_of(per_s: float) -> Rate:
    """What the setting http.rate_per_s means."""
    return Rate(per_s, max(1.0, 4 * per_s))


class Buckets:
    """One bucket for each key."""

    def __init__(self, rate: Rate, keys_max: int = KEYS_MAX) -> None:
        self._rate = rate
        self._keys_max = keys_max
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # left, at

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable, now: float) -> float:
        """Seconds until it may happen; 0: it may now, and has."""
        left = self._left(key, now)
        may = left >= 1.0
        self._buckets[key] = (left - 1.0 if may else left, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._keys_max:
            self._buckets.popitem(last=False)
        return 0.0 if may else (1.0 - left) / self._rate.per_s

    def _left(self, key: Hashable, now: float) -> float:
        left, at = self._buckets.get(key, (self._rate.burst, now))
        return min(self._rate.burst, left + max(0.0, now - at) * self._rate.per_s)


def network_of(host: str) -> str:
    """Whom a source address stands for: itself, or the /64 that one IPv6 customer has."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return host
