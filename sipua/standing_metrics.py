"""What of a process stands somewhere else and is read at a scrape: the rows, and no more than names and words."""

from __future__ import annotations

from sipua.metric_families import Described, Kind


def _row(name: str, kind: Kind, help: str, *labels: str) -> Described:
    return Described(name, kind, labels, help)


ROWS = (
    _row("sipua_call_slots", "gauge", "Legs that pjsua takes at once"),
    _row("sipua_call_slots_in_use", "gauge", "Legs that hold one of them"),
    _row("sipua_media_ports", "gauge", "Port pairs of RTP in all ranges; none where the system gives any"),
    _row("sipua_media_ports_in_use", "gauge", "Port pairs of RTP that calls hold"),
    _row("sipua_sip_commands_waiting", "gauge", "Commands that the SIP thread has not begun"),
    _row("sipua_sip_events_waiting", "gauge", "Events of the SIP thread that the loop has not taken"),
    _row("sipua_rtp_pacer_senders", "gauge", "Media legs that are ticked"),
    _row("sipua_rtp_pacer_lateness_seconds", "histogram", "How late 20 ms ticks were"),
    _row("sipua_rtp_pacer_lateness_max_seconds", "gauge", "Latest 20 ms tick since the start"),
    _row("sipua_rtp_pacer_ticks_skipped_total", "counter", "20 ms ticks given up after a stall"),
    _row("sipua_rtp_egress_gaps_total", "counter", "Gaps above 40 ms between two packets of a call that we send"),
    _row("sipua_realtime_sessions_open", "gauge", "Voice sessions that are open"),
    _row("sipua_realtime_outbox_entries", "gauge", "Messages that wait for the voice service, in the longest queue"),
    _row("sipua_recording_queue_blocks", "gauge", "Seconds of recordings that wait for the disk"),
    _row("sipua_recording_spool_bytes", "gauge", "Finished recordings that wait for their store, as last counted"),
    _row("sipua_feed_readers", "gauge", "Readers of the live feed: dashboards, terminals"),
    _row("sipua_feed_queue_entries", "gauge", "Entries that wait for the slowest of them"),
    _row("sipua_feed_entries_dropped_total", "counter", "Entries that readers of the live feed were too slow for"),
    _row("sipua_log_queue_lines", "gauge", "Lines of the log that wait for stderr"),
    _row("sipua_log_lines_total", "counter", "Lines of the log", "level"),
    _row("sipua_log_lines_dropped_total", "counter", "Lines of the log that stderr was too slow for"),
    _row("sipua_database_up", "gauge", "1 while the ledger has a connection to the database"),
    _row("sipua_database_connects_total", "counter", "Connections that the ledger has opened to the database"),
    _row("sipua_database_reads_waiting", "gauge", "Reads of the HTTP server that are not over; 64 at most"),
    _row("sipua_database_reads_refused_total", "counter", "Reads that were refused, or not answered in time"),
    _row("sipua_database_read_seconds", "histogram", "A read of the HTTP server, with its wait"),
    _row(
        "sipua_ledger_held", "gauge",
        "1 from a start without the database until it has been seen to fit: rows wait in the spool",
    ),
    _row("sipua_ledger_queue_facts", "gauge", "Facts waiting for the database"),
    _row("sipua_ledger_queue_limit_facts", "gauge", "Facts that may wait in memory (database.queue_limit)"),
    _row("sipua_ledger_lag_seconds", "gauge", "Age of the oldest fact that the database has not got"),
    _row("sipua_ledger_facts_written_total", "counter", "Facts written"),
    _row("sipua_ledger_facts_dropped_total", "counter", "Facts lost: queue_full, or refused for what they say", "why"),
    _row("sipua_ledger_facts_unmatched_total", "counter", "Changes and ends that found no row of their call"),
    _row("sipua_ledger_retries_total", "counter", "Batches that were tried again"),
    _row("sipua_ledger_groups_replayed_total", "counter", "Groups that dead processes had left in their spools"),
    _row("sipua_ledger_write_seconds", "histogram", "A batch, from its sending to its commit"),
    _row("sipua_ledger_spool_bytes", "gauge", "Size of this process's spool on disk"),
    _row("sipua_ledger_spool_limit_bytes", "gauge", "Size that it may have (ledger.spool_max_mb)"),
    _row("sipua_ledger_spool_groups", "gauge", "Groups in the spool that the database has not got"),
    _row(
        "sipua_ledger_spool_state", "gauge",
        "1 for the state of the spool: ok, capped (spool_max_mb), no_space, failed; all 0 without one", "state",
    ),
    _row(
        "sipua_certificate_expiry_timestamp_seconds", "gauge",
        "End of the certificate that we show (sip.tls_certificate), as it was read at the start",
    ),
    _row("sipua_traces_queue_spans", "gauge", "Spans that wait for the receiver of traces"),
    _row("sipua_traces_dropped_total", "counter", "Spans that the receiver of traces was too slow for, or refused"),
)  # fmt: skip
