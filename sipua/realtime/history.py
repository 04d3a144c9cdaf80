"""The conversation as text: what a session has to be told that takes over from another. No I/O, no clock.

Fed with the events of all sessions of a call and with what we sent ourselves, it keeps the items in the order of the
conversation, whatever the order of arrival. Ids are kept from session to session, so that an item can be named
wherever it is: natively (with its audio) or as text, where truncating becomes deleting and writing the part that was
heard. A transcript that comes after the change is placed where it belongs (``late``).

Theory of the parts: how much of an item was heard is known in milliseconds, its words are not timed; a part is the same
share of the characters, cut back to whole words. Of an item that broke off its whole length is unknown: there the
speed of speaking of the items before counts, 15 characters a second until there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sipua.realtime import events as ev

ITEMS_MAX = 400
TEXT_MAX = 4000  # characters of one item
SEED_ITEMS_MAX = 200  # the queue of a session takes 256 control events at once
SEED_CHARS_MAX = 24_000  # about 6000 tokens, of 128,000
SLOWEST_CHARS_PER_S, USUAL_CHARS_PER_S, FASTEST_CHARS_PER_S = 8.0, 15.0, 25.0

Wire = dict[str, Any]
Role = Literal["user", "assistant", "system", "tool"]
ROLES: dict[object, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


@dataclass(slots=True)
class _Item:
    item_id: str
    role: Role
    text: str = ""
    is_done: bool = False  # its text is complete
    audio_ms: int = 0
    parts: list[str] = field(default_factory=list)
    wires: tuple[Wire, ...] = ()  # of a tool: the call, then its output


class History:
    """Everything that was said in one call."""

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._by_id: dict[str, _Item] = {}
        self._calls: dict[str, _Item] = {}
        self._present: set[str] = set()  # in the present session, in whatever form
        self._as_text: set[str] = set()  # … of those, told to it by us
        self._chars_per_s = USUAL_CHARS_PER_S

    # what happens

    def on_event(self, event: ev.Event, *, is_present: bool) -> None:
        """``is_present``: of the session that hears the caller, not of one that lingers."""
        match event:
            case ev.ItemAdded():
                self._added(event, is_present)
            case ev.InputCommitted():
                self._place(event.item_id, "user", event.previous_item_id, is_present)
            case ev.UserTranscript():
                self._complete(event.item_id, "user", event.text)
            case ev.AssistantTranscriptDelta() | ev.TextDelta():
                item = self._place(event.item_id, "assistant", None, is_present)
                if not item.is_done and sum(map(len, item.parts)) < TEXT_MAX:
                    item.parts.append(event.text)
            case ev.AssistantTranscript() | ev.TextDone():
                self._place(event.item_id, "assistant", None, is_present)
                self._complete(event.item_id, "assistant", event.text)
            case ev.FunctionCall():
                self._called(event, is_present)
            case ev.ItemDeleted():
                self._present.discard(event.item_id)
            case _:
                pass

    def audio(self, item_id: str, ms: int) -> None:
        """So much more of an assistant's item has come."""
        item = self._by_id.get(item_id)
        if item is not None:
            item.audio_ms += ms

    def created(self, wire: Mapping[str, Any]) -> None:
        """An item of ours. One without an id is given none here and is forgotten with its session."""
        if wire.get("type") == "function_call_output":
            self._answered(wire)
            return
        item_id, role = wire.get("id"), ROLES.get(wire.get("role"))
        if isinstance(item_id, str) and role is not None:
            item = self._place(item_id, role, None, True)
            item.text, item.is_done = _text_of(wire), True

    def heard(self, item_id: str, ms: int) -> None:
        """No more than that of the item was heard."""
        item = self._by_id.get(item_id)
        if item is None:
            return
        if item.is_done:
            item.text = part(item.text, ms, item.audio_ms)
        else:
            item.text, item.is_done = self._spoken_in(item, ms), True
        item.audio_ms = min(ms, item.audio_ms)

    def broken_off(self) -> list[tuple[str, str]]:
        """The session is gone: (id, text) of items whose audio has come in part. They are complete now."""
        cut = [item for item in self._items if item.role == "assistant" and not item.is_done]
        for item in cut:
            item.text, item.is_done = self._spoken_in(item, item.audio_ms), True
        return [(item.item_id, item.text) for item in cut]

    # what is to be told

    def knows(self, item_id: str) -> bool:
        return item_id in self._by_id

    def is_text(self, item_id: str) -> bool:
        """Whether the present session has it from us, without audio."""
        return item_id in self._as_text

    def seed(self, unfinished: str | None = None) -> list[Wire]:
        """The newest items whose text is known, oldest first, for a new session, which is the present one now.

        ``unfinished``: an item that the assistant is to go on with.
        """
        chosen: list[_Item] = []
        chars = 0
        for item in reversed(self._items):
            chars += len(item.text) + sum(len(str(wire)) for wire in item.wires)
            if chars > SEED_CHARS_MAX or len(chosen) >= SEED_ITEMS_MAX:
                break
            if _can_be_told(item):
                chosen.append(item)
        chosen.reverse()
        self._as_text = {item.item_id for item in chosen}
        self._present = set(self._as_text)
        return [wire for item in chosen for wire in _wires(item, is_whole=item.item_id != unfinished)]

    def late(self, event: ev.Event) -> list[tuple[Wire, str]]:
        """(item, id of the one before it) to be created in the present session, whose place that event completes."""
        item_id = getattr(event, "item_id", "")
        item = self._by_id.get(item_id)
        if item is None or item_id in self._present or not _can_be_told(item):
            return []
        return self._told(item)

    def unfinished(self, item_id: str) -> list[tuple[Wire, str]]:
        """The same for an item that the assistant is to go on with."""
        item = self._by_id.get(item_id)
        return [] if item is None or item_id in self._present else self._told(item, is_whole=False)

    def tool_result(self, call_id: str) -> list[tuple[Wire, str]]:
        """The same for a tool whose call the present session has not seen; [] if it has."""
        item = self._calls.get(call_id)
        if item is None or item.item_id in self._present or not _can_be_told(item):
            return []
        return self._told(item)

    def rewritten(self, item_id: str) -> list[tuple[Wire, str]]:
        """An item that the present session has as text, as it is now: to be created after it has been deleted."""
        item = self._by_id[item_id]
        self._present.discard(item_id)
        return self._told(item) if _can_be_told(item) else []

    def _told(self, item: _Item, *, is_whole: bool = True) -> list[tuple[Wire, str]]:
        before = self._before(item)
        self._present.add(item.item_id)
        self._as_text.add(item.item_id)
        wires = _wires(item, is_whole=is_whole)
        ids = [before, *(str(wire["id"]) for wire in wires)]
        return list(zip(wires, ids, strict=False))

    def _before(self, item: _Item) -> str:
        """The nearest item before it that the present session has; "root" is the service's word for none."""
        index = self._items.index(item)
        return next(
            (_last_id(each) for each in reversed(self._items[:index]) if each.item_id in self._present),
            "root",
        )

    # keeping

    def _added(self, event: ev.ItemAdded, is_present: bool) -> None:
        if event.role in ("user", "assistant"):
            self._place(event.item_id, ROLES[event.role], event.previous_item_id, is_present)

    def _called(self, event: ev.FunctionCall, is_present: bool) -> None:
        item = self._place(event.item_id, "tool", None, is_present)
        call = {"id": event.item_id, "type": "function_call", "call_id": event.call_id, "name": event.name}
        item.wires = (call | {"arguments": event.arguments[:TEXT_MAX]},)
        self._calls[event.call_id] = item
        if len(self._calls) > ITEMS_MAX:  # one item with ever other calls
            del self._calls[next(iter(self._calls))]

    def _answered(self, wire: Mapping[str, Any]) -> None:
        item = self._calls.get(str(wire.get("call_id")))
        if item is not None and len(item.wires) == 1:
            item_id = wire.get("id") or f"{item.item_id}_o"[-32:]
            output = {**wire, "id": item_id, "output": str(wire.get("output"))[:TEXT_MAX]}
            item.wires, item.is_done = (*item.wires, output), True

    def _place(
        self,
        item_id: str,
        role: Role,
        previous: str | None,
        is_present: bool,
    ) -> _Item:
        """The item, which stands behind ``previous`` if that is known, else at the end."""
        if is_present:
            self._present.add(item_id)
        known = self._by_id.get(item_id)
        if known is not None:
            return known
        item = _Item(item_id, role)
        before = self._by_id.get(previous) if previous is not None else None
        self._items.insert(len(self._items) if before is None else self._items.index(before) + 1, item)
        self._by_id[item_id] = item
        if len(self._items) > ITEMS_MAX:
            self._forget(self._items.pop(0))
        return item

    def _forget(self, item: _Item) -> None:
        del self._by_id[item.item_id]
        self._present.discard(item.item_id)
        self._as_text.discard(item.item_id)
        if item.wires:
            self._calls.pop(str(item.wires[0]["call_id"]), None)

    def _complete(self, item_id: str, role: Role, text: str) -> None:
        item = self._by_id.get(item_id)
        if item is None or item.role != role or item.is_done:
            return
        item.text, item.is_done = text.strip()[:TEXT_MAX], True
        if role == "assistant" and item.audio_ms >= 1000 and item.text:
            per_s = len(item.text) / item.audio_ms * 1000
            self._chars_per_s = min(max(per_s, SLOWEST_CHARS_PER_S), FASTEST_CHARS_PER_S)

    def _spoken_in(self, item: _Item, ms: int) -> str:
        text = "".join(item.parts).strip()
        return _cut(text, round(ms / 1000 * self._chars_per_s))


