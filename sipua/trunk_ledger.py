"""What trunks report, turned into the storage package's facts. Nothing here blocks (see ``sipua.ledger``).

The history is written change by change; the state after each change is kept beside it, one row per process, target and
aspect. Changes carry times of the monotonic clock and may be reported some time after they happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

from sipua.ledger import Writer
from sipua.ports import Moment
from sipua.trunks.registration import Changed
from sipua.trunks.watch import HealthChange, HealthView
from storage.trunk_facts import TargetsWatched, TrunkChange, TrunkState
from storage.words import TrunkAspect


class TrunkLedger:
    """``sipua.ports.TrunkLedger`` of one process; ``identity`` as for ``sipua.ledger.Ledger``."""

    def __init__(self, writer: Writer, identity: Mapping[str, Any]) -> None:
        self._writer = writer
        self._process: dict[str, Any] = {"node": identity["node"], "worker": identity["worker"]}
        self._instance = UUID(identity["instance"])

    def watching(self, trunk: str, addresses: Sequence[str]) -> None:
        """What a trunk consists of from now on; states of other addresses go. No addresses: the trunk is no more.

        Changes that were not reported yet come before.
        """
        targets = ("", *addresses) if addresses else ()
        self._writer.put((TargetsWatched(**self._process, trunk=trunk, targets=targets),))

    def health_changed(self, change: HealthChange, at: Moment) -> None:
        """A change and the state after it; ``at`` is now."""
        what = cast(TrunkAspect, change.what)
        target = change.key.trunk, change.key.address
        self._changed(target, what, change.before, change.after, change.why, change.at, at)

    def registration_changed(self, trunk: str, account: str, change: Changed, at: Moment) -> None:
        """A step of one account's registration; ``at`` is now."""
        before, after = change.before.value, change.after.value
        self._changed((trunk, account), "registration", before, after, change.why, change.at, at)

    def health_seen(self, views: Sequence[HealthView], at: Moment) -> None:
        """How everything stands now: what never changed, and the latency of the last answers."""
        states = tuple(state for view in views for state in self._states(view, at.wall))
        self._writer.put(states)

    def _changed(
        self, target: tuple[str, str], what: TrunkAspect, before: str, after: str, why: str, when: float, at: Moment
    ) -> None:  # fmt: skip
        of = {**self._of(*target), "what": what}
        then = at.wall - timedelta(seconds=at.monotonic - when)
        self._writer.put(
            (
                TrunkChange(**of, id=uuid4(), at=then, before=before, after=after, why=why),
                TrunkState(**of, state=after, seen_at=at.wall, why=why, changed_at=then),
            )
        )

    def _states(self, view: HealthView, when: datetime) -> list[TrunkState]:
        of = self._of(view.key.trunk, view.key.address)
        states = [TrunkState(**of, what="breaker", state=view.breaker.value, seen_at=when)]
        if view.key.address:  # the trunk as a whole is not probed
            latency_ms = None if view.latency_s is None else round(view.latency_s * 1000, 1)
            states.append(
                TrunkState(**of, what="probe", state=view.probe.value, seen_at=when, latency_ms=latency_ms)
            )
        return states

    def _of(self, trunk: str, target: str) -> dict[str, Any]:
        return {**self._process, "instance": self._instance, "trunk": trunk, "target": target}
