"""A call's trace: spans, made of the facts that the ledger gets anyway. No I/O and no clock.

The trace id is the call's id, the span id of a tool's call the first half of its row's: who knows a row knows its place
in the traces, and a tool's service gets its parent without anything being kept (``traceparent``). No number and no
text of the conversation is in a span.

Open calls and spans are bounded; a call beyond ``CALLS_MAX`` has no trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from storage.facts import (
    CallChanged,
    CallCreated,
    CallEnded,
    Event,
    Fact,
    SessionEnded,
    SessionOpened,
    ToolCalled,
    ToolDone,
)
from storage.trunk_facts import CallAttempt, CallCarried

CALLS_MAX = 4096
OPEN_MAX = 64  # spans of one call
NOTES_MAX = 128  # of one call
OVER = frozenset({"done", "failed", "bridged", "over"})  # states of a transfer after which nothing comes

Value = str | bool | int | float
Attributes = Mapping[str, Value]
Note = tuple[datetime, str, Attributes]


@dataclass(frozen=True, slots=True)
class Span:
    """``id`` and ``parent`` have 64 bits; ``parent`` 0: it is the call itself."""

    call: UUID
    id: int
    parent: int
    name: str
    start: datetime
    end: datetime
    attributes: Attributes
    failed: str = ""  # why, in a word
    notes: Sequence[Note] = ()


@dataclass(slots=True)
class _Open:
    """What has begun."""

    name: str
    start: datetime
    attributes: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class _Call:
    root: _Open
    is_answered: bool = False
    spans: dict[UUID, _Open] = field(default_factory=dict)
    transfer: _Open | None = None
    notes: list[Note] = field(default_factory=list)


def root_of(call: UUID) -> int:
    """The span that stands for the call."""
    return span_id(call.bytes + b"call")


def span_id(key: bytes) -> int:
    """64 bits that are never 0, the same for the same key."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) or 1


def tool_span(tool_call: UUID) -> int:
    return int.from_bytes(tool_call.bytes[:8]) or 1


def is_sampled(call: UUID, share: float) -> bool:
    """By its id, so that everybody who knows it decides alike."""
    return int.from_bytes(call.bytes[8:]) & (2**48 - 1) < share * 2**48


def traceparent(call: UUID, tool_call: UUID) -> str:
    """W3C Trace Context, version 00, for who does a tool's work."""
    return f"00-{call.hex}-{tool_span(tool_call):016x}-01"


