"""How the trunks stand, as plain values: for ``sipua trunks``, ``sipua trunk ping`` and the metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sipua.ports import Moment
from sipua.prober import Pong
from sipua.trunk import Trunk
from sipua.trunks.registration import RegistrationView
from sipua.trunks.routing import NO_ADDRESS, Address, Route
from sipua.trunks.watch import Breaker, HealthView, Probe

State = Literal["up", "down", "disabled"]


@dataclass(frozen=True, slots=True)
class TargetView:
    """One address of a trunk, or what all its addresses share."""

    address: str
    why_not: str
    probe: Probe
    breaker: Breaker
    changed_at: datetime | None
    latency_s: float | None
    code: int

    @classmethod
    def of(cls, health: HealthView, now: Moment) -> TargetView:
        changed_at = None if health.changed_at is None else now.at(health.changed_at).wall
        return cls(
            health.key.address, health.why_not, health.probe, health.breaker, changed_at, health.latency_s,
            health.last_code,
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        return {
            "target": self.address,
            "state": "down" if self.why_not else "up",
            "why": self.why_not,
            "probe": self.probe.value,
            "breaker": self.breaker.value,
            "changed_at": None if self.changed_at is None else self.changed_at.isoformat(timespec="seconds"),
            "options_ms": None if self.latency_s is None else round(self.latency_s * 1000, 1),
            "options_code": self.code or None,
        }


@dataclass(frozen=True, slots=True)
class TrunkView:
    """One trunk. ``own`` and ``targets`` are for calls that go out; ``fault`` is what DNS said last."""

    trunk: Trunk
    own: TargetView | None
    targets: tuple[TargetView, ...]
    registrations: tuple[tuple[str, RegistrationView], ...]
    fault: str
    calls_up: int

    @property
    def state(self) -> State:
        """Up: calls may go out on it, or come in where none go out."""
        return "disabled" if not self.trunk.enabled else "down" if self.why else "up"

    @property
    def why(self) -> str:
        """Why it is not up."""
        if self.own is None:  # calls only come in
            unbound = [view for _, view in self.registrations if view.expires_in_s is None]
            return f"not registered: {unbound[0].phase.value} ({unbound[0].why})" if unbound else ""
        if self.own.why_not:
            return self.own.why_not
        if not self.targets:
            return f"no address{f': {self.fault}' if self.fault else ''}"
        reasons = [each.why_not for each in self.targets]
        return reasons[0] if all(reasons) else ""

    @property
    def changed_at(self) -> datetime | None:
        """When its state or that of a target changed last."""
        found = [each.changed_at for each in self.entries() if each.changed_at is not None]
        return max(found, default=None)

    def entries(self) -> Iterator[TargetView]:
        """The targets, and what all share."""
        yield from self.targets
        if self.own is not None:
            yield self.own

    def as_dict(self) -> dict[str, Any]:
        return {
            "trunk": self.trunk.name,
            "provider": self.trunk.provider,
            "kind": self.trunk.kind,
            "direction": self.trunk.direction,
            "priority": self.trunk.priority,
            "state": self.state,
            "why": self.why,
            "changed_at": None if self.changed_at is None else self.changed_at.isoformat(timespec="seconds"),
            "breaker": None if self.own is None else self.own.breaker.value,
            "calls": self.calls_up,
            "max_channels": self.trunk.max_channels,
            "dns": self.fault,
            "targets": [each.as_dict() for each in self.targets],
            "registrations": [_registration(name, view) for name, view in self.registrations],
        }


def _registration(account: str, view: RegistrationView) -> dict[str, Any]:
    return {
        "account": account,
        "state": view.phase.value,
        "registered": view.expires_in_s is not None,
        "why": view.why,
        "expires_in_s": None if view.expires_in_s is None else round(view.expires_in_s),
        "next_in_s": None if view.next_in_s is None else round(view.next_in_s),
        "failures": view.failures,
    }


@dataclass(frozen=True, slots=True)
class PingView:
    """What an OPTIONS to one target brought: ``code`` 0 is nothing, and ``why``."""

    address: str
    host: str
    code: int
    ms: float
    why: str

    @classmethod
    def of(cls, place: Address, pong: Pong) -> PingView:
        return cls(place.label, place.host, pong.code, round(pong.seconds * 1000, 1), pong.why)

    def as_dict(self) -> dict[str, Any]:
        return {
            "target": self.address, "host": self.host, "code": self.code or None, "ms": self.ms, "why": self.why,
        }  # fmt: skip


def route_document(route: Route, faults: Mapping[str, str]) -> dict[str, Any]:
    """For ``sipua route``: the targets in their order, and why the others are none.

    ``faults`` are those of DNS, by trunk: told where they are the reason.
    """
    rejected = []
    for each in route.rejected:
        fault = faults.get(each.trunk, "") if each.reason == NO_ADDRESS else ""
        reason = f"{each.reason} ({fault})" if fault else each.reason
        rejected.append({"trunk": each.trunk, "address": each.address, "reason": reason})
    targets = [
        {
            "trunk": each.trunk,
            "address": each.to.label,
            "host": each.to.host,
            "to_user": each.dialled.to_user,
            "from_user": each.dialled.from_user,
            "why": each.why,
        }
        for each in route.targets
    ]
    return {"to": route.to_e164, "targets": targets, "rejected": rejected}
