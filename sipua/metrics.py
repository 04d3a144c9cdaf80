"""Prometheus metrics, prefix ``sipua_``, one registry per process object (nothing is module-global).

Names follow Prometheus' conventions: base units, ``_total`` for counters. ``node``, ``worker`` and ``instance`` stand
once, in ``sipua_process_info``.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from sipua.fleet_view import TrunkView
from sipua.media_figures import MediaFigures
from sipua.ports import AttemptMade
from sipua.trunks.watch import Breaker

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LINE_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
_MOS = (
    1.5,
    2.0,
    2.5,
    3.0,
    3.3,
    3.6,
    3.8,
    4.0,
    4.1,
    4.2,
    4.3,
    4.4,
)  # G.107 Annex B: 3.6 many dissatisfied, 4.3 very good
_BUFFER_KINDS = ("put", "get", "out_of_order", "dup", "late", "lost", "overflow", "flush")
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
        self.tool_calls = Counter(
            "sipua_tool_calls",
            "Tools that models called, by what came of it: ok, error, timeout, ended (with the call)",
            ["tool", "outcome"],
            registry=registry,
        )
        self.tool_seconds = Histogram(
            "sipua_tool_seconds", "From a tool's call to its result or error", ["tool"], registry=registry
        )
        self.callbacks = Counter(
            "sipua_callbacks",
            "Call-back requests that somebody was told of, or could not be: told, failed",
            ["outcome"],
            registry=registry,
        )
        self.realtime_alerts = Counter(
            "sipua_realtime_alerts",
            "Refusals of the voice service that somebody must mend (key, quota, configuration)",
            ["reason"],
            registry=registry,
        )
        self.realtime_sessions = Counter(
            "sipua_realtime_sessions",
            "Voice sessions opened, by why: first, rotation or reconnect",
            ["why"],
            registry=registry,
        )
        self.realtime_outage_seconds = Histogram(
            "sipua_realtime_outage_seconds",
            "A call's voice session lost until another heard the caller",
            buckets=_SECONDS,
            registry=registry,
        )
        self.spent_usd = Counter(
            "sipua_realtime_spent_usd",
            "Cost of the voice service by our prices",
            ["model"],
            registry=registry,
        )
        self.unpriced = Counter(
            "sipua_realtime_unpriced",
            "Responses and transcriptions of models whose price is not known",
            ["model"],
            registry=registry,
        )
        self.spend_caps = Counter(
            "sipua_spend_caps_reached",
            "Calls that a cap has ended: call, caller or day",
            ["cap"],
            registry=registry,
        )
        self.keys_dropped = Counter(
            "sipua_keys_dropped", "Keys that came faster than anybody presses", registry=registry
        )
        self.rtp_packets = Counter("sipua_rtp_packets", "RTP packets", ["direction"], registry=registry)
        self.rtp_lost = Counter("sipua_rtp_packets_lost", "RTP packets that never came", registry=registry)
        self.rtp_dropped = Counter(
            "sipua_rtp_packets_dropped", "RTP packets dropped, by why", ["kind"], registry=registry
        )
        self.rtp_buffer = Counter(
            "sipua_rtp_buffer_packets",
            "What the receive buffer did: put, get, out_of_order, dup, late, lost (given up), overflow, flush",
            ["kind"],
            registry=registry,
        )
        self.far_end_lost = Counter(
            "sipua_rtp_far_end_packets_lost",
            "RTP packets of ours that never came, as the far ends' RTCP reports say",
            ["trunk"],
            registry=registry,
        )
        self.mos = Histogram(
            "sipua_call_mos",
            "MOS-CQE of what we heard in a call (G.107); calls without a packet are not counted",
            ["trunk"],
            buckets=_MOS,
            registry=registry,
        )
        self.jitter_seconds = Histogram(
            "sipua_rtp_jitter_seconds",
            "Interarrival jitter of what we heard at the end of a call (RFC 3550)",
            ["trunk"],
            buckets=_LINE_SECONDS,
            registry=registry,
        )
        self.round_trip_seconds = Histogram(
            "sipua_rtp_round_trip_seconds",
            "Round trip by the last RTCP report of a call; calls without any are not counted",
            ["trunk"],
            buckets=_LINE_SECONDS,
            registry=registry,
        )
        self.pacer_late_max = Gauge(
            "sipua_rtp_pacer_lateness_max_seconds", "Latest 20 ms tick since the start", registry=registry
        )
        self.pacer_ticks_skipped = Gauge(
            "sipua_rtp_pacer_ticks_skipped", "20 ms ticks given up after a stall", registry=registry
        )
        self.consents = Counter(
            "sipua_consents",
            "Answers to the consent question; result is yes, no or none, channel voice, dtmf or none",
            ["result", "channel"],
            registry=registry,
        )
        self.answered_by = Counter(
            "sipua_answered_by",
            "Who took the calls that we placed, as far as could be told: person, machine or unsure",
            ["by"],
            registry=registry,
        )
        self.recordings_active = Gauge(
            "sipua_recordings_active", "Recordings being written", registry=registry
        )
        self.recordings = Counter(
            "sipua_recordings",
            "Recordings by what became of them: kept, deleted (consent withdrawn), failed (ended early)",
            ["outcome"],
            registry=registry,
        )
        self.recording_errors = Counter(
            "sipua_recording_errors",
            "Faults of recordings: disk_full, write_failed, disk_slow, spool_full, recording_store, unreadable",
            ["reason"],
            registry=registry,
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
        self.ledger_lag = Gauge(
            "sipua_ledger_lag_seconds",
            "Age of the oldest fact that waits for the database",
            registry=registry,
        )
        self.spool_bytes = Gauge(
            "sipua_ledger_spool_bytes", "Size of this process's spool on disk", registry=registry
        )
        self.spool_groups = Gauge(
            "sipua_ledger_spool_groups",
            "Groups of facts on disk that the database has not got",
            registry=registry,
        )
        self.spool_state = Gauge(
            "sipua_ledger_spool_state",
            "1 for the state of the spool: ok, capped (spool_max_mb), no_space, failed; all 0 without one",
            ["state"],
            registry=registry,
        )

    def recording_began(self) -> None:
        self.recordings_active.inc()

    def recording_ended(self, outcome: str) -> None:
        self.recordings_active.dec()
        self.recordings.labels(outcome).inc()

    def recording_failed(self, reason: str) -> None:
        self.recording_errors.labels(reason).inc()

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

    def count_media(self, trunk: str, figures: MediaFigures) -> None:
        """The media of a call that is over."""
        self.rtp_packets.labels("sent").inc(figures.sent)
        self.rtp_packets.labels("received").inc(figures.received)
        self.rtp_lost.inc(figures.lost)
        for kind, count in figures.dropped.items():
            self.rtp_dropped.labels(kind).inc(count)
        for kind in _BUFFER_KINDS:
            self.rtp_buffer.labels(kind).inc(figures.buffer.get(kind) or 0)
        if figures.quality is not None:
            self.mos.labels(trunk).observe(figures.quality.mos)
        if figures.jitter_ms is not None:
            self.jitter_seconds.labels(trunk).observe(figures.jitter_ms / 1000)
        if figures.far_end is not None:
            self.far_end_lost.labels(trunk).inc(figures.far_end.lost)
            if figures.far_end.rtt_ms is not None:
                self.round_trip_seconds.labels(trunk).observe(figures.far_end.rtt_ms / 1000)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
