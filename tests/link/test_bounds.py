"""Whatever ids a service invents and never ends, what is kept of them is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import orjson
import pytest

from rtp.codec import CODECS
from rtp.playout import Playout
from sipua.conversation import Conversation
from sipua.keys import KeyRules
from sipua.ports import Moment
from sipua.realtime import events as ev
from sipua.realtime.config import SessionConfig
from sipua.realtime.floor import Floor
from sipua.realtime.history import History
from sipua.realtime.protocol import RealtimeProtocol

ENDLESS = 12_000
KEPT_MAX = 10_000  # of all tables of one core together
NOW = Moment(0.0, datetime(2026, 1, 1, tzinfo=UTC))

# What may go on for ever: event number n.
STREAMS: dict[str, Callable[[int], ev.Event]] = {
    "responses": lambda n: ev.ResponseCreated(f"r{n}"),
    "words": lambda n: ev.AssistantTranscriptDelta(f"a{n}", f"r{n}", "x"),
    "texts": lambda n: ev.AssistantTranscript(f"a{n}", f"r{n}", "x"),
    "items": lambda n: ev.ItemAdded(f"a{n}", "assistant", "message", None),
    "output": lambda n: ev.OutputItemAdded(f"r{n}", f"a{n}", "message", None),
    "speech": lambda n: ev.SpeechStarted(f"u{n}", n),
    "turns": lambda n: ev.InputCommitted(f"u{n}", None),
    "callers": lambda n: ev.UserTranscript(f"u{n}", "x"),
    "tools": lambda n: ev.FunctionCall(f"r{n}", f"f{n}", f"c{n}", "book", "{}"),
    "tools of one item": lambda n: ev.FunctionCall("r", "f", f"c{n}", "book", "{}"),
    "remote tools": lambda n: ev.McpCall(f"r{n}", f"m{n}", "maps", "find"),
    "approvals": lambda n: ev.McpApproval(f"r{n}", f"m{n}", "maps", "find", "{}"),
    "late audio": lambda n: ev.LateAudio(f"r{n}", f"a{n}"),
    "unknown": lambda n: ev.UnknownEvent(f"kind {n}"),
    "cancelled": lambda n: ev.ResponseDone(f"r{n}", "cancelled", None, None, None, None),
}


def conversation() -> tuple[Any, Callable[[ev.Event], object]]:
    core = Conversation(Playout(CODECS["PCMU"]), greeting="Greet.", keys=KeyRules())
    return core, lambda event: core.on_event(event, NOW)


def floor() -> tuple[Any, Callable[[ev.Event], object]]:
    core = Floor(0.0)
    return core, lambda event: core.on_event(event, 0.0)


def history() -> tuple[Any, Callable[[ev.Event], object]]:
    core = History()
    return core, lambda event: core.on_event(event, is_present=True)


def kept(value: object, seen: set[int]) -> Iterator[int]:
    """Sizes of the tables in an object of ours and in what it holds."""
    if id(value) in seen or isinstance(value, ModuleType | type | str | bytes) or callable(value):
        return
    seen.add(id(value))
    if isinstance(value, dict | list | set) or type(value).__name__ == "deque":
        yield len(value)  # type: ignore[arg-type]
        children: list[object] = list(value.values() if isinstance(value, dict) else value)  # type: ignore[call-overload]
    else:
        slots = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
        children = [getattr(value, name, None) for name in (*getattr(value, "__dict__", ()), *slots)]
    for child in children[:KEPT_MAX]:
        if type(child).__module__.startswith(("sipua.", "rtp.", "builtins", "collections")):
            yield from kept(child, seen)


@pytest.mark.parametrize("core", [conversation, floor, history])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_service_without_end_is_kept_in_bounds(
    core: Callable[[], tuple[Any, Callable[[ev.Event], object]]], stream: str
) -> None:
    one, feed = core()
    for n in range(ENDLESS):
        feed(STREAMS[stream](n))
    assert sum(kept(one, set())) < KEPT_MAX


def test_responses_that_never_end_are_forgotten_by_the_protocol() -> None:
    core = RealtimeProtocol(SessionConfig("m"))
    session = {
        "id": "s",
        "audio": {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcmu"}}},
    }
    core.receive(orjson.dumps({"type": "session.created", "session": session}))
    core.session_update()
    core.receive(orjson.dumps({"type": "session.updated", "session": session}))
    for n in range(ENDLESS):
        core.receive(
            orjson.dumps({"type": "response.created", "response": {"id": f"r{n}", "status": "in_progress"}})
        )
        assert core.response_cancel(f"r{n}") is not None
    assert sum(kept(core, set())) < KEPT_MAX
