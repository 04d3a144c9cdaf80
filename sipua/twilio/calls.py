"""A call that Twilio tells us of, as facts of the ledger. No I/O, no clock.

The call's row is that of the parent where Twilio tells of a leg. A status has the word of the shared schema; words
only move forward and an end is one (the ledger's rules), so what comes late or twice changes nothing. Each telling is
one event of the kind webhook, by its SequenceNumber. Where a SIP leg of ours carries the call, that leg has the word.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sipua.ingest.calls import Caller, ended_call, opening_of, told_call
from sipua.ingest.ids import call_id_of, row_id
from sipua.sip_message import phone_number
from storage.facts import CallChanged, Event, Group
from storage.words import FINAL_RANK, STATUS_RANK, Status

PROVIDER = "twilio"
WORDS: Mapping[str, Status] = {
    "queued": "initiated",
    "initiated": "initiated",
    "ringing": "ringing",
    "answered": "in_progress",
    "in-progress": "in_progress",
    "completed": "completed",
    "busy": "busy",
    "failed": "failed",
    "no-answer": "no_answer",
    "canceled": "no_answer",
}
_KEPT = (
    "CallStatus",
    "CallSid",
    "SequenceNumber",
    "Timestamp",
    "SipResponseCode",
    "ErrorCode",
    "StirVerstat",
)
KEPT_MAX = 100  # characters of a value
DAY_S = 86_400


class NotTwilio(ValueError):
    """A field is missing, or holds no word of Twilio's; says which and what is allowed."""


def begun(fields: Mapping[str, str], now: datetime) -> Group:
    """A call has come to a number of ours."""
    sid = sid_of(fields)
    return told_call(opening_of(call_of(sid), _caller(fields, sid), PROVIDER), now, "twilio")


def told(fields: Mapping[str, str], now: datetime) -> Group:
    """A status of a call, or of the leg that we are. A call that we were not told of begins with it, if it came in."""
    word = fields.get("CallStatus", "")
    status = WORDS.get(word)
    if status is None:
        raise NotTwilio(f"CallStatus: allowed are {', '.join(WORDS)}")
    sid = sid_of(fields)
    call = call_of(sid)
    key = f"{fields.get('CallSid', '')} {fields.get('SequenceNumber', '')} {word}"
    payload = {name: value[:KEPT_MAX] for name in _KEPT if (value := fields.get(name))}
    event = Event(row_id(call, "event", f"twilio {key}"), call, "webhook", now, {"from": "twilio", **payload})
    created = begun(fields, now) if fields.get("Direction", "inbound") == "inbound" else ()
    if STATUS_RANK[status] < FINAL_RANK:
        return (*created, CallChanged(call, now, status=status), event)
    seconds = fields.get("CallDuration") or fields.get("Duration") or "0"
    duration_s = min(int(seconds), 7 * DAY_S) if seconds.isdecimal() and len(seconds) < 10 else 0
    more = {
        f"twilio_{name}": value for name in ("ErrorCode", "SipResponseCode") if (value := payload.get(name))
    }
    return (
        *created,
        event,
        *ended_call(call, now, duration_s, status, f"twilio_{word.replace('-', '_')}", **more),
    )


def sid_of(fields: Mapping[str, str]) -> str:
    """Of the call, not of its leg."""
    sid = fields.get("ParentCallSid") or fields.get("CallSid", "")
    if not sid or len(sid) > KEPT_MAX or not sid.isalnum():
        raise NotTwilio("CallSid: expected letters and digits, such as CA and 32 hexadecimal digits")
    return sid


def call_of(sid: str) -> UUID:
    return call_id_of(PROVIDER, sid)


def _caller(fields: Mapping[str, str], sid: str) -> Caller:
    """Of a leg ``To`` is where it was dialled to: no number of the call's."""
    to = "" if fields.get("ParentCallSid") else fields.get("To", "")
    return Caller(sid, phone_number(fields.get("From", "")), phone_number(to))
