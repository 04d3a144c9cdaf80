"""What happened on a call, in order: rows of all its tables as one list. No I/O.

An entry is ``{t, kind, what, text, …}``: ``kind`` is one of ``KINDS``, ``what`` a word for programs, ``text`` a line
for people, and the rest its details. An event that only says that a row came (of a transcript or a tool) is that row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

Row = Mapping[str, Any]
Entry = dict[str, Any]

KINDS = ("sip", "media", "conversation", "tool", "attempt", "session", "consent")

# voice_events.type: kind and what. transcript_segment and tool_call are the rows that they announce.
_EVENTS = {
    "call_started": ("sip", "started"),
    "ringing": ("sip", "ringing"),
    "answered": ("sip", "answered"),
    "call_ended": ("sip", "ended"),
    "error": ("sip", "error"),
    "webhook": ("sip", "webhook"),
    "openai_session_created": ("session", "created"),
    "openai_session_updated": ("session", "updated"),
    "openai_response_created": ("conversation", "response_created"),
    "openai_response_done": ("conversation", "response_done"),
    "openai_audio_buffer_committed": ("conversation", "committed"),
    "openai_input_audio_buffer_speech_started": ("conversation", "speech_started"),
    "openai_input_audio_buffer_speech_stopped": ("conversation", "speech_stopped"),
    "openai_conversation_item_created": ("conversation", "item_created"),
}
_TOLD = (
    "direction", "trunk", "tool", "reason", "message", "codec", "sip_code", "by", "why", "status", "error", "outcome",
)  # fmt: skip  # of a payload
_ANSWERS = {True: "yes", False: "no", None: "no answer"}


def timeline(story: Mapping[str, Any]) -> list[Entry]:
    """By time; what happened at the same moment in the order of ``_MAKERS``. A row without a time has no place."""
    found = [entry for make in _MAKERS for entry in make(story) if entry["t"] is not None]
    return sorted(found, key=lambda entry: datetime.fromisoformat(entry["t"]))


def _attempts(story: Mapping[str, Any]) -> Iterator[Entry]:
    for row in story["attempts"]:
        code = row["code"] if row["code"] is not None else "no answer"
        text = f"{row['ordinal']}. {row['trunk']}: {code} {row['reason']} after {row['ms']} ms, {row['decision']}"
        yield _entry(row["started_at"], "attempt", "invite", text, row)


def event_entry(row: Row) -> Entry | None:
    """A row of ``voice_events`` by itself; None for what another row tells better."""
    if row["type"] == "transcript_segment":
        return None
    payload = row["payload"] if isinstance(row["payload"], dict) else {}
    kind, what = _EVENTS.get(row["type"], ("sip", row["type"] or "unknown"))
    if row["type"] == "tool_call":
        kind, what = "tool", "called"
    told = [f"{name} {payload[name]}" for name in _TOLD if payload.get(name) not in (None, "", 0)]
    return _entry(row["t"], kind, what, ", ".join(told), {"id": row["id"], "payload": payload})


def transcript_entry(row: Row) -> Entry:
    """A row of ``transcripts``."""
    return _entry(row["t"], "conversation", "said", f"{row['role']}: {row['content'] or ''}", row)


def _events(story: Mapping[str, Any]) -> Iterator[Entry]:
    for row in story["events"]:
        if row["type"] != "tool_call" and (entry := event_entry(row)) is not None:
            yield entry


def _sessions(story: Mapping[str, Any]) -> Iterator[Entry]:
    for row in story["sessions"]:
        of = {"id": row["id"], "session_id": row["session_id"]}
        text = ", ".join(filter(None, (row["model"], row["voice"] and f"voice {row['voice']}")))
        yield _entry(row["started_at"], "session", "opened", text, of)
        if row["ended_at"] is not None:
            yield _entry(row["ended_at"], "session", "closed", row["status"] or "", of)


def _consents(story: Mapping[str, Any]) -> Iterator[Entry]:
    for row in story["consents"]:
        yield _entry(row["t"], "consent", "answer", _ANSWERS[row["consent_result"]], row)


def _transcripts(story: Mapping[str, Any]) -> Iterator[Entry]:
    yield from map(transcript_entry, story["transcripts"])


def _tools(story: Mapping[str, Any]) -> Iterator[Entry]:
    for row in story["tools"]:
        ending = {True: "done", False: row["error"] or "failed", None: "no result"}[row["success"]]
        yield _entry(row["t"], "tool", row["tool"] or "unknown", f"{row['tool']}: {ending}", row)


def _media(story: Mapping[str, Any]) -> Iterator[Entry]:
    """The points that were measured while it went on, and the sum at its end."""
    quality = story["quality"] or {}
    if (began := _time(quality.get("from"))) is not None:
        for point in _points(quality.get("points")):
            at = (began + timedelta(seconds=point["at_s"])).isoformat().replace("+00:00", "Z")
            told = {"mos": "MOS {}", "loss_percent": "loss {} %", "jitter_ms": "jitter {} ms"}
            text = ", ".join(
                say.format(point[name]) for name, say in told.items() if point.get(name) is not None
            )
            yield _entry(at, "media", "quality", text, point)
    media, call = story["media"], story["call"]
    if media is not None and call["ended_at"] is not None:
        parts = {
            "sent": "{} packets sent",
            "received": "{} received",
            "lost": "{} lost",
            "jitter_ms": "jitter {} ms",
        }
        texts = [say.format(media[name]) for name, say in parts.items() if media.get(name) is not None]
        yield _entry(call["ended_at"], "media", "summary", ", ".join(texts), media)


_MAKERS: tuple[Callable[[Mapping[str, Any]], Iterator[Entry]], ...] = (
    _attempts, _events, _sessions, _consents, _transcripts, _tools, _media,
)  # fmt: skip


def _entry(t: str | None, kind: str, what: str, text: str, details: Row) -> Entry:
    own = ("t", "kind", "what", "text", "started_at", "ended_at")
    return {"t": t, "kind": kind, "what": what, "text": text} | {
        name: value for name, value in details.items() if name not in own
    }


def _time(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def _points(value: Any) -> Iterator[Row]:
    """Those that have a time: metadata is open to other writers."""
    for point in value if isinstance(value, list) else ():
        if isinstance(point, dict) and isinstance(point.get("at_s"), int | float):
            yield point
