"""Calls as they are shown: lists, those that go on now, and sums per day. One call is ``storage.call_story``.

Everything is bounded, and rows are dicts of JSON types (``storage.reading``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from storage.call_filter import MOST_ROWS, CallFilter, mark_of, read_mark
from storage.reading import Connection, ReadPool, Row, rows

MOST_LIVE = 500
MOST_DAYS = 400
PREVIEW = 200  # characters
OUTCOMES_A_DAY = 20  # the model names some of them: the rest of a day is "other"

_COST = """CASE WHEN jsonb_typeof(c.metadata #> '{usage,cost_usd}') = 'number'
  THEN (c.metadata #>> '{usage,cost_usd}')::double precision END"""
# A line of a list. ``call_sid``: how its carrier calls it.
_LINE = f"""
SELECT c.id, coalesce(c.twilio_call_sid, c.mtn_call_sid, c.sip_session_id, c.id::text) AS call_sid, c.direction,
  c.from_e164, c.to_e164, c.provider, c.trunk, c.channel, c.locale, c.country, c.status, c.outcome, c.intent, c.handoff,
  c.handoff_target, c.consent_obtained, c.lead_name, c.started_at, c.ended_at, c.duration_seconds,
  c.first_time_to_assistant_seconds, {_COST} AS cost_usd,
  (jsonb_path_query_first(c.metadata, '$.rtp.quality.mos ? (@ >= 0)'))::double precision AS mos
FROM public.voice_calls AS c
"""
_LIVE = f"""
SELECT c.id, coalesce(c.twilio_call_sid, c.mtn_call_sid, c.sip_session_id, c.id::text) AS call_sid, c.project_id,
  c.direction, c.from_e164, c.to_e164, c.trunk, c.channel, c.locale, c.country, c.status, c.lead_name,
  coalesce(c.lead_phone, CASE c.direction WHEN 'outbound' THEN c.to_e164 ELSE c.from_e164 END) AS lead_phone,
  c.handoff, c.handoff_target, c.metadata -> 'transfer' AS transfer, c.started_at, answered.t AS answered_at,
  greatest(last_event.t, said.t) AS last_heard_at, said.role AS last_role, said.text AS last_text,
  consent.consent_result, {_COST} AS cost_usd, now() AS as_of
FROM (SELECT * FROM public.voice_calls WHERE ended_at IS NULL ORDER BY started_at DESC LIMIT {MOST_LIVE + 1}) AS c
LEFT JOIN LATERAL (SELECT t FROM public.voice_events WHERE call_id = c.id AND type = 'answered' ORDER BY t LIMIT 1)
  AS answered ON true
LEFT JOIN LATERAL (SELECT t FROM public.voice_events WHERE call_id = c.id ORDER BY t DESC LIMIT 1)
  AS last_event ON true
LEFT JOIN LATERAL (SELECT t, role, left(content, {PREVIEW}) AS text FROM public.transcripts WHERE call_id = c.id
                   ORDER BY t DESC LIMIT 1) AS said ON true
LEFT JOIN LATERAL (SELECT consent_result FROM public.call_consents WHERE call_id = c.id ORDER BY t DESC LIMIT 1)
  AS consent ON true
ORDER BY c.started_at DESC, c.id DESC
"""
# OFFSET 0 keeps the parts apart: together they are sorted with their metadata, on disk (twice the time).
_PER_DAY = f"""
SELECT day, status, outcome, count(*) AS calls, coalesce(sum(duration_seconds), 0)::bigint AS seconds,
  coalesce(sum(cost_usd), 0) AS cost_usd
FROM (SELECT (c.started_at AT TIME ZONE %(zone)s)::date AS day, coalesce(c.status, 'initiated') AS status,
        coalesce(c.outcome, '') AS outcome, c.duration_seconds, {_COST} AS cost_usd
      FROM public.voice_calls AS c WHERE c.started_at >= %(since)s AND c.started_at < %(until)s OFFSET 0) AS c
GROUP BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class CallPage:
    """The newest first; ``next`` is for the ``after`` of the next one, None: there is none."""

    calls: list[Row]
    next: str | None


async def list_calls(
    pool: ReadPool, wanted: CallFilter, after: str | None = None, limit: int = 50
) -> CallPage:
    """A page. ValueError for a mark that is none or a limit that is too high; StoreError."""
    query, values = page_query(wanted, after, limit)
    found = await pool.read(lambda connection: rows(connection, query, values))
    page = found[:limit]
    return CallPage(page, mark_of(page[-1]) if len(found) > limit else None)


def page_query(wanted: CallFilter, after: str | None, limit: int) -> tuple[str, Mapping[str, Any]]:
    """One row more than the page: whether another follows. Raises ValueError."""
    if not 1 <= limit <= MOST_ROWS:
        raise ValueError(f"limit {limit}: allowed are 1 to {MOST_ROWS}")
    conditions, values = wanted.conditions()
    values["limit"] = limit + 1
    if after:
        values["after_at"], values["after_id"] = read_mark(after)
        conditions.append("(c.started_at, c.id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)")
    where = " AND ".join(["c.started_at IS NOT NULL", *conditions])
    return f"{_LINE} WHERE {where} ORDER BY c.started_at DESC, c.id DESC LIMIT %(limit)s", values


@dataclass(frozen=True, slots=True)
class LiveCalls:
    """The calls without an end, the newest first; ``is_cut``: there are more than ``MOST_LIVE``."""

    calls: list[Row]
    is_cut: bool


async def live_calls(pool: ReadPool) -> LiveCalls:
    """What goes on now, over all processes that write here. StoreError."""
    found = await pool.read(lambda connection: rows(connection, _LIVE, {}))
    return LiveCalls([_live(row) for row in found[:MOST_LIVE]], len(found) > MOST_LIVE)


def _live(row: Row) -> Row:
    """``duration_seconds`` as it would be written if the call ended now: from the answer on."""
    answered, as_of = row["answered_at"], row.pop("as_of")
    talked = (
        (datetime.fromisoformat(as_of) - datetime.fromisoformat(answered)).total_seconds() if answered else 0
    )
    return row | {"duration_seconds": max(0, round(talked))}


def live_contract(call: Mapping[str, Any]) -> Row:
    """A live call as readers of ``GET …/analytics/live-calls`` expect it (the shared schema's contract).

    ``lastMediaAt`` is when the call was last heard of after its answer. ``optOutDetected``: the caller refused to be
    recorded. ``warmTransferQueue`` is the department that a transfer goes to.
    """
    transfer = call["transfer"] if isinstance(call["transfer"], dict) else {}
    preview = f"{call['last_role']}: {call['last_text']}" if call["last_text"] else None
    return {
        "callSid": call["call_sid"],
        "tenantId": call["project_id"],
        "leadName": call["lead_name"],
        "leadPhone": call["lead_phone"],
        "agentRegion": call["country"],
        "startedAt": call["started_at"],
        "lastMediaAt": call["last_heard_at"] if call["answered_at"] else None,
        "status": "handoff" if call["handoff"] else "active",
        "direction": call["direction"],
        "warmTransferQueue": call["handoff_target"] or transfer.get("department"),
        "optOutDetected": call["consent_result"] is False,
        "transcriptPreview": preview,
        "durationSeconds": call["duration_seconds"],
    }


def zone_of(name: str) -> ZoneInfo:
    """Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"time zone {name!r}: allowed is a name like Africa/Kigali or UTC") from None


async def per_day(pool: ReadPool, zone: str, days: int, today: date) -> list[Row]:
    """Calls, minutes and cost of ``days`` days until ``today``, the newest first, days without calls too.

    Days are those of ``zone``. Raises ValueError and StoreError.
    """
    if not 1 <= days <= MOST_DAYS:
        raise ValueError(f"days {days}: allowed are 1 to {MOST_DAYS}")
    clock = zone_of(zone)
    first = today - timedelta(days=days - 1)
    values = {
        "zone": zone,
        "since": datetime.combine(first, time(), clock),
        "until": datetime.combine(today + timedelta(days=1), time(), clock),
    }
    found = await pool.read(lambda connection: _per_day(connection, values))
    return [_day(today - timedelta(days=back), found) for back in range(days)]


def _per_day(connection: Connection, values: Mapping[str, Any]) -> dict[str, list[Row]]:
    days: dict[str, list[Row]] = {}
    for row in rows(connection, _PER_DAY, values):
        days.setdefault(row["day"], []).append(row)
    return days


def _day(day: date, found: Mapping[str, list[Row]]) -> Row:
    parts = sorted(found.get(day.isoformat(), []), key=lambda row: -row["calls"])
    by_status: dict[str, int] = {}
    by_outcome: dict[str, int] = {}
    for row in parts:
        by_status[row["status"]] = by_status.get(row["status"], 0) + row["calls"]
        outcome = row["outcome"] or "none"
        if outcome not in by_outcome and len(by_outcome) >= OUTCOMES_A_DAY:
            outcome = "other"
        by_outcome[outcome] = by_outcome.get(outcome, 0) + row["calls"]
    return {
        "day": day.isoformat(),
        "calls": sum(by_status.values()),
        "by_status": by_status,
        "by_outcome": by_outcome,
        "minutes": round(sum(row["seconds"] for row in parts) / 60, 1),
        "cost_usd": round(sum(row["cost_usd"] for row in parts), 6),
    }
