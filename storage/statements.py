"""Facts into SQL: one statement per table and batch, each fed by one JSON array, all idempotent.

A batch is at most: processes, calls in, sessions in, transcripts in, events in, tools called, tools done, calls
changed, sessions X
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args
from uuid import UUID

from storage import (
    call_statements,
    clean,
    consent_statements,
    desk_statements,
    tool_statements,
    transcript_statements,
    trunk_statements,
    usage_statements,
    webhooks,
)
from storage.desk_facts import Forgotten, Remembered
from storage.facts import (
    CallChanged,
    CallCreated,
    CallEnded,
    Event,
    Fact,
    ProcessEnded,
    ProcessStarted,
    SessionEnded,
    SessionOpened,
    ToolDone,
    Transcript,
)
from storage.trunk_facts import CallCarried, TargetsWatched, TrunkState
from storage.words import STATUS_RANK

Row = dict[str, Any]
_SIDS = ("twilio_call_sid", "mtn_call_sid")
# Texts of others in indexed columns: ids of carriers, phones and services, and what was dialled.
_KEYS = frozenset(
    (
        "twilio_call_sid",
        "mtn_call_sid",
        "sip_session_id",
        "session_id",
        "openai_call_id",
        "from_e164",
        "country",
        "target",
        "msisdn",
        "caller",
        "message_id",
    )
)
_NAMES = {kind.__name__: tuple(f.name for f in fields(kind)) for kind in get_args(Fact)}
_LATE = "CallChanged after the end"


@dataclass(frozen=True, slots=True)
class Statement:
    """``sql`` has one placeholder, for the JSON array of ``rows``; ``kind`` names the facts in it."""

    kind: str
    sql: str
    rows: list[Row]


def build(facts: Iterable[Fact]) -> list[Statement]:
    """The statements of one batch, in the order in which they must run."""
    rows: dict[str, list[Row]] = {name: [] for name in _SQL}
    changes: list[CallChanged] = []
    late: list[CallChanged] = []  # after the end: what is known then is kept, the status is not touched
    ended: set[UUID] = set()
    carried: dict[UUID, CallCarried] = {}
    states: list[TrunkState | TargetsWatched] = []
    memories: list[Remembered | Forgotten] = []
    facts = list(facts)
    for fact in facts:
        match fact:
            case CallChanged():
                (late if fact.call_id in ended else changes).append(fact)
            case CallCarried():
                carried[fact.call_id] = fact  # the last word
            case TrunkState():
                states.append(fact)
            case Remembered() | Forgotten():
                memories.append(fact)
            case Transcript() if clean.text(fact.content) is None:
                continue  # nothing was said
            case _:
                rows[type(fact).__name__].append(_row(fact))
                if isinstance(fact, CallEnded):
                    ended.add(fact.call_id)
                elif isinstance(fact, TargetsWatched):
                    states.append(fact)
    rows[CallChanged.__name__] = [_row(change) for change in fold(changes)]
    rows[_LATE] = [_row(change) for change in fold(late)]
    rows[transcript_statements.WHOLE] = transcript_statements.told_of(facts)
    rows[usage_statements.CHARGED] = usage_statements.told_of(facts)
    rows[CallCarried.__name__] = [_row(fact) for fact in carried.values()]
    rows[TrunkState.__name__] = [_row(state) for state in trunk_statements.fold(states)]
    rows[Remembered.__name__] = desk_statements.fold(memories)
    rows[CallEnded.__name__] = _first_by(rows[CallEnded.__name__], "call_id")
    rows[SessionEnded.__name__] = _first_by(rows[SessionEnded.__name__], "id")
    rows[ToolDone.__name__] = _first_by(rows[ToolDone.__name__], "id")
    return [
        Statement(name, _OWN_SQL[name] if "call_id" in found[0] else _SQL[name], found)
        for name, all in rows.items()
        for found in (_rounds(all) if name == CallCreated.__name__ else [all])
        if found
    ]


def _rounds(rows: list[Row]) -> list[list[Row]]:
    """One statement sees no row of its own: calls of the same carrier id are created one after another."""
    rounds: list[list[Row]] = []
    seen: list[set[Any]] = []
    for row in rows:
        sids = {(name, row[name]) for name in _SIDS if row[name] is not None}
        place = next((at for at, known in enumerate(seen) if not sids & known), len(seen))
        # never before one that it shares an id with
        place = max([place, *(at + 1 for at, known in enumerate(seen) if sids & known)])
        if place == len(seen):
            seen.append(set())
            rounds.append([])
        seen[place] |= sids
        rounds[place].append(row)
    return rounds


def fold(changes: Sequence[CallChanged]) -> list[CallChanged]:
    """One change per call, as if they had been applied one after another."""
    folded: dict[UUID, CallChanged] = {}
    for change in changes:
        before = folded.get(change.call_id)
        folded[change.call_id] = change if before is None else _then(before, change)
    return list(folded.values())


def forward(status: str | None, new: str | None) -> str | None:
    """The status after ``new`` is said about a call in ``status``: only forward, and a final word stays."""
    if status is None or new is None:
        return status or new
    return new if STATUS_RANK[status] < STATUS_RANK[new] else status


def _then(first: CallChanged, second: CallChanged) -> CallChanged:
    values: dict[str, Any] = {"at": second.at, "metadata": {**first.metadata, **second.metadata}}
    values["status"] = forward(first.status, second.status)
    for name in call_statements.CHANGE_COLUMNS:
        old, new = getattr(first, name), getattr(second, name)
        older, newer = (_value(old), _value(new))
        values[name] = (
            (older if older is not None else newer)
            if name in call_statements.KEPT_FIRST
            else (newer if newer is not None else older)
        )
    return replace(first, **values)


def _first_by(rows: list[Row], key: str) -> list[Row]:
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row[key], row)
    return list(found.values())


def _row(fact: Fact) -> Row:
    row = {name: _value(getattr(fact, name)) for name in _NAMES[type(fact).__name__]}
    for name in ("metadata", "payload", "details"):
        if name in row and not isinstance(row[name], dict):
            row[name] = {}
    for name in ("args", "result"):
        if name in row and not isinstance(row[name], dict):
            row[name] = None
    for name in _KEYS & row.keys():
        row[name] = clean.key(row[name])
    return row


def _value(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        return clean.text(value)
    if isinstance(value, UUID):
        return str(value)
    return clean.tree(value)


# A service that repeats its session ids must not cost the session either.
_SESSION_OPENED = """
INSERT INTO public.openai_sessions (id, call_id, session_id, model, voice, instructions, modalities,
  input_audio_format, output_audio_format, turn_detection, tools, temperature, max_response_output_tokens,
  started_at, status, metadata)
