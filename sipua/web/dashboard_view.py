"""What the dashboard shows of the ledger's rows: less than there is, and numbers masked. No I/O.

Numbers in what callers say, and in what tools were given, stay: a transcript is shown to who may read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sipua.currency import cost_of
from sipua.sip_message import mask_number

Json = dict[str, Any]
Row = Mapping[str, Any]

LINE = (
    "id", "direction", "trunk", "provider", "channel", "locale", "country", "status", "outcome", "intent", "started_at",
    "ended_at", "duration_seconds", "first_time_to_assistant_seconds", "cost_usd", "mos",
)  # fmt: skip
CALL = (
    "id", "direction", "trunk", "provider", "channel", "locale", "country", "status", "outcome", "intent", "last_note",
    "started_at", "ended_at", "duration_seconds", "first_time_to_assistant_seconds", "handoff", "handoff_target",
    "consent_obtained", "consent_recorded_at", "sip_session_id", "twilio_call_sid", "mtn_call_sid", "openai_call_id",
)  # fmt: skip
LIVE = (
    "id",
    "direction",
    "trunk",
    "locale",
    "started_at",
    "answered_at",
    "last_heard_at",
    "last_role",
    "last_text",
)
ENTRY = ("t", "kind", "what", "text")


def line(row: Row) -> Json:
    """Of a list."""
    return _of(row, LINE) | _numbers(row)


def live(row: Row) -> Json:
    """Of a call that another process has."""
    phase = "talking" if row["status"] == "in_progress" else row["status"]
    return _of(row, LIVE) | _numbers(row) | {"phase": phase}


def story(found: Row) -> Json:
    """Of ``storage.call_story``."""
    call = found["call"]
    metadata = call["metadata"] if isinstance(call["metadata"], Mapping) else {}
    quality = found["quality"] or {}
    return {
        "call": _of(call, CALL) | _numbers(call) | {"cost_usd": cost_of(metadata)},
        "models": sorted({each["model"] for each in found["sessions"] if each["model"]}),
        "media": found["media"],
        "points": _timed(quality.get("points")),
        "turns": _timed(quality.get("turns")),
        "recordings": found["recordings"],
        "timeline": [_of(entry, ENTRY) for entry in found["timeline"]],
        "cut": found["cut"],
    }


def trunk(document: Row) -> Json:
    """Of ``TrunkView.as_dict``, without what counts down by itself."""
    registrations = [
        {name: value for name, value in each.items() if name not in ("expires_in_s", "next_in_s")}
        for each in document["registrations"]
    ]
    return {**document, "registrations": registrations}


def numbers(row: Row) -> Json:
    """In full."""
    return {"from": row["from_e164"], "to": row["to_e164"]}


def _of(row: Row, names: tuple[str, ...]) -> Json:
    return {name: row.get(name) for name in names}


def _numbers(row: Row) -> Json:
    return {
        side: mask_number(row[f"{side}_e164"]) if row[f"{side}_e164"] else None for side in ("from", "to")
    }


def _timed(found: object) -> list[Row]:
    """Of a column that others may have written."""
    rows = found if isinstance(found, list) else []
    return [each for each in rows if isinstance(each, Mapping) and isinstance(each.get("at_s"), int | float)]