class CallTraces:
    """The calls that are up. ``take`` gives the spans that have ended."""

    def __init__(self, share: float = 1.0) -> None:
        self._share = share
        self._calls: dict[UUID, _Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def take(self, facts: Sequence[Fact], now: datetime) -> list[Span]:
        return [span for fact in facts for span in self._take(fact, now)]

    def _take(self, fact: Fact, now: datetime) -> list[Span]:
        if isinstance(fact, CallCreated):
            self._begin(fact, now)
            return []
        id = getattr(fact, "call_id", None)
        call = self._calls.get(id) if isinstance(id, UUID) else None
        if call is None or id is None:
            return []
        match fact:
            case CallChanged():
                return _changed(id, call, fact)
            case CallCarried():
                call.root.attributes |= {
                    "sipua.trunk": fact.trunk or "",
                    "sipua.provider": fact.provider or "",
                }
            case CallAttempt():
                return [_attempt(fact)]
            case SessionOpened():
                return _opened(id, call, fact, now)
            case ToolCalled():
                attributes = {"sipua.tool": fact.tool, "sipua.tool.server": fact.server or ""}
                _open(call, fact.id, _Open("tool", fact.t, dict(attributes)))
            case ToolDone():
                return _closed(id, call, fact.id, now, "" if fact.success else "error", tool_span(fact.id))
            case SessionEnded():
                return _closed(id, call, fact.id, fact.ended_at, "lost" if fact.status == "failed" else "")
            case Event():
                return _noted(id, call, fact)
            case CallEnded():
                return self._end(id, call, fact)
        return []

    def _begin(self, fact: CallCreated, now: datetime) -> None:
        if len(self._calls) >= CALLS_MAX or not is_sampled(fact.id, self._share):
            return
        known = {
            "sipua.direction": fact.direction, "sipua.trunk": fact.trunk, "sipua.provider": fact.provider,
            "sipua.channel": fact.channel, "sipua.country": fact.country, "sipua.locale": fact.locale,
        }  # fmt: skip
        attributes: dict[str, Value] = {name: value for name, value in known.items() if value}
        self._calls[fact.id] = _Call(_Open("call", fact.started_at or now, attributes))

    def _end(self, id: UUID, call: _Call, fact: CallEnded) -> list[Span]:
        del self._calls[id]
        failed = str(fact.metadata.get("end_reason") or "failed") if fact.status == "failed" else ""
        end = fact.ended_at
        spans = [span for key in list(call.spans) for span in _closed(id, call, key, end, "ended")]
        spans += _transferred(id, call, end)
        if not call.is_answered:
            spans.append(_part(id, "setup", call.root.start, end, {}, failed or fact.status))
        ended: dict[str, Value] = {"sipua.status": fact.status, "sipua.outcome": fact.outcome or ""}
        call.root.attributes |= ended | _media(fact.metadata)
        root = Span(
            id, root_of(id), 0, "call", call.root.start, end, call.root.attributes, failed, tuple(call.notes)
        )
        return [*spans, root]


def _changed(id: UUID, call: _Call, fact: CallChanged) -> list[Span]:
    spans = []
    if fact.status == "ringing":
        _note(call, fact.at, "ringing", {})
    if fact.status == "in_progress" and not call.is_answered:
        call.is_answered = True
        spans.append(_part(id, "setup", call.root.start, fact.at, {}))
    if fact.first_time_to_assistant_seconds is not None:
        call.root.attributes["sipua.first_audio_seconds"] = fact.first_time_to_assistant_seconds
    if isinstance(told := fact.metadata.get("transfer"), Mapping):
        state = str(told.get("state") or "")
        if call.transfer is None:
            call.transfer = _Open("transfer", fact.at)
        call.transfer.attributes |= {
            f"sipua.transfer.{key}": value
            for key, value in told.items()
            if isinstance(value, str | bool | int)
        }
        if state in OVER:
            spans += _transferred(id, call, fact.at)
    return spans


def _transferred(id: UUID, call: _Call, end: datetime) -> list[Span]:
    transfer, call.transfer = call.transfer, None
    if transfer is None:
        return []
    failed = transfer.attributes.get("sipua.transfer.state") == "failed"
    return [_part(id, "transfer", transfer.start, end, transfer.attributes, "failed" if failed else "")]


def _attempt(fact: CallAttempt) -> Span:
    code = fact.code or 0
    attributes: dict[str, Value] = {
        "sipua.trunk": fact.trunk, "sipua.target": fact.target, "sip.response.code": code,
        "sipua.decision": fact.decision, "sipua.attempt": fact.ordinal,
    }  # fmt: skip
    end = fact.started_at + timedelta(milliseconds=fact.ms)
    failed = "" if 200 <= code < 300 else str(code or "no answer")
    return Span(
        fact.call_id,
        tool_span(fact.id),
        root_of(fact.call_id),
        "attempt",
        fact.started_at,
        end,
        attributes,
        failed,
    )


def _opened(id: UUID, call: _Call, fact: SessionOpened, now: datetime) -> list[Span]:
    at = fact.started_at or now
    seconds, why = fact.metadata.get("connect_seconds"), str(fact.metadata.get("opened_for", ""))
    attributes: dict[str, Value] = {"gen_ai.request.model": fact.model or "", "sipua.session.why": why}
    _open(call, fact.id, _Open("voice session", at, attributes))
    if not isinstance(seconds, int | float):
        return []
    return [_part(id, "voice connect", at - timedelta(seconds=seconds), at, attributes)]


def _noted(id: UUID, call: _Call, fact: Event) -> list[Span]:
    if fact.type == "error":
        _note(call, fact.t, "error", {"sipua.reason": str(fact.payload.get("reason", ""))})
    seconds, heard = fact.payload.get("latency_seconds"), fact.payload.get("first_audio_at")
    if (
        fact.type != "transcript_segment"
        or not isinstance(seconds, int | float)
        or not isinstance(heard, str)
    ):
        return []
    end = datetime.fromisoformat(heard)
    return [_part(id, "turn", end - timedelta(seconds=seconds), end, {"sipua.turn.latency_seconds": seconds})]


def _open(call: _Call, key: UUID, span: _Open) -> None:
    if len(call.spans) < OPEN_MAX:
        call.spans[key] = span


def _closed(id: UUID, call: _Call, key: UUID, end: datetime, failed: str, span: int = 0) -> list[Span]:
    found = call.spans.pop(key, None)
    if found is None:
        return []
    number = tool_span(key) if found.name == "tool" else span or span_id(key.bytes)
    return [Span(id, number, root_of(id), found.name, found.start, end, found.attributes, failed)]


def _part(
    id: UUID, name: str, start: datetime, end: datetime, attributes: Attributes, failed: str = ""
) -> Span:
    number = span_id(id.bytes + name.encode() + end.isoformat().encode())
    return Span(id, number, root_of(id), name, start, end, dict(attributes), failed)


def _note(call: _Call, at: datetime, name: str, attributes: Attributes) -> None:
    if len(call.notes) < NOTES_MAX:
        call.notes.append((at, name, attributes))


def _media(metadata: Mapping[str, Any]) -> dict[str, Value]:
    """What the call was like to hear."""
    rtp = metadata.get("rtp")
    if not isinstance(rtp, Mapping):
        return {}
    quality = rtp.get("quality")
    known = {
        "sipua.rtp.lost": rtp.get("lost"),
        "sipua.rtp.jitter_ms": rtp.get("jitter_ms"),
        "sipua.rtp.mos": quality.get("mos") if isinstance(quality, Mapping) else None,
        "sip.response.code": metadata.get("sip_code"),
    }
    return {name: value for name, value in known.items() if isinstance(value, int | float)}