SELECT r.id, r.call_id,
  CASE WHEN r.session_id IS NULL THEN r.id::text
       WHEN row_number() OVER (PARTITION BY r.session_id) > 1 OR EXISTS (
         SELECT 1 FROM public.openai_sessions o WHERE o.session_id = r.session_id AND o.id <> r.id)
       THEN r.session_id || '#' || r.id ELSE r.session_id END,
  r.model, r.voice, r.instructions, r.modalities, r.input_audio_format, r.output_audio_format,
  r.turn_detection, r.tools, r.temperature, r.max_response_output_tokens, coalesce(r.started_at, now()),
  'active', r.metadata
FROM jsonb_to_recordset(%s::jsonb) AS r (
  id uuid, call_id uuid, session_id text, model text, voice text, instructions text, modalities text[],
  input_audio_format text, output_audio_format text, turn_detection jsonb, tools jsonb, temperature numeric,
  max_response_output_tokens integer, started_at timestamptz, metadata jsonb)
ON CONFLICT (id) DO NOTHING
"""
_EVENT = """
INSERT INTO public.voice_events (id, call_id, type, t, payload)
SELECT id, call_id, type, t, payload
FROM jsonb_to_recordset(%s::jsonb) AS r (id uuid, call_id uuid, type text, t timestamptz, payload jsonb)
ON CONFLICT (id) DO NOTHING
"""
_SESSION_ENDED = """
UPDATE public.openai_sessions AS s SET ended_at = r.ended_at, status = r.status
FROM jsonb_to_recordset(%s::jsonb) AS r (id uuid, ended_at timestamptz, status text)
WHERE s.id = r.id AND s.ended_at IS NULL
"""
# A new process knows nothing of its trunks yet; what its predecessor knew is no longer so.
_PROCESS_STARTED = """
WITH started AS (
INSERT INTO sipua.processes (instance, node, worker, started_at, seen_at, pid, version)
SELECT instance, coalesce(node, ''), worker, started_at, started_at, pid, version
FROM jsonb_to_recordset(%s::jsonb) AS r (
  instance uuid, node text, worker integer, started_at timestamptz, pid integer, version text)
ON CONFLICT (instance) DO NOTHING RETURNING node, worker
)
DELETE FROM sipua.trunk_states AS s USING started AS p
WHERE s.node = p.node AND s.worker = p.worker
"""
_PROCESS_ENDED = """
UPDATE sipua.processes AS p SET ended_at = r.ended_at, seen_at = r.ended_at
FROM jsonb_to_recordset(%s::jsonb) AS r (instance uuid, ended_at timestamptz)
WHERE p.instance = r.instance AND p.ended_at IS NULL
"""

_SQL = {
    ProcessStarted.__name__: _PROCESS_STARTED,
    CallCreated.__name__: call_statements.CREATED,
    SessionOpened.__name__: _SESSION_OPENED,
    **transcript_statements.SQL,
    Event.__name__: _EVENT,
    **tool_statements.SQL,
    CallChanged.__name__: call_statements.CHANGED,
    SessionEnded.__name__: _SESSION_ENDED,
    CallEnded.__name__: call_statements.ENDED,
    _LATE: call_statements.CHANGED,
    **transcript_statements.LAST_SQL,
    **usage_statements.SQL,
    **consent_statements.SQL,
    **trunk_statements.SQL,
    **desk_statements.SQL,
    **webhooks.SQL,
    ProcessEnded.__name__: _PROCESS_ENDED,
}
# of rows that name a call by ``call_id``
_OWN_SQL = {name: call_statements.own(sql) for name, sql in _SQL.items()}
