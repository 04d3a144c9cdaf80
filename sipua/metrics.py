"""Prometheus metrics, prefix ``sipua_``, one registry per process object (nothing is module-global).

Names follow Prometheus' conventions: base units, ``_total`` for counters. ``node``, ``worker`` and ``instance`` stand
once, in ``sipua_process_info``. What is counted elsewhere is among the rows of ``sipua.standing_metrics``; what the
system knows of the process has the names that all programs give it (``process_open_fds``).
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector

from sipua.fleet_view import TrunkView
from sipua.media_figures import MediaFigures
from sipua.metric_families import Described, Families
from sipua.ports import AttemptMade
from sipua.realtime.counters import Counters
from sipua.standing_metrics import ROWS
from sipua.trunks.registration import Phase
from sipua.trunks.watch import Breaker

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LINE_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
# G.107 Annex B: 3.6 many dissatisfied, 4.3 very good
_MOS = (1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.1, 4.2, 4.3, 4.4)
_BUFFER_KINDS = ("put", "get", "out_of_order", "dup", "late", "lost", "overflow", "flush")
_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.4, 4.0, 8.0)
_CALL_SECONDS = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)


class Metrics:
    """All metrics of one process."""

    def __init__(self, *, node: str, worker: int, instance: str, version: str) -> None:
        make = Families()
        self.registry = make.registry
        self.described: list[Described] = make.described
        labels = ("node", "worker", "instance", "version")
        self.process_info = make.gauges("sipua_process_info", labels, "Identity of this process")
        self.process_info.labels(node, worker, instance, version).set(1)
        # calls
        self.calls_active = make.gauge("sipua_calls_active", "Calls that are up or ringing")
        self.calls = make.counters(
            "sipua_calls", ("direction", "trunk", "status", "reason"), "Calls by how they ended"
        )
        self.call_seconds = make.histograms(
            "sipua_call_duration_seconds",
            ("direction",),
            "Answered calls, from the answer to the end",
            _CALL_SECONDS,
        )
        self.rejected = make.counters(
            "sipua_invites_rejected", ("code", "by"), "INVITEs refused before they became calls"
        )
        self.rejected_requests = make.counters(
            "sipua_requests_rejected",
            ("code", "method"),
            "Requests of strangers, other than INVITE, that were refused; method is other for what RFCs do not name",
        )
        self.attempts = make.counters(
            "sipua_outbound_attempts",
            ("trunk", "code", "decision"),
            "INVITEs of ours by what came of them; code 0: no final response",
        )
        self.setup_seconds = make.histogram(
            "sipua_call_setup_seconds", "INVITE received to 200 sent", _SECONDS
        )
        self.first_audio_seconds = make.histogram(
            "sipua_first_assistant_audio_seconds", "200 sent to first assistant RTP", _SECONDS
        )
        self.turn_seconds = make.histogram(
            "sipua_turn_latency_seconds",
            "From the voice service's word that the caller has stopped speaking to the first sound of the answer",
            _SECONDS,
        )
        self.keys_dropped = make.counter("sipua_keys_dropped", "Keys that came faster than anybody presses")
        self.consents = make.counters(
            "sipua_consents",
            ("result", "channel"),
            "Answers to the consent question; result is yes, no or none, channel voice, dtmf or none",
        )
        self.answered_by = make.counters(
            "sipua_answered_by",
            ("by",),
            "Who took the calls that we placed, as far as could be told: person, machine or unsure",
        )
        # alerts
        self.alerts_open = make.gauges("sipua_alerts_open", ("kind",), "Incidents that go on")
        self.alerts_told = make.counters(
            "sipua_alerts_told",
            ("channel", "outcome"),
            "Tries to tell an alert, its reminder or recovery, by what came of it: told, failed (is tried again)",
        )
        self.alerts_waiting = make.gauge("sipua_alerts_waiting", "Alerts that a channel still has to tell")
        # voice service
        self.realtime_errors = make.counters(
            "sipua_realtime_errors", ("reason",), "Errors of the voice service"
        )
        self.webhooks = make.counters(
            "sipua_openai_webhooks",
            ("type", "result"),
            "Webhooks of OpenAI by type and what was made of them: accepted, rejected, ignored, noted, duplicate, or "
            "refused as unsigned, stale, forged or invalid (their type is unread then: unknown)",
        )
        self.realtime_alerts = make.counters(
            "sipua_realtime_alerts",
            ("reason",),
            "Refusals of the voice service that somebody must mend (key, quota, configuration)",
        )
        self.realtime_sessions = make.counters(
            "sipua_realtime_sessions", ("why",), "Voice sessions opened, by why: first, rotation or reconnect"
        )
        self.realtime_connect_seconds = make.histograms(
            "sipua_realtime_connect_seconds",
            ("why",),
            "From the connection's begin to a configured voice session",
            _SECONDS,
        )
        self.realtime_outage_seconds = make.histogram(
            "sipua_realtime_outage_seconds",
            "A call's voice session lost until another heard the caller",
            _SECONDS,
        )
        self.realtime_bytes = make.counters(
            "sipua_realtime_bytes", ("direction",), "Bytes of messages of voice sessions that are over"
        )
        self.realtime_dropped = make.counters(
            "sipua_realtime_messages_dropped",
            ("kind",),
            "Messages of voice sessions that were not delivered: uplink (the service took none), late_audio, "
            "duplicate_audio, unknown, invalid, overflow (a consumer of ours hung)",
        )
        self.spent_usd = make.counters(
            "sipua_realtime_spent_usd", ("model",), "Cost of the voice service by our prices"
        )
        self.unpriced = make.counters(
            "sipua_realtime_unpriced",
            ("model",),
            "Responses and transcriptions of models whose price is not known",
        )
        self.spend_caps = make.counters(
            "sipua_spend_caps_reached", ("cap",), "Calls that a cap has ended: call, caller or day"
        )
        # tools
        self.tool_calls = make.counters(
            "sipua_tool_calls",
            ("tool", "outcome"),
            "Tools that models called, by what came of it: ok, error, timeout, ended (with the call)",
        )
        self.tool_seconds = make.histograms(
            "sipua_tool_seconds", ("tool",), "From a tool's call to its result or error", _SECONDS
        )
        self.callbacks = make.counters(
            "sipua_callbacks",
            ("outcome",),
            "Call-back requests that somebody was told of, or could not be: told, failed",
        )
        # media
        self.rtp_packets = make.counters("sipua_rtp_packets", ("direction",), "RTP packets")
        self.rtp_lost = make.counter("sipua_rtp_packets_lost", "RTP packets that never came")
        self.rtp_dropped = make.counters(
            "sipua_rtp_packets_dropped", ("kind",), "RTP packets dropped, by why"
        )
        self.rtp_buffer = make.counters(
            "sipua_rtp_buffer_packets",
            ("kind",),
            "What the receive buffer did: put, get, out_of_order, dup, late, lost (given up), overflow, flush",
        )
        self.rtp_concealed = make.counter(
            "sipua_rtp_frames_concealed", "Frames of callers that were made up for packets that were missing"
        )
        self.playout_frames = make.counters(
            "sipua_playout_frames",
            ("kind",),
            "Frames of the agent's speech: spoken, of them padded (completed with silence), and faded (made up where "
            "the queue ran dry)",
        )
        self.playout_underruns = make.counter(
            "sipua_playout_underruns", "Times that the voice service was slower than its own speech"
        )
        self.playout_dropped_seconds = make.counters(
            "sipua_playout_dropped_seconds",
            ("why",),
            "Speech of the agent that nobody heard: interrupted, late (came after it), overflow (more than 10 minutes)",
        )
        self.far_end_lost = make.counters(
            "sipua_rtp_far_end_packets_lost",
            ("trunk",),
            "RTP packets of ours that never came, as the far ends' RTCP reports say",
        )
        self.mos = make.histograms(
            "sipua_call_mos",
            ("trunk",),
            "MOS-CQE of what we heard in a call (G.107); calls without a packet are not counted",
            _MOS,
        )
        self.jitter_seconds = make.histograms(
            "sipua_rtp_jitter_seconds",
            ("trunk",),
            "Interarrival jitter of what we heard at the end of a call (RFC 3550)",
            _LINE_SECONDS,
        )
        self.round_trip_seconds = make.histograms(
            "sipua_rtp_round_trip_seconds",
            ("trunk",),
            "Round trip by the last RTCP report of a call; calls without any are not counted",
            _LINE_SECONDS,
        )
        # recordings
        self.recordings_active = make.gauge("sipua_recordings_active", "Recordings being written")
        self.recordings = make.counters(
            "sipua_recordings",
            ("outcome",),
            "Recordings by what became of them: kept, deleted (consent withdrawn), failed (ended early)",
        )
        self.recording_errors = make.counters(
            "sipua_recording_errors",
            ("reason",),
            "Faults of recordings: disk_full, write_failed, disk_slow, spool_full, recording_store, unreadable",
        )
        # trunks
        self.trunk_up = make.gauges(
            "sipua_trunk_up",
            ("trunk",),
            "1 if the trunk may be used now (calls out; calls in where none go out)",
        )
        self.trunk_calls = make.gauges("sipua_trunk_calls", ("trunk",), "Calls on the trunk, both directions")
        self.trunk_channels = make.gauges(
            "sipua_trunk_channels", ("trunk",), "Calls that the trunk may carry at once (max_channels)"
        )
        self.trunk_registered = make.gauges(
            "sipua_trunk_registered", ("trunk",), "1 while the registrar holds all bindings of ours"
        )
        self.registration_expires = make.gauges(
            "sipua_trunk_registration_expires_seconds",
            ("trunk",),
            "Until the first binding ends; 0: there is none",
        )
        self.registration_failures = make.gauges(
            "sipua_trunk_registration_failures", ("trunk",), "REGISTERs in a row that failed"
        )
        self.registration_state = make.gauges(
            "sipua_trunk_registration_state", ("trunk", "state"), "Accounts of the trunk in this state"
        )
        self.trunk_alerts = make.counters(
            "sipua_trunk_alerts", ("trunk", "reason"), "Faults that somebody must mend"
        )
        self.target_up = make.gauges(
            "sipua_trunk_target_up", ("trunk", "target"), "1 if calls may go to this address"
        )
        self.options_seconds = make.gauges(
            "sipua_trunk_options_latency_seconds", ("trunk", "target"), "Latest answer to OPTIONS"
        )
        self.breaker = make.gauges(
            "sipua_trunk_breaker_state",
            ("trunk", "target", "state"),
            "1 for the state the circuit breaker is in; target is empty for the trunk's own",
        )
        # the process
        self.http_requests = make.counters(
            "sipua_http_requests",
            ("method", "route", "code"),
            "Requests of our HTTP server; route is other for paths that there are not",
        )
        self.http_seconds = make.histograms(
            "sipua_http_request_seconds",
            ("route",),
            "From a request's head to the end of its answer",
            _SECONDS,
        )
        self.loop_lag_seconds = make.histogram(
            "sipua_event_loop_lag_seconds",
            "How late the loop that carries the audio came to a timer",
            _LINE_SECONDS,
        )
        self.sessions: dict[int, Counters] = {}  # of voice sessions that are open
        self.standing = make.standing(ROWS)
        self._process = ProcessCollector(registry=self.registry)

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
        for each in (
            self.trunk_up, self.trunk_calls, self.trunk_channels, self.trunk_registered, self.registration_expires,
            self.registration_failures, self.registration_state, self.target_up, self.options_seconds, self.breaker,
        ):  # fmt: skip
            each.clear()
        for view in views:
            name = view.trunk.name
            self.trunk_up.labels(name).set(view.state == "up")
            self.trunk_calls.labels(name).set(view.calls_up)
            if view.trunk.max_channels:
                self.trunk_channels.labels(name).set(view.trunk.max_channels)
            self._show_registrations(view)
            for target in view.entries():
                for state in Breaker:
                    self.breaker.labels(name, target.address, state.value).set(target.breaker is state)
            for target in view.targets:
                self.target_up.labels(name, target.address).set(not target.why_not)
                if target.latency_s is not None:
                    self.options_seconds.labels(name, target.address).set(target.latency_s)

    def _show_registrations(self, view: TrunkView) -> None:
        """Of its accounts, whichever stands worst."""
        accounts = [registration for _, registration in view.registrations]
        if not accounts:
            return
        name = view.trunk.name
        left_s = min(each.expires_in_s or 0.0 for each in accounts)
        self.trunk_registered.labels(name).set(all(each.expires_in_s is not None for each in accounts))
        self.registration_expires.labels(name).set(max(0.0, left_s))
        self.registration_failures.labels(name).set(max(each.failures for each in accounts))
        for phase in Phase:
            self.registration_state.labels(name, phase.value).set(
                sum(each.phase is phase for each in accounts)
            )

    def count_media(self, trunk: str, figures: MediaFigures) -> None:
        """The media of a call that is over."""
        self.rtp_packets.labels("sent").inc(figures.sent)
        self.rtp_packets.labels("received").inc(figures.received)
        self.rtp_lost.inc(figures.lost)
        for kind, count in figures.dropped.items():
            self.rtp_dropped.labels(kind).inc(count)
        self.rtp_concealed.inc(figures.concealed_frames)
        for kind, count in figures.playout.frames.items():
            self.playout_frames.labels(kind).inc(count)
        self.playout_underruns.inc(figures.playout.underruns)
        for why, seconds in figures.playout.dropped_s.items():
            self.playout_dropped_seconds.labels(why).inc(seconds)
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

    def session_opened(self, counted: Counters, why: str, connect_s: float) -> None:
        self.realtime_sessions.labels(why).inc()
        self.realtime_connect_seconds.labels(why).observe(connect_s)
        self.sessions[id(counted)] = counted

    def session_ended(self, counted: Counters) -> None:
        """Once is enough, more is no error."""
        if self.sessions.pop(id(counted), None) is None:
            return
        self.realtime_bytes.labels("received").inc(counted.bytes_received)
        self.realtime_bytes.labels("sent").inc(counted.bytes_sent)
        for kind, count in (
            ("uplink", counted.appends_dropped),
            ("late_audio", counted.late_audio_dropped),
            ("duplicate_audio", counted.duplicate_audio_dropped),
            ("unknown", counted.unknown),
            ("invalid", counted.invalid),
            ("overflow", counted.event_queue_overflows),
        ):
            self.realtime_dropped.labels(kind).inc(count)

    def process_rows(self) -> list[Described]:
        """What the system tells of the process; for the documents."""
        return [
            Described(f"{each.name}_total", "counter", (), each.documentation)
            if each.type == "counter"
            else Described(each.name, "gauge", (), each.documentation)
            for each in self._process.collect()
        ]

    def render(self) -> bytes:
        """The text exposition format: 3 ms of it, so not on the loop that carries audio."""
        return generate_latest(self.registry)
