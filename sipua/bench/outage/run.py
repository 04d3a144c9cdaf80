"""Starts the processes, takes the database away, kills the agent, and counts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rtp.codec import CODECS
from sipua.bench.agent import API_KEY, passing_directory
from sipua.bench.egress import far_end, ticker
from sipua.bench.egress.far_end import Arrival
from sipua.bench.egress.gaps import figures, gaps_of, long_ones, unexplained
from sipua.bench.egress.worker import Worker
from sipua.bench.figures import machine
from sipua.bench.outage.count import counted
from sipua.bench.outage.talk import Talk
from sipua.bench.outage.telephones import Telephones, telephones
from sipua.bench.path import until_stopped
from sipua.bench.quiet import no_collection
from sipua.bench.service import BenchService, running_service
from sipua.children import Child, agent_environment
from sipua.errors import LocalError
from sipua.resources import shipped_conf
from storage.embedded import EmbeddedPostgres
from storage.errors import StoreError
from storage.rehearsal import endings, newest, told

CODEC = CODECS["PCMU"]
WARM_UP_S = 3.0
KILL_AFTER_S = 0.2  # of the outage, when the agent is killed in the second part
CAUGHT_UP = timedelta(seconds=1)  # the newest row is no older
PATIENCE_S = 300.0
POLL_S = 0.05

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class OutageOptions:
    """The database is gone for ``outage_s`` while ``calls`` make ``rows_per_s`` each."""

    outage_s: float = 60
    calls: int = 20
    rows_per_s: float = 50


async def run_outage(options: OutageOptions, stop: asyncio.Event, show: Show) -> dict[str, Any]:
    """The document of ``sipua bench outage --json``. LocalError if something it needs does not start."""
    return await until_stopped(_measured(options, show), stop)


async def _measured(options: OutageOptions, show: Show) -> dict[str, Any]:
    facts = machine()
    cpus = sorted(os.sched_getaffinity(0))
    core, others = {cpus[-1]}, set(cpus[:-1]) or set(cpus)
    os.sched_setaffinity(0, others)
    workers = Worker("the telephones", far_end.main, others), Worker("the control", ticker.main, core)
    try:
        with passing_directory() as folder, no_collection():
            async with running_service() as service, telephones(CODEC.name) as callers:
                bench = _Bench(options, folder, core, service, callers, *workers, show)
                return await bench.run() | {"machine": facts, "one_core_for_all": len(cpus) == 1}
    finally:
        for worker in workers:
            worker.end()
        os.sched_setaffinity(0, cpus)


class _Bench:
    def __init__(
        self, options: OutageOptions, folder: Path, core: set[int], service: BenchService, callers: Telephones,
        sound: Worker, control: Worker, show: Show,
    ) -> None:  # fmt: skip
        self._options = options
        self._folder = folder
        self._core = core
        self._service = service
        self._callers = callers
        self._sound = sound
        self._control = control
        self._show = show
        self._calls = min(options.calls, callers.room())
        self._database = EmbeddedPostgres(folder / "database")
        self._dsn = ""

    async def run(self) -> dict[str, Any]:
        if self._calls < self._options.calls:
            self._show(
                f"this build of pjsua2 takes {self._calls} calls: so many instead of {self._options.calls}"
            )
        self._show("starting database and agent (sipua serve)")
        self._dsn = await self._database.astart()
        try:
            outage = await self._outage()
            kill = await self._kill()
        finally:
            await self._database.astop()
        return {
            "calls": self._calls,
            "rows_per_s": self._calls * self._options.rows_per_s,
            "seconds": self._options.outage_s,
            "outage": outage,
            "kill": kill,
        }

    async def _outage(self) -> dict[str, Any]:
        async with self._agent() as agent:
            talks = await self._talking(agent, "a")
            self._show(f"{self._calls} calls, the database gone for {self._options.outage_s:g} s")
            await asyncio.sleep(WARM_UP_S)
            await self._sound.ask("arrivals")
            await self._control.ask()
            await self._database.astop()
            await asyncio.sleep(self._options.outage_s)
            catch_up_s = await self._given_back()
            heard: list[list[Arrival]] = await self._sound.ask("arrivals")
            woken: list[float] = await self._control.ask()
            for talk in talks:
                await talk.stop()
            await asyncio.sleep(WARM_UP_S)
            await self._sound.ask("open", 0)
            await self._callers.hang_up()
        count = counted(await told(self._dsn), {talk.name: talk.said for talk in talks})
        return {
            **asdict(count),
            **await self._closed(),
            "catch_up_s": round(catch_up_s, 2),
            **_heard(heard, woken),
        }

    async def _kill(self) -> dict[str, Any]:
        self._show("again, and the agent is killed meanwhile (SIGKILL) and started anew")
        before = len(await endings(self._dsn))
        async with self._agent() as agent:
            talks = await self._talking(agent, "b")
            await asyncio.sleep(WARM_UP_S)
            await self._database.astop()
            await asyncio.sleep(self._options.outage_s * KILL_AFTER_S)
            agent.process.kill()
            for talk in talks:
                talk.cut()
            await agent.end()
            gone = time.monotonic() + self._options.outage_s * (1 - KILL_AFTER_S)
        async with self._agent():
            await asyncio.sleep(gone - time.monotonic())
            began = time.monotonic()
            await self._given_back(is_talking=False)
            said = {talk.name: talk.said for talk in talks}
            while True:
                closed = await self._closed(after=before)
                count = counted(await told(self._dsn), said, was_killed=True)
                if closed["open"] == 0 and closed["calls"] >= self._calls and not count.lost:
                    break
                if time.monotonic() - began > PATIENCE_S:
                    break  # the figures say what is missing
                await asyncio.sleep(POLL_S)
            return {**asdict(count), **closed, "catch_up_s": round(time.monotonic() - began, 2)}

    @contextlib.asynccontextmanager
    async def _agent(self) -> AsyncIterator[Child]:
        env = agent_environment(shipped_conf(), self._folder / "state", "bench") | {
            "DATABASE_URL": self._dsn,
            "OPENAI_BASE_URL": self._service.base_url,
            "OPENAI_API_KEY": API_KEY,
            "SIPUA_REALTIME__GREETING": "",
            "SIPUA_TURNS__IDLE_S": "0",
        }
        others = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._core)  # which it inherits
        try:
            child = await Child.start("the agent", ["serve"], env=env, log=self._folder / "serve.log")
        finally:
            os.sched_setaffinity(0, others)
        try:
            yield child
        finally:
            await child.end()

    async def _talking(self, agent: Child, name: str) -> list[Talk]:
        remotes = await self._sound.ask("open", self._calls)
        ports = [port for _, port in remotes]
        await self._sound.ask("talk", await self._callers.call(f"sip:bench@{agent.ready['sip']}", ports))
        sessions = [await self._service.session() for _ in ports]
        return [
            Talk(f"{name}{number}", session, self._options.rows_per_s)
            for number, session in enumerate(sessions)
        ]

    async def _given_back(self, *, is_talking: bool = True) -> float:
        """Seconds until what the calls say now is in the database."""
        began = time.monotonic()
        await self._database.astart()
        while is_talking:
            with contextlib.suppress(StoreError):
                last = await newest(self._dsn)
                if last is not None and datetime.now(UTC) - last < CAUGHT_UP:
                    break
            if time.monotonic() - began > PATIENCE_S:
                raise LocalError(f"the agent has not caught up in {PATIENCE_S:g} s")
            await asyncio.sleep(POLL_S)
        return time.monotonic() - began

    async def _closed(self, *, after: int = 0) -> dict[str, int]:
        found = await endings(self._dsn)
        return {"calls": len(found) - after, "open": sum(not is_closed for _, is_closed in found)}


def _heard(heard: Sequence[Sequence[Arrival]], woken: Sequence[float]) -> dict[str, Any]:
    gaps = [gap for phone in heard for gap in gaps_of([at for at, _ in phone])]
    control = gaps_of(woken)
    if not gaps or not control:
        raise LocalError("the telephones heard nothing of the agent")
    return {
        "packets": sum(map(len, heard)),
        "gap_ms": {"egress": figures(gaps), "control": figures(control)},
        "long_gaps": {
            "egress": len(long_ones(gaps)),
            "control": len(long_ones(control)),
            "unexplained": [round(gap.ms, 1) for gap in unexplained(gaps, control)],
        },
    }
