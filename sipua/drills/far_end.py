"""The far end of a drill that needs a whole agent: `sipua serve` with the voice service's stand-in, each a process.

It answers canary calls as it would a caller's, keeps them in an embedded database of its own, and tells over its
control socket how they end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from sipua.children import Child, agent_environment
from sipua.control import ask, watch
from sipua.errors import LocalError
from storage.errors import StoreError
from storage.queries import call_rows

RTP_TIMEOUT_S = 1.5
RECONNECT_S = 1.0  # so long another voice session is sought
TRUNK = f"""\
schema = 1
name = "canary"
provider = "loopback"
inbound_acl = ["127.0.0.0/8"]
rtp_timeout_s = {RTP_TIMEOUT_S}
"""


class FarEnd:
    """``start`` it, call ``place``, look at ``endings``, ``close`` it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._emulator: Child | None = None
        self._agent: Child | None = None
        self._following: asyncio.Task[None] | None = None
        self.call_id: UUID | None = None  # of the last call that it saw
        self.endings: list[Mapping[str, Any]] = []  # its feed's, in order

    @property
    def agent(self) -> Child:
        if self._agent is None:
            raise LocalError("the far end was not started")
        return self._agent

    @property
    def place(self) -> str:
        """host:port of its SIP."""
        return str(self.agent.ready["sip"])

    async def start(self, trunk: str = TRUNK) -> None:
        """Ready to be called, on the trunk of this file."""
        conf, state, logs = (self._folder / name for name in ("far-conf", "far-state", "far-logs"))
        await asyncio.to_thread(_write, conf / "trunks" / "canary.toml", trunk)
        environment = agent_environment(conf, state, "drill")
        emulator = ["emulate", "realtime", "--port", "0"]
        self._emulator = await Child.start(
            "the voice service's stand-in", emulator, env=environment, log=logs / "emulator.log"
        )
        environment |= {
            "OPENAI_BASE_URL": str(self._emulator.ready["base_url"]),
            "OPENAI_API_KEY": "sk-of-the-drill",
            "SIPUA_REALTIME__RECONNECT_S": str(RECONNECT_S),
        }
        self._agent = await Child.start("the far end", ["serve"], env=environment, log=logs / "serve.log")
        entries = watch(state)
        await anext(entries)  # {"watching": true}
        self._following = asyncio.create_task(self._follow(entries), name="far-end")

    async def _follow(self, entries: AsyncIterator[Mapping[str, Any]]) -> None:
        async for entry in entries:
            if "call" in entry:
                self.call_id = UUID(entry["call"])
            if entry.get("event") == "ended":
                self.endings.append(entry)

    async def dial(self, number: str) -> None:
        """The agent calls somebody and talks. LocalError if it cannot."""
        request = {"command": "dial", "to": number, "answering_machine": "off"}
        answer = await ask(self._folder / "far-state", request)
        if "error" in answer:
            raise LocalError(f"the agent does not dial: {answer['error']}")

    def lose_the_voice_service(self) -> None:
        """At once, as a crash would."""
        assert self._emulator is not None
        with contextlib.suppress(ProcessLookupError):
            self._emulator.process.kill()

    def kill_the_database(self) -> bool:
        """Kills its PostgreSQL as running out of memory would; its keeper starts it again. Whether it ran."""
        file = self._folder / "far-state" / "postgres" / "pg" / "postmaster.pid"
        try:
            pid = int(file.read_text().split("\n", 1)[0])
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            return False
        return True

    async def row(self) -> Mapping[str, Any] | None:
        """The last call's row; None while the database is away or it is not there."""
        if self.call_id is None:
            return None
        try:
            rows = await call_rows(str(self.agent.ready["database"]), self.call_id)
        except StoreError:
            return None
        return rows["voice_calls"][0] if rows["voice_calls"] else None

    @property
    def is_running(self) -> bool:
        return self.agent.process.returncode is None

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        for child in (self._agent, self._emulator):
            if child is not None:
                await child.end()


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
