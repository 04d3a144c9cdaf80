"""Closes the calls of processes that are dead: proven by a lock, by our own name, or by a lease that ran out.

* whose spool we have written: the kernel had given its lock back;
* who had our node and worker: two of them cannot live on one machine (``sipua.sole``);
* everybody else, on whatever machine: ``storage.leases``.

A process whose spool still lies on our disk is left alone until that is in the database: its calls may have ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from psycopg.rows import dict_row

from storage.dsn import connected
from storage.errors import StoreError
from storage.leases import Leases
from storage.queries import close_orphans
from storage.spool_folder import instances
from storage.writer import BEAT_S, LedgerWriter

log = logging.getLogger(__name__)

LEASE_S = 6 * BEAT_S
LOOKS_UNTIL_ALL = 30  # calls that others hold may have been left without the death of a process
LOCK_TIMEOUT_S = 2.0  # who holds the tables longer may have kept the living from speaking, too

_OTHERS = """
SELECT w.instance, w.seen_at FROM sipua.writers w JOIN sipua.processes p USING (instance)
WHERE p.ended_at IS NULL AND w.instance <> %s
"""
_AT_OPENAI = """
SELECT openai_call_id FROM public.voice_calls WHERE id = ANY(%s) AND openai_call_id IS NOT NULL
"""


class Reaper:
    """One per process. ``spools`` is where its machine's spools are; None: there are none."""

    def __init__(
        self,
        dsn: str,
        *,
        node: str,
        worker: int,
        instance: UUID,
        spools: Path | None,
        lease_s: float = LEASE_S,
        look_s: float = BEAT_S,
        left_at_openai: Callable[[Sequence[str]], None] = lambda call_ids: None,
    ) -> None:
        """``left_at_openai`` gets OpenAI's ids of those calls among the closed that its SIP terminates."""
        self._dsn = dsn
        self._node, self._worker, self._instance = node, worker, instance
        self._spools = spools
        self._look_s = look_s
        self._left_at_openai = left_at_openai
        self._leases = Leases(lease_s)

    async def close(self, dead: Iterable[UUID] = (), *, lock_timeout_s: float = 0) -> None:
        """The calls of our predecessors, and of these. Raises StoreError."""
        closed = await close_orphans(
            self._dsn,
            node=self._node,
            worker=self._worker,
            instance=self._instance,
            now=datetime.now(UTC),
            dead=list(dead),
            spared=instances(self._spools) if self._spools is not None else [],
            lock_timeout_s=lock_timeout_s,
        )
        if closed:
            log.warning("%d calls of processes that are no more were closed", len(closed))
            self._left_at_openai(await self._at_openai(closed))

    async def run(self, writer: LedgerWriter) -> None:
        """Until cancelled: once everything that dead processes left is written, and then lease by lease."""
        await writer.recovered.wait()
        dead, left = list(writer.dead), 0
        while True:
            try:
                dead += await self._expired()
                if dead or not left:
                    await self.close(dead, lock_timeout_s=LOCK_TIMEOUT_S)
                    left = LOOKS_UNTIL_ALL
                dead, left = [], left - 1
            except StoreError as error:
                self._leases.could_not_look()
                log.info("dead processes are looked for later: %s", error)
            await asyncio.sleep(self._look_s)

    async def _at_openai(self, closed: Sequence[UUID]) -> list[str]:
        async with connected(self._dsn, "sipua-reaper", dict_row) as connection:
            rows = await (await connection.execute(_AT_OPENAI, (list(closed),))).fetchall()
        return [row["openai_call_id"] for row in rows]

    async def _expired(self) -> list[UUID]:
        async with connected(self._dsn, "sipua-reaper", dict_row) as connection:
            rows = await (await connection.execute(_OTHERS, (self._instance,))).fetchall()
        found = self._leases.looked(time.monotonic(), {row["instance"]: row["seen_at"] for row in rows})
        spared = set(instances(self._spools)) if self._spools is not None else set()
        return [instance for instance in found if instance not in spared]
