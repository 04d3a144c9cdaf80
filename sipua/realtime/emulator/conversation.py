"""The conversation: items in order, and create, retrieve, delete, truncate with their errors.

No I/O, no clock. ``conversation.item.truncate`` and the texts of most errors are derived from the
specification and from others' logs, not observed in the recordings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .validate import RequestError, anything, by_type, integer, list_of, missing, one_of, record, text
from .wire import Event, Ids

_PARTS = {"input_text": "text", "output_text": "text", "input_audio": "audio", "output_audio": "audio"}
_PARTS_OF_ROLE = {
    "user": ("input_text", "input_audio", "input_image"),
    "system": ("input_text",),
    "assistant": ("output_text", "output_audio"),
}
_part_fields = dict.fromkeys(("type", "text", "audio", "transcript", "image_url", "detail"), anything)
_common = {"type": text, "id": text, "object": text, "status": text}
_ITEM = by_type(
    {
        "message": record(
            {
                **_common,
                "role": one_of("user", "assistant", "system"),
                "content": list_of(record(_part_fields)),
            },
            ("role", "content"),
        ),
        "function_call": record(
            {**_common, "name": text, "call_id": text, "arguments": text}, ("name", "arguments")
        ),
        "function_call_output": record({**_common, "call_id": text, "output": text}, ("call_id", "output")),
        "mcp_approval_response": record(
            {"type": text, "id": text, "approval_request_id": text, "approve": anything, "reason": anything},
            ("approval_request_id", "approve"),
        ),
    }
)
_TRUNCATE = record(
    {
        "type": text,
        "event_id": text,
        "item_id": text,
        "content_index": integer(0, 2**31),
        "audio_end_ms": integer(0, 2**31),
    },
    ("item_id", "content_index", "audio_end_ms"),
)


@dataclass(slots=True)
class Item:
    """One item as on the wire, and how much audio of it exists."""

    body: Event
    audio_ms: int = 0

    @property
    def id(self) -> str:
        return str(self.body["id"])


class Conversation:
    """Owns the items and their order; methods raise :class:`RequestError` for a client's mistake."""

    def __init__(self, ids: Ids) -> None:
        self.id = ids.new("conv")
        self._ids = ids
        self._items: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def append(self, item: Item) -> str | None:
        """Adds at the end; returns the id of the item before it."""
        previous = self._items[-1].id if self._items else None
        self._items.append(item)
        return previous

    def after(self, item: Item) -> list[Item]:
        """The items that follow it."""
        return self._items[self._items.index(item) + 1 :]

    def find(self, item_id: str) -> Item | None:
        return next((item for item in self._items if item.id == item_id), None)

    def create(self, event: Event) -> tuple[str | None, Item]:
        if "item" not in event:
            raise missing("item")
        body = self._normal(_ITEM(event["item"], "item"))
        if self.find(body["id"]):
            raise RequestError(
                "item_create_invalid_item_id", f"Error adding item: the ID '{body['id']}' is in use."
            )
        if body["type"] == "function_call_output" and not self._has_call(body["call_id"]):
            raise RequestError(
                "item_create_invalid_call_id",
                f"Tool call ID '{body['call_id']}' not found in conversation.",
                "item.call_id",
            )
        item = Item(body)
        return self._place(item, event.get("previous_item_id")), item

    def _normal(self, body: Event) -> Event:
        item: Event = {"id": body.get("id") or self._ids.new("item"), "type": body["type"]}
        if body["type"] in ("message", "function_call"):
            item["status"] = "incomplete" if body.get("status") == "incomplete" else "completed"
        item.update({k: v for k, v in body.items() if k not in ("id", "type", "status", "object")})
        if body["type"] == "message":
            item["content"] = [
                _part(p, body["role"], f"item.content[{i}]") for i, p in enumerate(body["content"])
            ]
        return item

    def _has_call(self, call_id: str) -> bool:
        return any(
            i.body["type"] == "function_call" and i.body.get("call_id") == call_id for i in self._items
        )

    def _place(self, item: Item, after: Any) -> str | None:
        if after is None:
            return self.append(item)
        if after == "root":
            self._items.insert(0, item)
            return None
        for index, other in enumerate(self._items):
            if other.id == after:
                self._items.insert(index + 1, item)
                return other.id
        raise RequestError(
            "item_create_invalid_previous_item_id",
            f"Error adding item: the previous item with id '{after}' does not exist.",
            "previous_item_id",
        )

    def known(self, event: Event, verb: str) -> Item:
        """The item an event names, for delete, retrieve and truncate."""
        if "item_id" not in event:
            raise missing("item_id")
        item = self.find(text(event["item_id"], "item_id"))
        if item is None:
            raise RequestError(
                f"item_{verb}_invalid_item_id",
                f"Error with item {verb}: the item with id '{event['item_id']}' does not exist.",
                "item_id",
            )
        return item

    def delete(self, event: Event) -> Item:
        item = self.known(event, "delete")
        self._items.remove(item)
        return item

    def truncate(self, event: Event) -> Item:
        """Cuts an assistant item's audio and drops its transcript (derived from the specification)."""
        _TRUNCATE(event, "")
        item = self.known(event, "truncate")
        content = item.body.get("content", [])
        if item.body.get("role") != "assistant":
            raise RequestError(
                "item_truncate_invalid_role", "Only model output audio messages can be truncated.", "item_id"
            )
        index = event["content_index"]
        if index >= len(content) or content[index]["type"] != "output_audio":
            raise RequestError(
                "item_truncate_invalid_content_index", "No audio at this content_index.", "content_index"
            )
        if event["audio_end_ms"] > item.audio_ms:
            raise RequestError(
                "invalid_value",
                f"Audio content of {item.audio_ms}ms is already shorter than {event['audio_end_ms']}ms",
            )
        item.audio_ms = event["audio_end_ms"]
        cut = {**content[index], "transcript": None}
        item.body["content"] = [*content[:index], cut, *content[index + 1 :]]
        return item


def _part(part: Event, role: str, path: str) -> Event:
    if "type" not in part:
        raise missing(f"{path}.type")
    kind = one_of(*_PARTS_OF_ROLE[role])(part["type"], f"{path}.type")
    wanted = _PARTS.get(kind)
    if kind in ("input_text", "output_text", "input_audio") and wanted not in part:
        raise missing(f"{path}.{wanted}")
    if wanted in part:
        text(part[wanted], f"{path}.{wanted}")
    return {key: value for key, value in part.items() if key != "audio"}
