"""How many calls a trunk carries at once and how many it may begin per second, behind a port.

``Capacity`` is what the router and the outbound calls need; several workers can share another implementation of it.
``LocalCapacity`` counts in this process: a set of calls per trunk and a token bucket without a clock. A call takes
its place on a trunk once, however many addresses of that trunk it tries: an INVITE that was refused by a dead address
never reached the carrier that counts, and must not keep the call from the next address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one trunk; 0 is unlimited. Twilio begins with one call per second."""

    max_channels: int = 0
    cps: float = 0.0


class Capacity(Protocol):
    """``why_full`` and ``take`` return "" if there is room, else the reason."""

    def why_full(self, trunk: str, limits: Limits, now: float) -> str:
        """A look, for the router; nothing is taken."""

    def take(self, trunk: str, limits: Limits, call: str, now: float) -> str:
        """A channel and a token for this call, unless it has them already."""

    def release(self, trunk: str, call: str) -> None:
        """The call has left the trunk; unknown ones are ignored."""


class LocalCapacity:
    """For one process."""

    def __init__(self) -> None:
        self._calls: dict[str, set[str]] = {}
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when they were counted

    def calls_up(self, trunk: str) -> int:
        """For ``sipua trunks``."""
        return len(self._calls.get(trunk, ()))

    def why_full(self, trunk: str, limits: Limits, now: float) -> str:
        if limits.max_channels and self.calls_up(trunk) >= limits.max_channels:
            return f"all {limits.max_channels} channels are in use"
        if limits.cps and self._tokens(trunk, limits, now) < 1.0:
            return f"more than {limits.cps:g} new calls per second"
        return ""

    def take(self, trunk: str, limits: Limits, call: str, now: float) -> str:
        if call in self._calls.get(trunk, ()):
            return ""
        why = self.why_full(trunk, limits, now)
        if not why:
            self.occupy(trunk, call)
            if limits.cps:
                self._buckets[trunk] = self._tokens(trunk, limits, now) - 1.0, now
        return why

    def occupy(self, trunk: str, call: str) -> None:
        """A call is on the trunk, whatever the limits: an inbound one, which is refused elsewhere."""
        self._calls.setdefault(trunk, set()).add(call)

    def release(self, trunk: str, call: str) -> None:
        self._calls.get(trunk, set()).discard(call)

    def _tokens(self, trunk: str, limits: Limits, now: float) -> float:
        size = max(1.0, limits.cps)
        tokens, at = self._buckets.get(trunk, (size, now))
        return min(size, tokens + max(0.0, now - at) * limits.cps)
