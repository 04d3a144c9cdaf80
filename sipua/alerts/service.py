"""Looks at everything that may be in trouble, and tells it: one task per source, one per channel, one file.

Nothing here disturbs a call: a look and a try are bounded in time, what waits to be told is the table of incidents and
bounded with it, and a channel that fails is tried again with pauses, counted and logged. The file is written in a
thread, after each change; what could not be told is told by the next process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sipua.alerts.channels import Channel
from sipua.alerts.incident import Incident, Incidents, Patience, Phase, Step, Trouble
from sipua.alerts.message import Message, Sender
from sipua.alerts.state_file import dump, save
from sipua.errors import SipuaError
from sipua.metrics import Metrics
from sipua.notify import TRY_S, NotTold
from sipua.ports import Clock
from sipua.tasks import tell_of_a_bug

log = logging.getLogger(__name__)

PAUSES_S = (2.0, 10.0, 60.0, 300.0)  # after a failure; the last one again and again
END_S = 3.0  # for the file, when the process ends
LOOK_S = 60.0  # a look that takes longer has seen nothing


@dataclass(frozen=True, slots=True)
class Source:
    """``look`` gives the troubles of its kind; raises (or takes too long) where it cannot tell."""

    kind: str
    look: Callable[[], Awaitable[Sequence[Trouble]]]
    every_s: float
    patience: Patience


class Alerts:
    """One per process. ``run`` until it is cancelled."""

    def __init__(
        self,
        sources: Sequence[Source],
        channels: Mapping[str, Channel],
        incidents: Incidents,
        file: Path,
        sender: Sender,
        metrics: Metrics,
        clock: Clock,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._sources = sources
        self._channels = channels
        self._incidents = incidents
        self._file = file
        self._sender = sender
        self._metrics = metrics
        self._clock = clock
        self._pauses_s = pauses_s
        self._news = {name: asyncio.Event() for name in channels}
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._keeper: asyncio.Task[None] | None = None
        self._is_over = False
        self._written = dump(incidents.all)

    def start(self) -> None:
        """What an earlier process left is told first."""
        self._told_of()
        works = [
            *((f"alerts-{each.kind}", self._watch(each)) for each in self._sources),
            *((f"alerts-{name}", self._tell(name, channel)) for name, channel in self._channels.items()),
        ]
        for name, work in works:
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(tell_of_a_bug)
            self._tasks.append(task)
        self._keeper = asyncio.create_task(self._keep(), name="alerts-file")
        self._keeper.add_done_callback(tell_of_a_bug)

    async def stop(self) -> None:
        """What is not told by now is left to the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._is_over = True
        self._changed.set()
        if self._keeper is not None:
            await asyncio.wait({self._keeper}, timeout=END_S)
            self._keeper.cancel()

    # ---- looking -----------------------------------------------------------------------------------------

    async def _watch(self, source: Source) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    troubles = await source.look()
            except (SipuaError, OSError, TimeoutError) as error:
                log.warning("alerts: %s cannot be looked at: %s", source.kind, str(error) or "no answer")
            else:
                self._seen(source, troubles)
            await asyncio.sleep(source.every_s)

    def _seen(self, source: Source, troubles: Sequence[Trouble]) -> None:
        before = self._incidents.overlooked
        for incident in self._incidents.seen(source.kind, troubles, source.patience, self._clock.now()):
            message = Message.of(incident, incident.steps[-1], self._sender)
            level = logging.WARNING if incident.phase is Phase.RECOVERED else logging.ERROR
            log.log(level, "alert: %s; to do: %s", message.headline, message.todo)
        if self._incidents.overlooked > before:
            log.error("alerts: more than can be told one by one; some of kind %s are not", source.kind)
        self._told_of()

    def _told_of(self) -> None:
        """Something may have changed: for the channels, the file and the metrics."""
        for name, event in self._news.items():
            if self._incidents.next_for(name) is not None:
                event.set()
        self._changed.set()
        self._metrics.alerts_waiting.set(self._incidents.waiting())
        for source in self._sources:
            count = sum(
                each.kind == source.kind and each.phase is not Phase.RECOVERED for each in self._incidents.all
            )
            self._metrics.alerts_open.labels(source.kind).set(count)

    # ---- telling -----------------------------------------------------------------------------------------

    async def _tell(self, name: str, channel: Channel) -> None:
        failures = 0
        while True:
            found = self._incidents.next_for(name)
            if found is None:
                self._news[name].clear()
                await self._news[name].wait()
            elif await self._is_told(name, channel, *found):
                failures = 0
            else:
                await asyncio.sleep(self._pauses_s[min(failures, len(self._pauses_s) - 1)])
                failures += 1

    async def _is_told(self, name: str, channel: Channel, incident: Incident, step: Step) -> bool:
        try:
            async with asyncio.timeout(TRY_S):
                await channel.tell(Message.of(incident, step, self._sender))
        except (NotTold, TimeoutError) as error:
            why = str(error) or f"no answer within {TRY_S:g} s"
            log.error("alerts: %s failed, is tried again: %s", name, why)
            self._metrics.alerts_told.labels(name, "failed").inc()
            return False
        self._metrics.alerts_told.labels(name, "told").inc()
        self._incidents.has_told(name, incident, step)
        self._told_of()
        return True

    # ---- keeping -----------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while self._changed.is_set() or not self._is_over:
            await self._changed.wait()
            self._changed.clear()
            content = dump(self._incidents.all)
            if content != self._written and await self._is_saved(content):
                self._written = content

    async def _is_saved(self, content: bytes) -> bool:
        try:
            await asyncio.to_thread(save, self._file, content)
        except OSError as error:
            log.error("alerts: %s cannot be written: %s", self._file, error.strerror)
            return False
        return True
