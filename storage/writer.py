"""The write-behind writer: facts go in without waiting, one task writes them in batches over one connection.

``put`` never blocks and never raises for a full queue. With a spool every group goes to the disk at once (by a thread)
and is kept there until the database has it; beyond ``queue_limit`` facts it is there only, and read back in order. So
neither a database that is gone nor a kill -9 loses it. Where the disk takes nothing, or there is no spool, the queue is
all there is: the newest group is refused, counted and logged (calls go on). Calls refused at once may fill half the
queue, ends of calls a tenth more than all of it.

A lost connection or a database that does not accept us now is retried with back-off; a group that the
database refuses for what it contains is isolated by halving the batch, counted, logged by id and left out. So is
one refused for another reason (a policy, somebody's trigger) after ``patience`` retries, if others get through;
where nothing does it is the database's fault, and everything waits.
Batches are of 500 rows at most, and large ones are made in a thread: a thousand made on the loop made a 20 ms ticker
late by up to 32 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from storage.backlog import Backlog, Replay, cut
from storage.delivery import Delivery, Entry, Verdict
from storage.durations import Durations
from storage.errors import QueueFull, SpoolError, StoreError
from storage.facts import CallCreated, CallEnded, Group
from storage.gate import Gate
from storage.spool import Spool, SpoolState
from storage.spool_folder import Adopted

log = logging.getLogger(__name__)

BACKOFF_MIN_S, BACKOFF_MAX_S = 0.1, 2.0
BEAT_S = 10.0  # an idle process says that it lives
PATIENCE = 20  # retries (about 40 s) until a refusal that does not blame the data is taken to be about a row
UNIQUE_VIOLATION = "23505"  # another process may have taken a carrier id meanwhile: worth a second look

Refused = tuple[Entry, str]  # and what is said about it


@dataclass(frozen=True, slots=True)
class WriterStats:
    """Counters since the start, in facts; ``lag_s`` is the age of the oldest group that waits."""

    queued: int
    written: int
    dropped: int
    poisoned: int
    retries: int
    unmatched: int
    lag_s: float
    connected: bool
    spool_state: SpoolState | None = None  # None: there is no spool
    spool_bytes: int = 0
    spool_groups: int = 0
    replayed: int = 0  # groups that dead processes had left
    connects: int = 0


class LedgerWriter:
    """One per process and event loop. The task starts with the first ``put`` (or ``start``).

    ``instance`` names the process in ``sipua.writers``: its rows are written once whatever is cut off, and it is seen
    to live. ``spool`` and ``adopted`` (of dead processes, written before anything else) are the writer's to close.
    """

    def __init__(
        self,
        dsn: str,
        *,
        queue_limit: int = 20_000,
        batch_rows: int = 500,
        batch_ms: float = 100.0,
        write_timeout_s: float = 30.0,
        patience: int = PATIENCE,
        beat_s: float = BEAT_S,
        instance: UUID | None = None,
        spool: Spool | None = None,
        adopted: Sequence[Adopted] = (),
        gate: Gate | None = None,
    ) -> None:
        self._delivery = Delivery(dsn, write_timeout_s)
        self._queue_limit = queue_limit
        self._batch_rows = batch_rows
        self._batch_s = batch_ms / 1000
        self._patience = patience
        self._beat_s = beat_s
        self._instance = instance
        self._backlog = Backlog(queue_limit, spool)
        self._spool = spool
        self._adopted = deque(adopted)
        self.gate = gate or Gate()
        self._dropped = self._poisoned = self._retries = self._replayed = 0  # facts; retries; groups
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._hurry = 0  # flushes that wait
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._last_error: StoreError | None = None
        self.dead: list[UUID] = []  # processes whose spools were written
        self.recovered = asyncio.Event()  # everything of theirs is
        if not adopted:
            self.recovered.set()

    @property
    def last_error(self) -> StoreError | None:
        shut = StoreError(self.gate.why) if self.gate.why else None
        return shut or self._delivery.last_error or self._last_error

    def start(self) -> None:
        """Start the task now (inside a running loop) instead of with the first ``put``."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="ledger-writer")

    def put(self, group: Group) -> None:
        """Take a group to be written whole, in order with the ones before it. Call it on the loop's thread."""
        if not group:
            return
        room = self._room_for(group)
        if self._closing or not self._backlog.has_room(len(group), room):
            self._dropped += len(group)
            why = "closed" if self._closing else f"full ({self._backlog.facts} of {room} facts for its kind)"
            self._last_error = QueueFull(f"the ledger's queue is {why}")
            self._delivery.say(
                "dropped", "ledger queue %s: a group is lost, %d facts lost so far", why, self._dropped
            )
            return
        try:
            self._backlog.put(group, time.monotonic())
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:  # no fact of ours
            self._lose(group, type(error).__name__)
            return
        self._wake.set()
        self.start()

    def _room_for(self, group: Group) -> int:
        """The end of a call that was opened before must not be lost for others' rows; a refused INVITE may be."""
        if not any(isinstance(fact, CallEnded) for fact in group):
            return self._queue_limit
        if any(isinstance(fact, CallCreated) for fact in group):
            return self._queue_limit // 2
        return self._queue_limit + self._queue_limit // 10

    async def flush(self, timeout: float, *, hurried: bool = True) -> bool:
        """Wait until all that was put before is written (or refused for good); False when time is up.

        Not ``hurried``: in its own time.
        """
        target = self._backlog.last
        self._hurry += hurried
        self._wake.set()
        try:
            async with asyncio.timeout(timeout):
                while self._backlog.done < target:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        finally:
            self._hurry -= hurried
        return True

    async def close(self, timeout: float) -> bool:
        """Flush, then end; True if nothing was left. What is left stays in the spool; without one it is lost."""
        self._closing = True
        done = await self.flush(timeout)
        if self._task is not None:
            self._delivery.sever()
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._delivery.disconnect()
        for adopted in self._adopted:
            adopted.release()
        kept = 0
        if self._spool is not None:
            await asyncio.to_thread(self._spool.close)
            kept = self._spool.groups
        if not done:
            where = f"; {kept} groups wait in {self._spool.folder} for the next start" if self._spool else ""
            if self._spool is not None and self._spool.backlog_facts:
                where += f"; {self._spool.backlog_facts} facts are lost, the disk took nothing"
            log.error(
                "ledger closed with %d facts unwritten (database %s)%s",
                self._backlog.facts,
                self._delivery.database,
                where,
            )
        return done

    @property
    def write_seconds(self) -> Durations:
        """Of the batches that were written."""
        return self._delivery.took

    @property
    def stats(self) -> WriterStats:
        spool = self._spool
        return WriterStats(
            queued=self._backlog.facts,
            written=self._delivery.written,
            dropped=self._dropped,
            poisoned=self._poisoned,
            retries=self._retries,
            unmatched=self._delivery.unmatched,
            lag_s=self._backlog.age(time.monotonic()),
            connected=self._delivery.is_connected,
            spool_state=spool.state if spool is not None else None,
            spool_bytes=spool.bytes if spool is not None else 0,
            spool_groups=spool.groups if spool is not None else 0,
            replayed=self._replayed,
            connects=self._delivery.connects,
        )

    # -- the task ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        await self.gate.wait()
        while self._adopted:
            await self._replay(self._adopted[0])
            self._adopted.popleft()
        self.recovered.set()
        while True:
            await self._gather()
            batch = cut(self._backlog.queue, self._batch_rows)
            if not batch:
                await self._delivery.attempt([], self._instance, in_turn=True)
                continue
            if not await self._settle(batch, self._instance):
                continue  # again, with what came meanwhile
            self._backlog.finish(len(batch))
            self._progress.set()

    async def _replay(self, adopted: Adopted) -> None:
        """What a dead process left, in its order and under its name."""
        replay = Replay(adopted)
        try:
            while entries := await asyncio.to_thread(replay.load):
                while batch := cut(entries, self._batch_rows):
                    while not await self._settle(batch, adopted.instance):
                        pass
                    del entries[: len(batch)]
                    self._replayed += len(batch)
        except (OSError, SpoolError) as error:
            log.error("ledger: the spool %s cannot be read on: %s", adopted.folder, error)
            adopted.release()
            return
        if lost := replay.damage():
            log.error(
                "ledger: the spool %s of a dead process had %s; the rest is written", adopted.folder, lost
            )
        await asyncio.to_thread(adopted.remove)
        self.dead.append(adopted.instance)

    async def _gather(self) -> None:
        """Until there is a batch: something is queued, and it is full, old enough, or wanted now; or it is time to
        say that we live."""
        while not self._backlog.queue:
            if self._backlog.is_behind:
                await self._load()
                continue
            self._wake.clear()
            try:
                async with asyncio.timeout(self._beat_s if self._instance is not None else None):
                    await self._wake.wait()
            except TimeoutError:
                return
        while self._backlog.held < self._batch_rows and not self._hurry and not self._backlog.is_behind:
            left_s = self._backlog.queue[0].since + self._batch_s - time.monotonic()
            if left_s <= 0:
                return
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._wake.wait()

    async def _load(self) -> None:
        """Some of what is in the spool only."""
        try:
            lost = await self._backlog.load()
        except (OSError, SpoolError) as error:
            self._delivery.say("spool", "ledger: the spool cannot be read: %s", error)
            await asyncio.sleep(1)
            return
        if lost:
            self._poisoned += lost
            log.error("ledger: %d groups in the spool were damaged and are lost", lost)

    async def _settle(self, batch: Sequence[Entry], instance: UUID | None) -> bool:
        """Written, or given up; False if all of it is to be tried again."""
        refused = await self._store(batch, instance, self._patience, in_turn=True)
        if len(refused) == len(batch):
            return False
        if refused:  # once more: what was wrong may have been mended between them and the others
            refused = await self._store([entry for entry, _ in refused], instance, 0, in_turn=False)
        for entry, blame in refused:
            self._lose(entry.group, blame)
        return True

    async def _store(
        self, entries: Sequence[Entry], instance: UUID | None, patience: int, *, in_turn: bool
    ) -> list[Refused]:
        """Until these groups are written or lost for what they contain; returns those refused beyond patience."""
        backoff_s = BACKOFF_MIN_S
        second_look = False
        while entries:
            verdict, blame = await self._delivery.attempt(entries, instance, in_turn=in_turn)
            if verdict is Verdict.WRITTEN:
                break
            if verdict is Verdict.KNOWN and instance is not None:
                known = await self._delivery.how_far(instance)
                if known is not None:
                    entries = [entry for entry in entries if entry.seq > known]
                    continue
            if verdict is Verdict.POISON and UNIQUE_VIOLATION in blame and not second_look:
                second_look = True
                continue
            if verdict is Verdict.POISON or (verdict is Verdict.REFUSED and patience <= 0):
                if len(entries) > 1:  # halve until it stands alone; the others are written, in order
                    middle = len(entries) // 2
                    refused = await self._store(entries[:middle], instance, patience, in_turn=in_turn)
                    return refused + await self._store(entries[middle:], instance, patience, in_turn=in_turn)
                if verdict is Verdict.REFUSED:
                    return [(entries[0], blame)]
                self._lose(entries[0].group, blame)
                break
            patience -= verdict is Verdict.REFUSED
            self._retries += 1
            await asyncio.sleep(backoff_s * random.uniform(0.8, 1.2))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
        return []

    def _lose(self, group: Group, blame: str) -> None:
        self._poisoned += len(group)
        ids = sorted({str(_call_id(fact)) for fact in group})
        kinds = ", ".join(type(fact).__name__ for fact in group)
        log.error("ledger: a group was refused and is lost: %s (call=%s: %s)", blame, ",".join(ids), kinds)


def _call_id(fact: object) -> UUID | None:
    value = getattr(fact, "call_id", None)
    return value if isinstance(value, UUID) else None
