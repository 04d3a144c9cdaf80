"""One event of a Realtime session that somebody else holds, as facts of the ledger. No I/O, no clock.

Only what the readers know has a row of ``voice_events`` (shared schema, rule 4), with a few values of the event: never
its audio, instructions or keys. Every row's id comes from the event's own ids, so a repetition changes nothing, here
or in another process. Words come in any order and late: an item's place in time is kept when it is first seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from sipua.ingest.ids import row_id
from sipua.ledger_facts import EVENT_TYPES
from sipua.transcript import Role, TranscriptOrder
from storage.facts import CallChanged, Event, Fact, Group, ToolCalled, ToolDone, Transcript
from storage.usage_statements import CHARGE
from storage.words import EventType

TEXT_MAX = 20_000  # characters of an utterance
NOTE_MAX = 500  # of a text in a payload
JSON_MAX = 65_536  # characters of arguments, results and usage
ITEMS_MAX = 32  # of one response: each takes 0.04 ms of the loop, and a request has room for thousands
NAMES_MAX = 256  # calls of tools whose name was told before their arguments

# What of an event stands in voice_events, beside its event_id.
_KEPT: dict[str, tuple[str, ...]] = {
    "session.created": ("session.id", "session.model"),
    "session.updated": ("session.id", "session.model"),
    "response.created": ("response.id",),
    "response.done": ("response.id", "response.status", "response.status_details.reason",
                      "response.status_details.error.code", "response.usage"),
    "input_audio_buffer.committed": ("item_id",),
    "input_audio_buffer.speech_started": ("item_id", "audio_start_ms"),
    "input_audio_buffer.speech_stopped": ("item_id", "audio_end_ms"),
    "conversation.item.added": ("item.id", "item.role", "item.type"),
    "error": ("error.code", "error.type", "error.param", "error.message", "error.event_id"),
}  # fmt: skip
_NAMED = {"session.id": "session_id", "response.id": "response_id", "item.id": "item_id"}
_SAME = {"conversation.item.created": "conversation.item.added"}  # as clients of the beta interface call it
_TYPES: dict[str, EventType] = {**EVENT_TYPES, "error": "error"}
_BEGUN = ("input_audio_buffer.speech_started", "input_audio_buffer.committed")  # an item of the caller
_USER = "conversation.item.input_audio_transcription.completed"
_AGENT = (
    "response.output_audio_transcript.done",
    "response.output_text.done",
    "response.audio_transcript.done",
    "response.text.done",
)
_ITEMS = ("conversation.item.added", "conversation.item.created", "conversation.item.done", "conversation.item.create",
          "response.output_item.added", "response.output_item.done")  # fmt: skip
_HEARD = ("response.output_audio.delta", "response.output_audio_transcript.delta", "output_audio_buffer.started",
          *_AGENT)  # fmt: skip


Charge = Callable[[Mapping[str, Any], str], Mapping[str, Any]]
"""What a response has cost, of its usage and model ("": not told)."""


class Story:
    """What is told of one call. ``after``: its last utterance so far; ``began``: when the call did."""

    def __init__(
        self,
        call_id: UUID,
        began: datetime,
        *,
        locale: str = "",
        after: datetime | None = None,
        charge: Charge = lambda usage, model: {},
    ):
        self.call_id = call_id
        self.began = began
        self.talked_since: datetime | None = None  # the session is there
        self._locale = locale or None
        self._order = TranscriptOrder(after)
        self._charge = charge
        self._model = ""
        self._tools: dict[str, str] = {}
        self._is_heard = False

    def on_event(self, event: Mapping[str, Any], now: datetime) -> Group:
        """The facts that follow; none of an event that the ledger does not keep."""
        type = _text(event.get("type"))
        return tuple(
            fact
            for facts in (
                self._logged(type, event, now),
                self._progress(type, now),
                self._said(type, event, now),
                self._called(type, event, now),
            )
            for fact in facts
        )

    def _logged(self, type: str, event: Mapping[str, Any], now: datetime) -> Iterator[Fact]:
        type = _SAME.get(type, type)
        mapped = _TYPES.get(type)
        if mapped is None:
            return
        event_id = _text(event.get("event_id"))
        payload = {
            _NAMED.get(path, path.rpartition(".")[2]): value
            for path in _KEPT[type]
            if (value := _scalar(_at(event, path))) is not None
        } | ({"event_id": event_id[:NOTE_MAX]} if event_id else {})
        if type in ("session.created", "session.updated"):
            self._model = _text(_at(event, "session.model"))[:NOTE_MAX] or self._model
        if type == "response.done" and (usage := _mapping(_at(event, "response.usage"))):
            payload |= {CHARGE: charge} if (charge := dict(self._charge(usage, self._model))) else {}
        yield self._event(mapped, event_id or _own_key(event), now, payload)

    def _progress(self, type: str, now: datetime) -> Iterator[Fact]:
        """The session talks with the caller; the caller hears it."""
        if type == "session.created" and self.talked_since is None:
            self.talked_since = now
            yield CallChanged(self.call_id, now, status="in_progress")
            yield self._event("answered", "answered", now, {"by": "session.created"})
        if type in _HEARD and not self._is_heard:
            self._is_heard = True
            seconds = max(0.0, (now - self.began).total_seconds())
            yield CallChanged(self.call_id, now, first_time_to_assistant_seconds=round(seconds, 3))

    def _said(self, type: str, event: Mapping[str, Any], now: datetime) -> Iterator[Fact]:
        item_id = _text(event.get("item_id"))
        if type in _BEGUN and item_id:
            self._order.reserve(item_id, "user", now)
        elif type == _USER and item_id:
            yield from self._words(item_id, "user", event.get("transcript"), now)
        elif type in _AGENT and item_id:
            text = event.get("transcript") or event.get("text")
            yield from self._words(item_id, "assistant", text, now)
        elif type in _ITEMS:
            yield from self._message(_mapping(event.get("item")), now)
        elif type == "response.done":
            for item in _items(event):
                yield from self._message(item, now)

    def _message(self, item: Mapping[str, Any], now: datetime) -> Iterator[Fact]:
        item_id, spoken = _text(item.get("id")), _text(item.get("role"))
        role: Role | None = "user" if spoken == "user" else "assistant" if spoken == "assistant" else None
        if item.get("type") != "message" or role is None or not item_id:
            return
        self._order.reserve(item_id, role, now)
        content = item.get("content")
        parts = [_mapping(part) for part in content] if isinstance(content, list) else []
        text = " ".join(filter(None, (_text(part.get("transcript") or part.get("text")) for part in parts)))
        if text and item.get("status") != "in_progress":
            yield from self._words(item_id, role, text, now)

    def _words(self, item_id: str, role: Role, text: object, now: datetime) -> Iterator[Fact]:
        segment = self._order.complete(item_id, role, _text(text)[:TEXT_MAX], now)
        if segment is None:
            return
        yield Transcript(
            id=row_id(self.call_id, "transcript", item_id), call_id=self.call_id, sequence=None, role=segment.role,
            content=segment.content, lang=self._locale, t=segment.t,
        )  # fmt: skip
        known = {"role": segment.role, "item_id": item_id}
        yield self._event("transcript_segment", f"words {item_id}", segment.t, known)

    def _called(self, type: str, event: Mapping[str, Any], now: datetime) -> Iterator[Fact]:
        if type == "response.function_call_arguments.done":
            yield from self._function(event, now)
        elif type in _ITEMS:
            yield from self._item(_mapping(event.get("item")), now, is_whole=not type.endswith("added"))
        elif type == "response.done":
            for item in _items(event):
                yield from self._item(item, now, is_whole=True)

    def _item(self, item: Mapping[str, Any], now: datetime, *, is_whole: bool) -> Iterator[Fact]:
        match item.get("type"):
            case "function_call" if is_whole and item.get("status") != "in_progress":
                yield from self._function(item, now)
            case "function_call":
                self._remember(_text(item.get("call_id")), _text(item.get("name")))
            case "function_call_output":
                yield from self._result(_text(item.get("call_id")), item.get("output"), "")
            case "mcp_call" if is_whole:
                key, error = _text(item.get("id")), item.get("error")
                yield from self._tool(key, item, now, server=_text(item.get("server_label")))
                if error is not None or item.get("output") is not None:
                    yield from self._result(key, item.get("output"), _reason(error))

    def _function(self, call: Mapping[str, Any], now: datetime) -> Iterator[Fact]:
        key = _text(call.get("call_id"))
        yield from self._tool(key, {"name": self._tools.get(key, ""), **call}, now, server="")

    def _tool(self, key: str, call: Mapping[str, Any], now: datetime, *, server: str) -> Iterator[Fact]:
        name, arguments = _text(call.get("name")), _text(call.get("arguments"))
        if not key or not name:
            return
        yield ToolCalled(
            id=row_id(self.call_id, "tool", key), call_id=self.call_id, server=server or None, tool=name[:NOTE_MAX],
            args=_object(arguments), t=now,
        )  # fmt: skip
        known = {
            "id": str(row_id(self.call_id, "tool", key)),
            "tool": name[:NOTE_MAX],
            "server": server or None,
        }
        yield self._event("tool_call", f"tool {key}", now, known)

    def _result(self, key: str, output: object, error: str) -> Iterator[Fact]:
        if not key:
            return
        text = _text(output)
        result = _object(text)
        if result is None and text:
            result = {"output": text} if len(text) <= JSON_MAX else None
        error = error or _reason(_failure(result))
        yield ToolDone(row_id(self.call_id, "tool", key), self.call_id, not error, result, error or None)

    def _remember(self, key: str, name: str) -> None:
        if key and name:
            self._tools[key] = name
            if len(self._tools) > NAMES_MAX:
                del self._tools[next(iter(self._tools))]

    def _event(self, type: EventType, key: str, t: datetime, payload: Mapping[str, Any]) -> Event:
        return Event(row_id(self.call_id, "event", key), self.call_id, type, t, payload)


def _own_key(event: Mapping[str, Any]) -> str:
    """Of an event without an id: the same words are the same event."""
    try:
        return orjson.dumps(event, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # a number of more than 64 bits
        return repr(event)


def _at(event: Mapping[str, Any], path: str) -> Any:
    found: Any = event
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return value[:NOTE_MAX] or None
    if isinstance(value, Mapping):  # usage: numbers
        return dict(value) if len(json.dumps(value, default=str)) <= JSON_MAX else None
    return value if isinstance(value, bool | int | float) else None


def _items(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = _at(event, "response.output")
    return [_mapping(item) for item in found[:ITEMS_MAX]] if isinstance(found, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(text: str) -> Mapping[str, Any] | None:
    """A JSON object, or None: neither something else nor one that is too long to be kept."""
    if not text or len(text) > JSON_MAX:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _failure(result: Mapping[str, Any] | None) -> object:
    """As tools tell it: an ``error``, or ``success`` false."""
    if result is None:
        return None
    return result.get("error") or ("not successful" if result.get("success") is False else None)


def _reason(error: object) -> str:
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("code") or "failed"
    return str(error)[:NOTE_MAX] if error else ""
