"""What tools read and write, on the database: reads have a time limit and an answer of words, writes wait in the
ledger's queue. Without a database calls go on: nothing is found, nobody is remembered, and what is ordered is written
later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

import storage.catalogue
import storage.errors as store
from sipua.errors import ConfigError
from sipua.memory import MemorySettings, PastCall, Recollection
from sipua.ports import CallOpening, Clock
from sipua.sip_message import mask_number
from sipua.tools.callback import Wish
from sipua.tools.schema import ToolError
from sipua.whatsapp import News, Reply
from storage.desk_facts import (
    CallbackNotified,
    CallbackRequested,
    CallerSeen,
    CustomerReplied,
    Forgotten,
    MessageStatus,
    Remembered,
    ServiceRequested,
    ThreadBegun,
)
from storage.desk_statements import PREFS_MAX
from storage.facts import CallChanged, Group
from storage.memories import memory_of, replied_at
from storage.platform import Platform, platform_of, search_platform

log = logging.getLogger(__name__)

T = TypeVar("T")
SEARCH_TIMEOUT_S = 3.0
WHATSAPP_TIMEOUT_S = 1.0
WISHES_KNOWN = 4_096
CALLERS_KNOWN = 1_024
READS_MAX = 16  # at once, one connection each: many calls must not use up the database's

UNREADABLE = "the catalogue cannot be read for the moment: say so, do not make anything up"


class Queue(Protocol):
    """storage.writer.LedgerWriter, as far as this module needs it."""

    def put(self, group: Group) -> None: ...


class Desk:
    """One per process."""

    def __init__(
        self,
        dsn: str,
        queue: Queue,
        memory: MemorySettings,
        clock: Clock,
        platform: Platform | None = None,  # None: our own catalogue
    ) -> None:
        self._platform = platform
        self._dsn = dsn
        self._queue = queue
        self._memory = memory
        self._clock = clock
        self._room = asyncio.Semaphore(READS_MAX)
        self._reads: set[asyncio.Task[Any]] = set()  # no more than tools that run
        self._topics: dict[str, set[str]] = {}  # remembered of the latest callers
        self._wishes: dict[UUID, None] = {}  # the last ones
        self.on_callback: Callable[[Wish], None] = lambda wish: None

    async def search(
        self, query: str, *, category: str | None, location: str, locale: str, limit: int
    ) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
        """As ``sipua.tools.services.Catalogue``."""
        try:
            found = await self._within(
                SEARCH_TIMEOUT_S, lambda: self._found(query, category, location, locale, limit)
            )
        except (TimeoutError, store.StoreError) as error:
            log.warning("the catalogue cannot be read: %s", _told(error))
            raise ToolError(UNREADABLE) from None
        return found.services, found.answers

    async def _found(
        self, query: str, category: str | None, location: str, locale: str, limit: int
    ) -> storage.catalogue.Found:
        if self._platform is not None:
            return await search_platform(
                self._dsn, self._platform, query, location=location, locale=locale, limit=limit
            )
        return await storage.catalogue.search(
            self._dsn, query, category=category, location=location, locale=locale, limit=limit
        )

    async def recall(self, opening: CallOpening) -> Recollection | None:
        """What is remembered of who we talk with; None also where that cannot be read in time. Never raises."""
        number = opening.to_number if opening.direction == "outbound" else opening.from_number
        if not self._memory.enabled or number is None:
            return None
        try:
            memory = await self._within(
                self._memory.read_timeout_s,
                lambda: memory_of(self._dsn, number, calls=self._memory.calls),
            )
        except (TimeoutError, store.StoreError) as error:
            log.warning(
                "call=%s goes on without memory of %s: %s", opening.id, mask_number(number), _told(error)
            )
            return None
        self._topics[number] = set() if memory is None else set(memory.prefs)
        if len(self._topics) > CALLERS_KNOWN:
            del self._topics[next(iter(self._topics))]
        if memory is None:
            return None
        self._queue.put((CallerSeen(number, self._clock.now().wall, opening.country),))
        past = [PastCall(each["started_at"], each["intent"], each["outcome"] or "") for each in memory.calls]
        return Recollection(memory.prefs, memory.country, past)

    def ordered(
        self, id: UUID, *, reference: str, kind: str, details: Mapping[str, Any], caller: str | None, call_id: UUID,
        locale: str, at: datetime,
    ) -> None:  # fmt: skip
        """As ``sipua.tools.services.Orders``."""
        self._queue.put((ServiceRequested(id, reference, kind, details, caller, call_id, locale, at),))

    def callback_requested(self, wish: Wish) -> None:
        """As ``sipua.tools.callback.Callbacks``; a repetition is none."""
        if wish.id in self._wishes:
            return
        self._wishes[wish.id] = None
        if len(self._wishes) > WISHES_KNOWN:
            del self._wishes[next(iter(self._wishes))]
        request = CallbackRequested(
            wish.id, wish.number, wish.call_id, wish.at, wish.name, wish.department, wish.notes, wish.when,
            wish.locale, wish.reference,
        )  # fmt: skip
        lead = CallChanged(
            wish.call_id, wish.at, lead_name=wish.name, lead_phone=wish.number, last_note=wish.notes
        )
        self._queue.put((request, lead))
        self.on_callback(wish)

    def callback_told(self, id: UUID) -> None:
        """Somebody knows of it."""
        self._queue.put((CallbackNotified(id, self._clock.now().wall),))

    def remember(
        self, msisdn: str, *, prefs: Mapping[str, str | None], country: str | None, at: datetime
    ) -> bool:
        """As ``sipua.tools.memory.Memories``. The database keeps the same bound, and tells nobody."""
        if (known := self._topics.get(msisdn)) is not None:
            topics = (known | prefs.keys()) - {topic for topic, value in prefs.items() if value is None}
            if len(topics) > max(PREFS_MAX, len(known)):
                return False
            self._topics[msisdn] = topics
        self._queue.put((Remembered(msisdn, at, prefs, country),))
        return True

    def forget(self, msisdn: str) -> None:
        """As ``sipua.tools.memory.Memories``."""
        self._topics.pop(msisdn, None)
        self._queue.put((Forgotten(msisdn),))

    async def replied_at(self, msisdn: str) -> datetime | None:
        """As ``sipua.tools.whatsapp.Threads``."""
        try:
            return await self._within(WHATSAPP_TIMEOUT_S, lambda: replied_at(self._dsn, msisdn))
        except (TimeoutError, store.StoreError) as error:
            log.warning("when %s last wrote is not known: %s", mask_number(msisdn), _told(error))
            return None

    def thread_begun(self, id: UUID, *, call_id: UUID, msisdn: str, message_id: str, at: datetime) -> None:
        """As ``sipua.tools.whatsapp.Threads``."""
        self._queue.put((ThreadBegun(id, call_id, msisdn, message_id, at),))

    def told_by_whatsapp(self, news: Sequence[News]) -> None:
        """As the webhook has it; what it repeats is known by its id."""
        for each in news:
            self._queue.put(
                (
                    CustomerReplied(each.message_id, each.msisdn, each.at)
                    if isinstance(each, Reply)
                    else MessageStatus(
                        each.message_id, each.status, each.at, each.conversation_id, each.error
                    ),
                )
            )

    async def _within(self, timeout_s: float, read: Callable[[], Awaitable[T]]) -> T:
        """TimeoutError after so long and no longer: psycopg gives up a query ten seconds after it was cancelled
        where the server hangs, and meanwhile a caller would hear it ring.
        """

        async def reading() -> T:
            async with self._room:
                return await read()

        task = asyncio.create_task(reading(), name="desk")
        self._reads.add(task)  # the loop holds tasks weakly
        task.add_done_callback(self._read)
        try:
            await asyncio.wait((task,), timeout=timeout_s)
        finally:
            task.cancel()
        if not task.done():
            raise TimeoutError
        return task.result()

    def _read(self, task: asyncio.Task[Any]) -> None:
        self._reads.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: who waited has left, or has it


async def platform_tables(dsn: str) -> Platform:
    """ConfigError where they do not fit."""
    try:
        return await platform_of(dsn)
    except store.StoreError as error:
        raise ConfigError(f"tools.catalogue = 'platform': {error}") from None


def _told(error: Exception) -> str:
    return str(error) or "no answer in time"