def part(text: str, heard_ms: int, whole_ms: int) -> str:
    """The words of ``text`` that were heard when ``heard_ms`` of its ``whole_ms`` were played."""
    if whole_ms <= 0 or heard_ms >= whole_ms:
        return text if heard_ms > 0 else ""
    return _cut(text, round(len(text) * heard_ms / whole_ms))


def _cut(text: str, length: int) -> str:
    """Whole words of it, about so many characters."""
    if length >= len(text):
        return text
    if text[length : length + 1].isspace():
        return text[:length]
    return text[: text.rfind(" ", 0, length + 1) + 1].rstrip()


def _can_be_told(item: _Item) -> bool:
    return len(item.wires) == 2 if item.role == "tool" else item.is_done and bool(item.text)


def _wires(item: _Item, *, is_whole: bool = True) -> list[Wire]:
    if item.role == "tool":
        return list(item.wires)
    kind = "output_text" if item.role == "assistant" else "input_text"
    status = "completed" if is_whole else "incomplete"
    content = [{"type": kind, "text": item.text}]
    return [{"id": item.item_id, "type": "message", "role": item.role, "status": status, "content": content}]


def _last_id(item: _Item) -> str:
    return str(item.wires[-1]["id"]) if len(item.wires) == 2 and item.role == "tool" else item.item_id


def _text_of(wire: Mapping[str, Any]) -> str:
    parts = wire.get("content")
    texts = (
        [str(each.get("text", "")) for each in parts if isinstance(each, Mapping)]
        if isinstance(parts, list)
        else []
    )
    return " ".join(texts).strip()[:TEXT_MAX]
