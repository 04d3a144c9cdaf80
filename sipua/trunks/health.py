"""Which targets may be used now, and why not: from OPTIONS, registration and the outcomes of real INVITEs.

A target is one address of a trunk; the key with the address "" is the trunk itself (registration, and a breaker for
what all its addresses share, such as our credentials). A target may be used if both may. No I/O, no clock.

The prober sends to ``due(now)``, reports, and sleeps until ``next_event_at(now)``. An outbound call asks ``begin``
right before each INVITE and reports each outcome. Mutate, then ``history.drain()`` for the database.
"""

from __future__ import annotations

import random

from sipua.trunks.policy import Blame, Decision
from sipua.trunks.watch import HealthRules, HealthView, History, Key, Watch


class Health:
    """All entries of a process."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._entries: dict[Key, Watch] = {}
        self.history = History()

    def watch(self, trunk: str, rules: HealthRules, addresses: tuple[str, ...], now: float) -> None:
        """(Re)defines a trunk: known addresses keep their state, missing ones are forgotten, probes are spread."""
        wanted = {Key(trunk, address) for address in ("", *addresses)}
        for key in [key for key in self._entries if key.trunk == trunk and key not in wanted]:
            del self._entries[key]
        for key in sorted(wanted):
            if key in self._entries:
                self._entries[key].rules = rules
            else:
                first = now + self._rng.uniform(0.0, min(rules.options_interval_s, 5.0))
                self._entries[key] = Watch(key, rules, self.history, first)

    def forget(self, trunk: str) -> None:
        """A trunk that is no more."""
        for key in [key for key in self._entries if key.trunk == trunk]:
            del self._entries[key]

    # ---- the prober --------------------------------------------------------------------------------------

    def due(self, now: float) -> tuple[Key, ...]:
        """Targets to send OPTIONS to now; counts the probes that got no answer in time."""
        found = []
        for key, watch in self._entries.items():
            if watch.sent_at is not None and now >= watch.sent_at + watch.rules.options_timeout_s:
                watch.sent_at = None
                watch.probe_missed(now, "OPTIONS unanswered")
            probing = key.address and watch.rules.options_interval_s
            if probing and watch.sent_at is None and now >= watch.next_probe_at:
                watch.probe_sent(now)
                found.append(key)
        return tuple(found)

    def options_answered(self, key: Key, now: float, code: int, retry_after_s: float = 0.0) -> None:
        """An answer to the last OPTIONS; one that came after its time-out counts for nothing."""
        watch = self._entries.get(key)
        if watch is None or watch.sent_at is None:
            return
        watch.latency_s, watch.last_code, watch.sent_at = now - watch.sent_at, code, None
        if code in watch.rules.ok_codes:
            watch.probe_answered(now)
        else:
            watch.probe_missed(now, f"OPTIONS {code}")
            if code == 503:
                watch.leave_alone(now, retry_after_s, "OPTIONS 503 with Retry-After")

    def options_failed(self, key: Key, now: float, why: str) -> None:
        """The OPTIONS could not be sent: refused, no name, TLS."""
        watch = self._entries.get(key)
        if watch is not None and watch.sent_at is not None:
            watch.sent_at = None
            watch.probe_missed(now, why)

    def next_event_at(self, now: float) -> float | None:
        """When to call ``due`` next."""
        return min(
            (at for each in self._entries.values() if (at := each.next_event_at(now)) is not None),
            default=None,
        )

    # ---- registration and calls --------------------------------------------------------------------------

    def registration(self, trunk: str, now: float, why_not: str) -> None:
        """``why_not`` is "" while the trunk is registered. Trunks that need no registration are never reported."""
        for watch in self._both(Key(trunk)):
            watch.registration(now, why_not)

    def why_not(self, key: Key, now: float) -> str:
        """Empty if a call may go to this target (or, with the address "", if the trunk may be used at all)."""
        return next((why for each in self._both(key) if (why := each.why_not(now))), "")

    def begin(self, key: Key, now: float, call: str) -> str:
        """Right before an INVITE: takes the trial place of a half-open breaker. Not empty: do not send, and why."""
        why = self.why_not(key, now)
        for watch in () if why else self._both(key):
            watch.begin(now, call)
        return why

    def progressed(self, key: Key, now: float, call: str) -> None:
        """The callee rings: the target works, and a trial need not wait for the end of the call."""
        for watch in self._both(key):
            watch.worked(now, call, "ringing")

    def report(self, key: Key, now: float, call: str, decision: Decision) -> None:
        """The outcome of an INVITE that ``begin`` let through. What is blamed on one says nothing of the other."""
        of_target = decision.blame in (Blame.COUNT, Blame.OPEN)
        of_trunk = decision.blame is Blame.OPEN_TRUNK
        for watch in self._both(key):
            if decision.blame is Blame.CLEAR:
                watch.worked(now, call, decision.reason)
            elif of_trunk and not watch.key.address:
                hold_s = watch.rules.fault_hold_down_s
                watch.failed(now, call, decision.reason, at_once=True, hold_s=hold_s)
            elif of_target and watch.key.address:
                at_once = decision.blame is Blame.OPEN
                watch.failed(now, call, decision.reason, at_once=at_once, hold_s=watch.rules.hold_down_s)
                watch.leave_alone(now, decision.leave_alone_s, f"{decision.reason} with Retry-After")
            else:
                watch.inconclusive(call)

    def _both(self, key: Key) -> tuple[Watch, ...]:
        """The entries that have a say: the trunk's and the address's. Unknown ones have none."""
        return tuple(
            self._entries[each] for each in dict.fromkeys((Key(key.trunk), key)) if each in self._entries
        )

    # ---- to look at --------------------------------------------------------------------------------------

    def views(self, now: float) -> tuple[HealthView, ...]:
        """For ``sipua trunks``, sorted."""
        return tuple(self._entries[key].view(now) for key in sorted(self._entries))
