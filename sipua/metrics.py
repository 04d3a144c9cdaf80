"""Prometheus metrics, prefix ``sipua_``, one registry per process object (nothing is module-global).

Names follow Prometheus' conventions: base units, ``_total`` for counters. ``node``, ``worker`` and ``instance`` stand
once, in ``sipua_process_info``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from sipua.fleet_view import TrunkView
from sipua.ports import AttemptMade
from sipua.trunks.watch import Breaker

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.4, 4.0, 8.0)


class Metrics:
    """All metrics of one process."""

    def __init__(self, *, node: str, worker: int, instance: str, version: str) -> None:
        registry = self.registry = CollectorRegistry()
        self.process_info = Gauge(
            "sipua_process_info",
            "Identity of this process",
            ["node", "worker", "instance", "version"],
            registry=registry,
        )
        self.process_info.labels(node, str(worker), instance, version).set(1)
        self.calls_active = Gauge("sipua_calls_active", "Calls that are up or ringing", registry=registry)
        self.calls = Counter(
            "sipua_calls",
            "Calls by how they ended",
            ["direction", "trunk", "status", "reason"],
            registry=registry,
        )
        self.rejected = Counter(
            "sipua_invites_rejected",
            "INVITEs refused before they became calls",
            ["code", "by"],
            registry=registry,
        )
        self.rejected_requests = Counter(
            "sipua_requests_rejected",
            "Requests of strangers, other than INVITE, that were refused; method is other for what RFCs do not name",
            ["code", "method"],
            registry=registry,
        )
        self.setup_seconds = Histogram(
            "sipua_call_setup_seconds", "INVITE received to 200 sent", buckets=_SECONDS, registry=registry
        )
        self.first_audio_seconds = Histogram(
            "sipua_first_assistant_audio_seconds",
            "200 sent to first assistant RTP",
            buckets=_SECONDS,
            registry=registry,
        )
        self.realtime_errors = Counter(
            "sipua_realtime_errors", "Errors of the voice service", ["reason"], registry=registry
        )
        self.rtp_packets = Counter("sipua_rtp_packets", "RTP packets", ["direction"], registry=registry)
        self.rtp_lost = Counter("sipua_rtp_packets_lost", "RTP packets that never came", registry=registry)
        self.rtp_dropped = Counter(
            "sipua_rtp_packets_dropped", "RTP packets dropped, by why", ["kind"], registry=registry
        )
        self.pacer_late_max = Gauge(
            "sipua_rtp_pacer_lateness_max_seconds", "Latest 20 ms tick since the start", registry=registry
        )
        self.pacer_ticks_skipped = Gauge(
            "sipua_rtp_pacer_ticks_skipped", "20 ms ticks given up after a stall", registry=registry
        )
        self.trunk_up = Gauge(
            "sipua_trunk_up",
            "1 if the trunk may be used now (calls out; calls in where none go out)",
            ["trunk"],
            registry=registry,
        )
        self.trunk_calls = Gauge(
            "sipua_trunk_calls", "Calls on the trunk, both directions", ["trunk"], registry=registry
        )
        self.trunk_registered = Gauge(
            "sipua_trunk_registered",
            "1 while a registrar holds a binding of ours",
            ["trunk"],
            registry=registry,
        )
        self.trunk_alerts = Counter(
            "sipua_trunk_alerts", "Faults that somebody must mend", ["trunk", "reason"], registry=registry
        )
        self.target_up = Gauge(
            "sipua_trunk_target_up",
            "1 if calls may go to this address",
            ["trunk", "target"],
            registry=registry,
        )
        self.options_seconds = Gauge(
            "sipua_trunk_options_latency_seconds",
            "Latest answer to OPTIONS",
            ["trunk", "target"],
            registry=registry,
        )
        self.breaker = Gauge(
            "sipua_trunk_breaker_state",
            "1 for the state the circuit breaker is in; target is empty for the trunk's own",
            ["trunk", "target", "state"],
            registry=registry,
        )
        self.attempts = Counter(
            "sipua_outbound_attempts",
            "INVITEs of ours by what came of them; code 0: no final response",
            ["trunk", "code", "decision"],
            registry=registry,
        )
        self.ledger_queued = Gauge(
            "sipua_ledger_queue_facts", "Facts waiting for the database", registry=registry
        )
        self.ledger_written = Gauge(
            "sipua_ledger_facts_written", "Facts written since the start", registry=registry
        )
        self.ledger_dropped = Gauge(
            "sipua_ledger_facts_dropped",
            "Facts lost since the start: queue full, or refused",
            registry=registry,
        )

    def count_attempt(self, made: AttemptMade) -> None:
        """One INVITE of an outbound call, at its end."""
        self.attempts.labels(made.trunk, str(made.code), made.decision).inc()

    def show_trunks(self, views: Sequence[TrunkView]) -> None:
        """How the trunks stand; what is not among them is shown no more."""
        by_trunk = self.trunk_up, self.trunk_calls, self.trunk_registered
        for each in (*by_trunk, self.target_up, self.options_seconds, self.breaker):
            each.clear()
        for view in views:
            name = view.trunk.name
            self.trunk_up.labels(name).set(view.state == "up")
            self.trunk_calls.labels(name).set(view.calls_up)
            for _, registration in view.registrations:
                self.trunk_registered.labels(name).set(registration.expires_in_s is not None)
            for target in view.entries():
                for state in Breaker:
                    self.breaker.labels(name, target.address, state.value).set(target.breaker is state)
            for target in view.targets:
                self.target_up.labels(name, target.address).set(not target.why_not)
                if target.latency_s is not None:
                    self.options_seconds.labels(name, target.address).set(target.latency_s)

    def count_rtp(self, counters: Mapping[str, float], dropped: Mapping[str, int]) -> None:
        """The media of a call that is over."""
        self.rtp_packets.labels("sent").inc(counters["sent"])
        self.rtp_packets.labels("received").inc(counters["received"])
        self.rtp_lost.inc(max(0.0, counters["lost"]))  # duplicates can make it negative (RFC 3550 A.3)
        for kind, count in dropped.items():
            self.rtp_dropped.labels(kind).inc(count)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
