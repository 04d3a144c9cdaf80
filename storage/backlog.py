"""What waits for the database, in order: the oldest groups in memory, the rest in the spool alone.

Sequences count the groups of a process from 1. ``queue`` holds those from ``done + 1`` to ``loaded``; what follows up
to ``last`` is in the spool, from where ``load`` takes it once the queue is empty. Without a spool all is in the queue.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterable

from storage import codec
from storage.delivery import Entry
from storage.facts import Group
from storage.spool import Spool
from storage.spool_file import RECORD_MAX, Record
from storage.spool_folder import Adopted

MARK_S = 1.0  # how exactly the age of what is in the spool alone is known


class Backlog:
    """``facts`` wait in all, ``held`` of them in memory."""

    def __init__(self, limit: int, spool: Spool | None) -> None:
        self._limit = limit
        self._spool = spool
        self._reader = spool.reader() if spool is not None else None
        self._marks: deque[tuple[int, float]] = deque()  # sequences and when they were put
        self.queue: deque[Entry] = deque()
        self.facts = self.held = 0
        self.last = self.loaded = self.done = 0

    @property
    def is_behind(self) -> bool:
        """Something is in the spool alone."""
        return self.loaded < self.last

    def has_room(self, facts: int, room: int) -> bool:
        """On disk, or within ``room`` facts that are in memory alone."""
        if self._spool is None:
            return self.facts + facts <= room
        return self._spool.keeps_up or self._spool.backlog_facts + facts <= room

    def put(self, group: Group, now: float) -> None:
        """Raises what ``codec.encode`` does, and has then not taken it."""
        seq, facts = self.last + 1, len(group)
        if self._spool is not None:
            payload = codec.encode(group)
            if len(payload) > RECORD_MAX:
                raise ValueError(f"{len(payload)} bytes in one group")
            self._spool.append(seq, facts, payload)
        self.last = seq
        self.facts += facts
        if self._spool is None or (self.loaded == seq - 1 and self.held + facts <= self._limit):
            self._enter(Entry(seq, group, now))
        elif not self._marks or now - self._marks[-1][1] >= MARK_S:
            self._marks.append((seq, now))

    def finish(self, groups: int) -> None:
        """The first of the queue are in the database, or lost."""
        for _ in range(groups):
            entry = self.queue.popleft()
            self.held -= len(entry.group)
            self.facts -= len(entry.group)
            self.done = entry.seq
        if not self.queue and not self.is_behind:
            self.done = self.last
        if self._spool is not None:
            self._spool.acknowledge(self.done)

    async def load(self) -> int:
        """The next from the spool into the queue; returns how many were damaged. Raises OSError, SpoolError."""
        assert self._spool is not None
        assert self._reader is not None
        after, written = self.loaded, self._spool.written
        records = await asyncio.to_thread(self._spool.read, self._reader, after)
        groups = await asyncio.to_thread(_decoded, records)
        end = records[-1][0] if records else max(after, written)
        for seq, group in groups:
            self._enter(Entry(seq, group, self._put_at(seq)))
        self.loaded = end
        if not self.queue:
            self.done = end
        if not self.is_behind and not self.queue:
            self.facts = 0
        return end - after - len(groups)

    def age(self, now: float) -> float:
        """Seconds since the oldest was put."""
        if self.queue:
            return now - self.queue[0].since
        return now - self._put_at(self.loaded + 1) if self.is_behind else 0.0

    def _enter(self, entry: Entry) -> None:
        self.queue.append(entry)
        self.held += len(entry.group)
        self.loaded = entry.seq

    def _put_at(self, seq: int) -> float:
        while len(self._marks) > 1 and self._marks[1][0] <= seq:
            self._marks.popleft()
        return self._marks[0][1] if self._marks else time.monotonic()


class Replay:
    """The groups of a dead process's spool, chunk by chunk. For a thread."""

    def __init__(self, adopted: Adopted) -> None:
        self._reader = adopted.reader
        self._after = 0
        self._unknown = 0

    def load(self) -> list[Entry]:
        """[] at the end. Raises OSError, SpoolError."""
        while records := self._reader.read(self._after):
            self._after = records[-1][0]
            groups = _decoded(records)
            self._unknown += len(records) - len(groups)
            if groups:
                return [Entry(seq, group) for seq, group in groups]
        return []

    def damage(self) -> str:
        """What could not be read; "" if all could."""
        torn = self._reader.torn + bool(self._reader.rest())
        found = (
            (self._reader.damaged + self._unknown, "damaged records"),
            (torn, "a torn end" if torn == 1 else "torn ends"),
        )
        return " and ".join(f"{count} {what}" for count, what in found if count)


def cut(entries: Iterable[Entry], rows: int) -> list[Entry]:
    """The first groups of so many facts, at least one if there is one."""
    total = 0

    def fits(entry: Entry) -> bool:
        nonlocal total
        before, total = total, total + len(entry.group)
        return before == 0 or total <= rows

    return list(itertools.takewhile(fits, entries))


def _decoded(records: Iterable[Record]) -> list[tuple[int, Group]]:
    found = []
    for seq, payload in records:
        try:
            found.append((seq, codec.decode(payload)))
        except codec.NotAFact:
            continue
    return found
