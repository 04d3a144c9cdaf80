"""Where the rows of ``sipua.standing_metrics`` come from. All is in memory: a scrape waits for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from rtp.pacer import Pacer
from sipua.feed import Feed
from sipua.log import line_queue
from sipua.media_ports import MediaPorts
from sipua.metric_families import Buckets, Read
from sipua.metrics import Metrics
from sipua.occupancy import Occupancy
from sipua.settings import Settings
from storage.reading import ReadPool
from storage.spool import SpoolState
from storage.writer import LedgerWriter


class Sip(Protocol):
    def waiting(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What has something to tell."""

    metrics: Metrics
    pacer: Pacer
    ports: MediaPorts
    occupancy: Occupancy
    feed: Feed
    writer: LedgerWriter
    sip: Sip
    certificate_ends: datetime | None


def readings(parts: Parts, settings: Settings) -> dict[str, Read]:
    """By the name of the row; what there is not in this process has none."""
    found = _calls(parts) | _process(parts) | ledger_readings(parts.writer, settings)
    if (ends := parts.certificate_ends) is not None:
        found["sipua_certificate_expiry_timestamp_seconds"] = ends.timestamp
    return found


def _calls(parts: Parts) -> dict[str, Read]:
    pacer, sessions = parts.pacer, parts.metrics.sessions
    return {
        "sipua_call_slots": parts.occupancy.slots,
        "sipua_call_slots_in_use": parts.occupancy.slots_in_use,
        "sipua_media_ports": lambda: parts.ports.counts()[1],
        "sipua_media_ports_in_use": lambda: parts.ports.counts()[0],
        "sipua_sip_commands_waiting": lambda: parts.sip.waiting()[0],
        "sipua_sip_events_waiting": lambda: parts.sip.waiting()[1],
        "sipua_rtp_pacer_senders": lambda: len(pacer),
        "sipua_rtp_pacer_lateness_seconds": lambda: _lateness(pacer),
        "sipua_rtp_pacer_lateness_max_seconds": lambda: pacer.lateness.max_ms / 1000,
        "sipua_rtp_pacer_ticks_skipped_total": lambda: pacer.skipped,
        "sipua_rtp_egress_gaps_total": lambda: pacer.gaps,
        "sipua_realtime_sessions_open": lambda: len(sessions),
        "sipua_realtime_outbox_entries": lambda: max((each.waiting for each in sessions.values()), default=0),
    }


def _lateness(pacer: Pacer) -> Buckets:
    late = pacer.lateness
    return Buckets([(bound / 1000, count) for bound, count in late.cumulative()], late.sum_ms / 1000)


def _process(parts: Parts) -> dict[str, Read]:
    feed, lines = parts.feed, line_queue()
    found: dict[str, Read] = {
        "sipua_feed_readers": lambda: feed.readers,
        "sipua_feed_queue_entries": lambda: feed.longest,
        "sipua_feed_entries_dropped_total": lambda: feed.dropped,
    }
    if lines is not None:
        found |= {
            "sipua_log_queue_lines": lambda: lines.queue.qsize(),
            "sipua_log_lines_total": lambda: {(level,): count for level, count in lines.lines.items()},
            "sipua_log_lines_dropped_total": lambda: lines.dropped,
        }
    return found


def ledger_readings(writer: LedgerWriter, settings: Settings) -> dict[str, Read]:
    found: dict[str, Read] = {
        "sipua_database_up": lambda: writer.stats.connected,
        "sipua_database_connects_total": lambda: writer.stats.connects,
        "sipua_ledger_held": lambda: bool(writer.gate.why),
        "sipua_ledger_queue_facts": lambda: writer.stats.queued,
        "sipua_ledger_queue_limit_facts": lambda: settings.database.queue_limit,
        "sipua_ledger_lag_seconds": lambda: writer.stats.lag_s,
        "sipua_ledger_facts_written_total": lambda: writer.stats.written,
        "sipua_ledger_facts_dropped_total": lambda: {
            ("queue_full",): writer.stats.dropped, ("refused",): writer.stats.poisoned,
        },
        "sipua_ledger_facts_unmatched_total": lambda: writer.stats.unmatched,
        "sipua_ledger_retries_total": lambda: writer.stats.retries,
        "sipua_ledger_groups_replayed_total": lambda: writer.stats.replayed,
        "sipua_ledger_write_seconds": lambda: Buckets(writer.write_seconds.cumulative(), writer.write_seconds.sum_s),
    }  # fmt: skip
    if settings.spool_path is not None:
        found |= {
            "sipua_ledger_spool_bytes": lambda: writer.stats.spool_bytes,
            "sipua_ledger_spool_limit_bytes": lambda: settings.ledger.spool_max_mb << 20,
            "sipua_ledger_spool_groups": lambda: writer.stats.spool_groups,
            "sipua_ledger_spool_state": lambda: {
                (state.value,): float(writer.stats.spool_state is state) for state in SpoolState
            },
        }
    return found


def reads_of(pool: ReadPool) -> dict[str, Read]:
    """What others ask of the database."""
    return {
        "sipua_database_reads_waiting": lambda: pool.waiting,
        "sipua_database_reads_refused_total": lambda: pool.refused,
        "sipua_database_read_seconds": lambda: Buckets(pool.took.cumulative(), pool.took.sum_s),
    }
