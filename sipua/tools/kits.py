"""The tools that calls are offered: ours, and those of ``tools/*.toml``, which are read again on SIGHUP.

Whatever one reading of the files brings is a kit. A call keeps the kit that it began with; one that has been followed
by another is taken down (connections, programs of MCP servers) when the last of its calls is over. What cannot be
read leaves the former kit where it is, and the log says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sipua.errors import SipuaError
from sipua.ports import Clock
from sipua.tools.files import ToolFiles, load_tool_files
from sipua.tools.foreign import foreign_tools
from sipua.tools.registry import Offer, Registry, Selection

log = logging.getLogger(__name__)


class ToolFolder:
    """``files`` are those that were read last. Set ``asked`` to have them read again while ``ToolKits.follow`` runs."""

    def __init__(self, conf_dir: Path) -> None:
        self.files = load_tool_files(conf_dir)
        self.asked = asyncio.Event()
        self._conf_dir = conf_dir

    async def again(self) -> ToolFiles:
        """Once asked. ConfigError as at the start."""
        await self.asked.wait()
        self.asked.clear()
        return await asyncio.to_thread(load_tool_files, self._conf_dir)


class _Kit:
    """One reading; ``run`` is a task, as what the servers are reached by wants to end where it began."""

    def __init__(self, files: ToolFiles, base: Registry, clock: Clock) -> None:
        self.files = files
        self.registry = Registry(base=base)
        self.calls = 0
        self.over = asyncio.Event()
        self._clock = clock

    async def run(self, ready: asyncio.Future[None]) -> None:
        async with foreign_tools(self.files, self.registry, self._clock):
            ready.set_result(None)
            await self.over.wait()


class ToolKits:
    """``own`` are our tools. To be had by ``tool_kits``."""

    def __init__(self, own: Registry, clock: Clock) -> None:
        self._own = own
        self._clock = clock
        self._kit = _Kit(ToolFiles(), own, clock)
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def of_call(self, trunk: str, our_number: str | None) -> Iterator[Offer]:
        """For as long as the call is up."""
        kit = self._kit
        kit.calls += 1
        try:
            yield Selection(kit.registry, *kit.files.left_out(trunk, our_number))
        finally:
            kit.calls -= 1
            self._done_with(kit)

    async def replace(self, files: ToolFiles) -> None:
        """For the calls that begin from now on. ConfigError for a name that is taken."""
        if files == self._kit.files:
            return
        kit = _Kit(files, self._own, self._clock)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(kit.run(ready), name="tools")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            task.result()
        former, self._kit = self._kit, kit
        self._done_with(former)

    async def follow(self, folder: ToolFolder) -> None:
        """Reads the files whenever asked, until cancelled."""
        while True:
            try:
                files = await folder.again()
                await self.replace(files)
            except SipuaError as error:
                log.error("tools were not read again, the old ones stay: %s", error)
                continue
            folder.files = files
            log.info("tools read again: %s", ", ".join(self._kit.registry.offered()))

    async def stop(self) -> None:
        """Takes all down."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done_with(self, kit: _Kit) -> None:
        if kit is not self._kit and not kit.calls:
            kit.over.set()


@asynccontextmanager
async def tool_kits(files: ToolFiles, own: Registry, clock: Clock) -> AsyncIterator[ToolKits]:
    """ConfigError for a name that is taken."""
    kits = ToolKits(own, clock)
    try:
        await kits.replace(files)
        yield kits
    finally:
        await kits.stop()
