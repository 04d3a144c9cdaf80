"""The queue between a voice model and the phone: bytes of items in, one frame per tick out.

The model sends faster than real time, so minutes may wait here; a frame costs the same whatever waits. Bytes
of one item need not be whole frames: items follow each other without a seam and may share a frame. At the end
of the queue a part of a frame waits while its item may still grow (padding it would chop the speech) and is
sent, padded with silence, once the item has ended, or after ``TAIL_WAIT_TICKS`` without news of it; either
way no byte is lost. Where the queue runs dry inside an item its sound is continued for one frame, falling to nothing,
and fades in where it goes on: a stop in the middle of a wave is heard as a click. A flush stops at once: the caller
speaks himself then, and wants silence.

Per item it is known how many milliseconds have really been handed to the wire: that, not what was received,
is the ``audio_end_ms`` of a truncation. Bounded in bytes; what comes beyond the bound is refused and counted,
as dropping the oldest would cut what the caller is about to hear.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection
from dataclasses import dataclass

from .codec import Codec
from .conceal import Concealer, faded_in

DEFAULT_LIMIT_MS = 600_000  # 10 minutes
TAIL_WAIT_TICKS = 5  # 100 ms at 20 ms per tick
SPOKEN_FRAMES = 5  # 50 ms at least, what concealment looks back on
MAX_ITEMS = 256  # items whose account is kept
MAX_FLUSHED = 64  # flushed items whose late audio is still recognised


@dataclass(frozen=True, slots=True)
class FlushedItem:
    """An item that was cut off: what the caller heard of it and what was thrown away, in milliseconds."""

    item_id: str
    sent_ms: int
    queued_ms: int


@dataclass(slots=True)
class PlayoutCounters:
    """What happened to the queue; bytes are samples."""

    frames: int = 0  # handed out
    padded: int = 0  # of them completed with silence
    faded: int = 0  # besides them: made up where the queue ran dry
    underruns: int = 0  # times the queue ran dry inside an item
    overflow_bytes: int = 0  # refused because the queue was full
    flushed_bytes: int = 0  # thrown away by flush
    after_flush_bytes: int = 0  # audio of an item that had been flushed


class _Item:
    __slots__ = ("ended", "item_id", "queued", "received", "sent")

    def __init__(self, item_id: str) -> None:
        self.item_id = item_id
        self.received = 0
        self.queued = 0
        self.sent = 0
        self.ended = False


class Playout:
    """The downlink queue of one call, in ``codec`` bytes."""

    __slots__ = (
        "_bytes_per_ms",
        "_chunks",
        "_faded",
        "_fades",
        "_flushed",
        "_frame_bytes",
        "_head_offset",
        "_is_paused",
        "_items",
        "_limit_bytes",
        "_newest",
        "_queued",
        "_ran_dry",
        "_spoken",
        "_tail_ticks",
        "codec",
        "counters",
    )

    def __init__(self, codec: Codec, ptime_ms: int = 20, limit_ms: int = DEFAULT_LIMIT_MS) -> None:
        self.counters = PlayoutCounters()
        self.codec = codec
        self._bytes_per_ms = codec.frame_bytes(1000) // 1000
        self._limit_bytes = limit_ms * self._bytes_per_ms
        self._chunks: deque[tuple[_Item, bytes]] = deque()
        self._head_offset = 0  # bytes of the first chunk that are gone
        self._queued = 0
        self._items: OrderedDict[str, _Item] = OrderedDict()
        self._newest: _Item | None = None
        self._flushed: deque[str] = deque(maxlen=MAX_FLUSHED)
        self._tail_ticks = 0
        self._ran_dry = True
        self._is_paused = False
        self._spoken: deque[bytes] = deque(maxlen=SPOKEN_FRAMES)  # of the sound that is not over
        self._fades = False  # the next frame is made up
        self._faded: _Item | None = None  # what was broken off
        self.set_ptime(ptime_ms)

    def set_ptime(self, ptime_ms: int) -> None:
        """Milliseconds per frame from now on (a re-INVITE may change it)."""
        self._frame_bytes = self.codec.frame_bytes(ptime_ms)

    def append(self, item_id: str, payload: bytes) -> int:
        """Queue audio of an item, any length; returns the bytes accepted.

        Audio of an item that was flushed is dropped: deltas are still under way when a caller barges in. Items that
        come mixed are said one after the other.
        """
        if item_id in self._flushed:
            self.counters.after_flush_bytes += len(payload)
            return 0
        item = self._items.get(item_id) or self._new_item(item_id)
        if item is None:
            self.counters.overflow_bytes += len(payload)
            return 0
        item.received += len(payload)
        is_overtaken = self._newest is not item and item.queued > 0  # another one has begun before its end
        if not is_overtaken:
            self._newest = item
        room = self._limit_bytes - self._queued
        if len(payload) > room:
            self.counters.overflow_bytes += len(payload) - room
            payload = payload[:room]
        if payload:
            if is_overtaken:
                place = max(index for index, (each, _) in enumerate(self._chunks) if each is item) + 1
                self._chunks.insert(place, (item, payload))
            else:
                self._chunks.append((item, payload))
            item.queued += len(payload)
            self._queued += len(payload)
            self._tail_ticks = 0
            self._ran_dry = False
        return len(payload)

    def _new_item(self, item_id: str) -> _Item | None:
        """None: so many wait to be said that there is no account for another."""
        if len(self._items) >= MAX_ITEMS:
            said = next((each.item_id for each in self._items.values() if not each.queued), None)
            if said is None:
                return None
            del self._items[said]
        item = self._items[item_id] = _Item(item_id)
        return item

    def end_item(self, item_id: str) -> None:
        """No more audio of this item will come; unknown items are ignored (an item may have no audio)."""
        item = self._items.get(item_id)
        if item is not None:
            item.ended = True

    def next_frame(self) -> bytes | None:
        """One full frame for this tick, or None if there is nothing to say (or not yet)."""
        size = self._frame_bytes
        if self._is_paused:
            return None
        if self._queued < size and not self._tail_is_due():
            return self._fade_out()
        item, chunk = self._chunks[0]
        end = self._head_offset + size
        if end < len(chunk):  # the usual case: inside one delta
            frame = chunk[self._head_offset : end]
            self._head_offset = end
            self._queued -= size
            item.queued -= size
            item.sent += size
        else:
            frame = self._gather(size)
        self.counters.frames += 1
        if len(frame) < size:
            self.counters.padded += 1
            frame += self.codec.silence * (size - len(frame))
        if self._faded is not None:
            if item is self._faded:
                frame = faded_in(frame, self.codec)
            self._faded = None
        self._spoken.append(frame)
        return frame

    def _fade_out(self) -> bytes | None:
        """What follows the last frame of an item that is not over; None if all has been said."""
        spoken, fades = b"".join(self._spoken), self._fades
        self._spoken.clear()
        self._fades = False
        if not fades or not spoken:
            return None
        self._faded = self._newest
        self.counters.faded += 1
        concealer = Concealer(self.codec)
        concealer.heard(spoken)
        return concealer.fill(self._frame_bytes, 1)

    def _gather(self, size: int) -> bytes:
        """Up to ``size`` bytes over the borders of deltas and items."""
        parts: list[bytes] = []
        while size and self._chunks:
            item, chunk = self._chunks[0]
            part = chunk[self._head_offset : self._head_offset + size]
            self._head_offset += len(part)
            if self._head_offset == len(chunk):
                self._chunks.popleft()
                self._head_offset = 0
            size -= len(part)
            self._queued -= len(part)
            item.queued -= len(part)
            item.sent += len(part)
            parts.append(part)
        return b"".join(parts)

    def _tail_is_due(self) -> bool:
        """Less than a frame is left: may it leave with padding?"""
        newest = self._newest
        if newest is not None and not newest.ended and not self._ran_dry:
            self._ran_dry = self._fades = True
            self.counters.underruns += 1
        if not self._queued:
            return False
        if newest is None or newest.ended:
            return True
        self._tail_ticks += 1
        return self._tail_ticks > TAIL_WAIT_TICKS

    def pause(self) -> None:
        """No more frames, until ``resume`` or ``flush``; what waits goes on to wait, and more may come."""
        self._is_paused = True

    def resume(self) -> None:
        """Goes on with the very next sample."""
        self._is_paused = False

    def flush(self, keep: Collection[str] = ()) -> list[FlushedItem]:
        """Throw away all that waits, but of the items to ``keep``; and go on after a pause.

        The items cut off, in order, also one that is empty but not ended.
        """
        self._is_paused = False
        kept = deque(each for each in self._chunks if each[0].item_id in keep)
        if not kept or kept[0] is not self._chunks[0]:
            self._head_offset = 0
        cut = {item.item_id: item for item, _ in self._chunks if item.item_id not in keep}
        if self._newest is not None and not self._newest.ended and self._newest.item_id not in keep:
            cut[self._newest.item_id] = self._newest
        flushed = [
            FlushedItem(item.item_id, self._ms(item.sent), self._ms(item.queued)) for item in cut.values()
        ]
        for item in cut.values():
            self.counters.flushed_bytes += item.queued
            self._queued -= item.queued
            item.queued = 0
            item.ended = True
            self._flushed.append(item.item_id)
        self._chunks = kept
        self._spoken.clear()
        self._fades, self._faded = False, None
        self._tail_ticks = 0
        return flushed

    def sent_ms(self, item_id: str) -> int:
        """Whole milliseconds of the item handed to the wire; 0 for an unknown item."""
        item = self._items.get(item_id)
        return 0 if item is None else self._ms(item.sent)

    def received_ms(self, item_id: str) -> int:
        """Whole milliseconds of the item that were appended, refused ones included."""
        item = self._items.get(item_id)
        return 0 if item is None else self._ms(item.received)

    def waiting_ms(self, item_id: str) -> int:
        """Milliseconds of the item that are still to be sent, a begun one counted; 0 for an unknown item."""
        item = self._items.get(item_id)
        return 0 if item is None else -(-item.queued // self._bytes_per_ms)

    @property
    def queued_ms(self) -> int:
        """Whole milliseconds waiting."""
        return self._ms(self._queued)

    def _ms(self, count: int) -> int:
        return count // self._bytes_per_ms
