"""What goes on now, as the dashboard shows it: the calls of this process by its feed, others' as the database has them.

No I/O and no clock. All values are JSON types and text of others is shortened, never interpreted: the page shows it as
text. Numbers are masked before they come here. ``snapshot`` is everything; ``changes`` what is new since it was asked
last, with many words of one call merged into one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

CALLS_MAX = 2000  # of this process: twice what pjsua can hold
SHOWN_MAX = 200  # calls of a snapshot, the newest
LINES_MAX = 60  # of a call
LINES_SHOWN = 2000  # of a snapshot, shared by its calls: 2 ms to encode
TEXT_MAX = 2000  # characters of one line
ENDED_MAX = 5000  # calls of ours that the database may still call live

Entry = Mapping[str, Any]
Json = dict[str, Any]
UNKNOWN = ("quality", "first_audio_s", "turn_ms")  # of a call of another process
_RTP = ("received", "lost", "jitter_ms")


class LiveCall:
    """One call: ``fields``, and the last of what was said."""

    def __init__(self, fields: Json) -> None:
        self.fields = fields
        self.lines: OrderedDict[str, Json] = OrderedDict()
        self._count = 0

    def say(self, item: str, **values: Any) -> Json:
        """A line of that name, made or changed."""
        line = self.lines.get(item)
        if line is None:
            self._count += 1
            line = self.lines[item] = {"call": self.fields["id"], "item": item, "nr": self._count}
            if len(self.lines) > LINES_MAX:
                self.lines.popitem(last=False)
        line.update(values)
        return line

    def note(self, at: str, kind: str, text: str) -> Json:
        """A line that nobody spoke."""
        return self.say(f"note-{self._count + 1}", role="note", kind=kind, text=_text(text), at=at, done=True)

    def document(self, lines: int) -> Json:
        """With so many of the last lines."""
        return self.fields | {"lines": list(self.lines.values())[-lines:]}


class Board:
    """All of it. Times are ISO 8601 texts."""

    def __init__(self) -> None:
        self.parts: Json = {}  # trunks, state, … as they were shown last
        self._own: OrderedDict[str, LiveCall] = OrderedDict()
        self._others: dict[str, LiveCall] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()  # asked for each row of each look
        self._changed: dict[str, set[str]] = {}
        self._said: dict[tuple[str, str], Json] = {}
        self._gone: list[Json] = []
        self._new_parts: Json = {}

    # ---- what it is told -------------------------------------------------------------------------------------

    def hear(self, entry: Entry, at: str) -> None:
        """An entry of the feed, whichever."""
        id = str(entry.get("call", ""))
        if entry["event"] == "call" and entry["state"] in ("incoming", "outgoing"):
            self._begin(id, entry, at)
        elif id in self._own:
            self._own_call(self._own[id], entry, at)

    def keep(self, ids: Collection[str]) -> None:
        """Entries were lost: of our calls these are up, the others have ended meanwhile."""
        for id in [id for id in self._own if id not in ids]:
            self._end(id, {})

    def see_others(self, rows: Iterable[Entry]) -> None:
        """The live calls of the database; ours are told by the feed."""
        found = {str(row["id"]): row for row in rows}
        for id in [id for id in self._others if id not in found]:
            del self._others[id]
            self._leave({"id": id})
        for id, row in found.items():
            if id not in self._own and id not in self._ended:
                self._see(id, row)

    def forget_others(self) -> None:
        """Nobody looks at the database any more: what it said then is not what it will say."""
        self._others.clear()

    def show(self, part: str, value: Any) -> None:
        """Something beside the calls, if it is not what was shown last."""
        if self.parts.get(part) != value:
            self.parts[part] = self._new_parts[part] = value

    # ---- what it tells ---------------------------------------------------------------------------------------

    def snapshot(self) -> Json:
        calls = [*self._own.values(), *self._others.values()]
        calls.sort(key=lambda call: str(call.fields["started_at"]), reverse=True)
        shown = calls[:SHOWN_MAX]
        lines = LINES_SHOWN // max(1, len(shown))
        return {"calls": [call.document(lines) for call in shown], "up": len(calls), **self.parts}

    def changes(self) -> Json | None:
        """None: nothing. Texts of a line are whole, also where only a part is new."""
        told: Json = dict(self._new_parts)
        calls = [
            {"id": id} | {name: call.fields[name] for name in names}
            for id, names in self._changed.items()
            if (call := self._own.get(id) or self._others.get(id)) is not None
        ]
        if calls:
            told["calls"] = calls
        if self._said:
            told["lines"] = [dict(line) for line in self._said.values()]
        if self._gone:
            told["gone"] = self._gone
        if calls or self._gone:
            told["up"] = len(self._own) + len(self._others)
        self.forget_changes()
        return told or None

    def forget_changes(self) -> None:
        """Nobody was there to be told."""
        self._changed, self._said, self._gone, self._new_parts = {}, {}, [], {}

    # ---- how -------------------------------------------------------------------------------------------------

    def _begin(self, id: str, entry: Entry, at: str) -> None:
        if id in self._own or id in self._ended:
            return
        self._others.pop(id, None)  # the database was quicker
        if len(self._own) >= CALLS_MAX:
            self._end(next(iter(self._own)), {})
        outgoing = entry["state"] == "outgoing"
        fields = {
            "id": id, "own": True, "direction": "outbound" if outgoing else "inbound", "from": entry.get("from"),
            "to": entry.get("to"), "trunk": entry.get("trunk"), "phase": entry["state"], "started_at": at,
            "answered_at": None, "locale": None, "quality": None, "first_audio_s": None, "turn_ms": None,
        }  # fmt: skip
        self._own[id] = LiveCall(fields)
        self._changed[id] = set(fields)

    def _own_call(self, call: LiveCall, entry: Entry, at: str) -> None:
        match entry["event"]:
            case "call":
                self._set(call, phase=entry["state"])
                if entry["state"] == "talking" and call.fields["answered_at"] is None:
                    self._set(call, answered_at=at)
            case "transcript_delta":
                known = call.lines.get(entry["item"])
                if known is None or not known["done"]:
                    text = (known["text"] if known else "") + entry["text"]
                    self._say(call, entry["item"], role=entry["role"], text=_text(text), at=at, done=False)
            case "transcript":
                text = _text(entry["text"])
                self._say(
                    call, entry["item"], role=entry["role"], text=text, lang=entry["lang"], at=at, done=True
                )
            case "rtp":
                self._set(call, quality=_quality(entry))
            case "first_audio":
                self._set(call, first_audio_s=entry["seconds"])
            case "turn" if "ms" in entry:
                self._set(call, turn_ms=entry["ms"])
            case "language":
                self._set(call, locale=entry["locale"])
                self._note(call, at, "language", f"{entry['locale']} ({entry['why']})")
            case "tool":
                self._say(
                    call, f"tool-{entry['id']}", role="tool", text=_text(entry["tool"]), at=at, done=False
                )
            case "tool_done":
                if (known := call.lines.get(f"tool-{entry['id']}")) is not None:
                    self._say(call, known["item"], done=True, error=_text(entry["error"] or ""))
            case "consent":
                answer = {True: "yes", False: "no"}.get(entry["result"], "no answer")
                self._note(call, at, "consent", answer)
            case "answered_by":
                self._note(call, at, "answered by", entry["by"])
            case "attempt":
                self._note(call, at, "attempt", f"{entry['trunk']}: {entry['code'] or '-'} {entry['reason']}")
            case "transfer":
                self._note(call, at, "transfer", f"{entry.get('department')}: {entry.get('state', '')}")
            case "error":
                self._note(call, at, "error", f"{entry['reason']}: {entry['message']}")
            case "ended":
                self._end(call.fields["id"], {"status": entry["status"], "reason": entry["reason"]})

    def _see(self, id: str, row: Entry) -> None:
        """A call of another process; it has one line at a time, the last."""
        names = ("direction", "from", "to", "trunk", "phase", "started_at", "answered_at", "locale")
        fields = {"own": False} | {name: row[name] for name in names}
        call = self._others.get(id)
        if call is None:
            call = self._others[id] = LiveCall({"id": id, **dict.fromkeys(UNKNOWN), **fields})
            self._changed[id] = set(call.fields)
        else:
            self._set(call, **fields)
        text, role = row["last_text"], row["last_role"]
        last = next(reversed(call.lines.values()), None)
        if text and (last is None or (last["role"], last["text"]) != (role, text)):
            at = row["last_heard_at"]
            self._say(call, f"said-{len(call.lines)}-{at}", role=role, text=_text(text), at=at, done=True)

    def _set(self, call: LiveCall, **values: Any) -> None:
        for name, value in values.items():
            if call.fields.get(name) != value:
                call.fields[name] = value
                self._changed.setdefault(call.fields["id"], set()).add(name)

    def _say(self, call: LiveCall, item: str, **values: Any) -> None:
        self._said[call.fields["id"], item] = call.say(item, **values)

    def _note(self, call: LiveCall, at: str, kind: str, text: str) -> None:
        line = call.note(at, kind, text)
        self._said[call.fields["id"], line["item"]] = line

    def _end(self, id: str, told: Json) -> None:
        del self._own[id]
        self._ended[id] = None
        if len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)
        self._leave({"id": id} | told)

    def _leave(self, told: Json) -> None:
        self._changed.pop(told["id"], None)
        self._gone.append(told)


def _text(text: str) -> str:
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"


def _quality(entry: Entry) -> Json:
    """The little that a list has room for."""
    quality = entry.get("quality")
    mos = quality.get("mos") if isinstance(quality, Mapping) else None
    return {"mos": mos} | {name: entry.get(name) for name in _RTP}
