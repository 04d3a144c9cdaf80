"""What a chat shows: words as they come, tools dimly; or one JSON document a line. Watches the ledger of its process.

It stands where the live feed stands and before the ledger's writer, so that what is shown is what is written. Whoever
answers may have had a hand in the text: it moves no cursor and changes no colour.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from uuid import UUID

import orjson

from storage.facts import Fact, Group, ToolCalled, ToolDone

SHOWN_CHARS = 200  # of arguments and results
PROMPT = "you: "
DIM, PLAIN = "\x1b[2m", "\x1b[0m"
UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Writer(Protocol):
    """storage.writer.LedgerWriter, as far as this module needs it."""

    def put(self, group: Group) -> None: ...


class View(Protocol):
    """One way of showing."""

    def show(self, event: Mapping[str, Any]) -> None: ...


class Screen:
    """``sipua.ledger.Watchers`` and ``Writer`` of one chat; ``writer`` None: no rows."""

    is_watched = True

    def __init__(self, view: View, writer: Writer | None) -> None:
        self._view = view
        self._writer = writer
        self._tools: dict[UUID, str] = {}  # those that run; bounded by the tool box

    def publish(self, entry: Mapping[str, Any]) -> None:
        if entry["event"] not in ("tool", "tool_done"):  # they come with arguments and results as facts
            self._view.show(entry)

    def put(self, group: Group) -> None:
        for fact in group:
            self._show(fact)
        if self._writer is not None:
            self._writer.put(group)

    def _show(self, fact: Fact) -> None:
        match fact:
            case ToolCalled():
                self._tools[fact.id] = fact.tool
                self._view.show({"event": "tool", "id": str(fact.id), "tool": fact.tool, "args": fact.args})
            case ToolDone():
                told = {"error": fact.error} if fact.error is not None else {"result": fact.result}
                tool = self._tools.pop(fact.id, "")
                self._view.show({"event": "tool_done", "id": str(fact.id), "tool": tool, **told})


class Lines:
    """One JSON document a line."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def show(self, event: Mapping[str, Any]) -> None:
        self._write(orjson.dumps(dict(event), default=str).decode() + "\n")


class Text:
    """For people. ``is_terminal``: colours, and what is typed is on the screen already."""

    def __init__(self, write: Callable[[str], None], *, is_terminal: bool, echoes: bool) -> None:
        self._write = write
        self._dim = (DIM, PLAIN) if is_terminal else ("", "")
        self._echoes = echoes
        self._item = ""  # whose words, or what, stand at the cursor

    def show(self, event: Mapping[str, Any]) -> None:
        match event:
            case {"event": "transcript_delta", "role": "assistant", "item": item, "text": text}:
                if item != self._item:
                    self._end_line()
                    self._item = item
                    self._write("agent: ")
                self._write(_printable(text))
            case {"event": "transcript", "role": role, "item": item, "text": text}:
                self._transcript(role, item, text)
            case {"event": "tool", "tool": tool, "args": args}:
                self._note(f"{tool} {_short(args)}")
            case {"event": "tool_done", "tool": tool, "error": error}:
                self._note(f"{tool} failed: {error}")
            case {"event": "tool_done", "tool": tool, "result": result}:
                self._note(f"{tool} → {_short(result)}")
            case {"event": "language", "locale": locale, "why": why}:
                self._note(f"language: {locale} ({why})")
            case {"event": "error", "reason": reason, "message": message}:
                self._note(f"{reason}: {message}")
            case {"event": "ended", "reason": reason}:
                self._note(f"ended: {reason}")

    def prompt(self) -> None:
        """It is somebody's turn to type."""
        self._end_line()
        self._item = PROMPT
        self._write(PROMPT)

    def _transcript(self, role: str, item: str, text: str) -> None:
        if item == self._item:
            self._end_line()
        elif role == "user":
            if self._echoes:
                self._end_line()
                self._write(f"{PROMPT}{_printable(text)}\n")
            self._item = ""  # the end of the line was typed too
        elif role == "system":
            self._note(text)
        else:
            self._end_line()
            self._write(f"agent: {_printable(text)}\n")

    def _note(self, text: str) -> None:
        self._end_line()
        on, off = self._dim
        self._write(f"{on}· {_printable(text)}{off}\n")

    def _end_line(self) -> None:
        if self._item:
            self._item = ""
            self._write("\n")


def _printable(text: str) -> str:
    return UNPRINTABLE.sub("", text)


def _short(value: object) -> str:
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
