"""Child processes of the demo and the benchmarks: started, waited for until ready, ended. Only ours, by their id.

Each child is a session of its own, so that Ctrl-C reaches the parent alone and the children are ended in order; a
child that does not end within ``END_TIMEOUT_S`` is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from sipua.config_file import UNPREFIXED
from sipua.errors import LocalError
from sipua.settings import PREFIX

READY_TIMEOUT_S = 60.0
END_TIMEOUT_S = 15.0
TAIL_BYTES = 4000


def agent_environment(conf: Path, state: Path, node: str) -> dict[str, str]:
    """The parent's environment without its settings, and an agent that only loopback can reach, on free ports."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) and k not in UNPREFIXED}
    return kept | {
        "SIPUA_CONF": str(conf),
        "SIPUA_STATE_DIR": str(state),
        "SIPUA_NODE": f"{node}-{os.getpid()}",
        "SIPUA_SIP__BIND": "127.0.0.1",
        "SIPUA_SIP__PORT": "0",
        "SIPUA_RTP__BIND": "127.0.0.1",
        "SIPUA_RTP__PORT_MIN": "0",
        "SIPUA_RTP__PORT_MAX": "0",
        "SIPUA_HTTP__BIND": "127.0.0.1",
        "SIPUA_HTTP__PORT": "0",
        "SIPUA_DATABASE__DIR": "",
        "SIPUA_DATABASE__URL_FILE": "",
        "PYTHONUNBUFFERED": "1",
    }


def plain_environment() -> dict[str, str]:
    """What a program of the operator's inherits: nothing that could be a secret."""
    return {
        name: os.environ[name] for name in ("HOME", "LANG", "LOGNAME", "PATH", "USER") if name in os.environ
    }


class Child:
    """One ``python -m sipua …`` process whose first stdout line says that it is ready; stderr goes to ``log``."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.ready: dict[str, Any] = {}

    @classmethod
    async def start(
        cls, name: str, arguments: Sequence[str], *, env: Mapping[str, str], log: Path, wait: bool = True
    ) -> Child:
        """Starts it; with ``wait`` returns once its ready line has come. LocalError with its own words if it ends."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "sipua", *arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=stderr,
                env=dict(env), start_new_session=True,
            )  # fmt: skip
        child = cls(name, process, log)
        if wait:
            try:
                await child._wait_ready()
            except BaseException:
                await child.end()
                raise
        return child

    async def _wait_ready(self) -> None:
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                line = await self.process.stdout.readline()
        except TimeoutError:
            raise LocalError(
                f"{self.name} was not ready within {READY_TIMEOUT_S:g} s: {self.last_words()}"
            ) from None
        if not line:
            code = await self.process.wait()
            raise LocalError(f"{self.name} ended with exit code {code}: {self.last_words()}")
        try:
            self.ready = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise LocalError(f"{self.name} said {line[:200]!r} instead of its ready line") from None

    async def output(self) -> bytes:
        """All it prints until it ends."""
        assert self.process.stdout is not None
        return await self.process.stdout.read()

    def last_words(self) -> str:
        """The end of its stderr."""
        try:
            return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip() or "it said nothing"
        except OSError:
            return "it said nothing"

    async def end(self) -> int:
        """SIGTERM, then SIGKILL if it does not end; its exit code."""
        if self.process.returncode is None:
            # not process.terminate(): subprocess would reap a child that has just ended and lose its exit code
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                return await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            return await self.process.wait()
        finally:
            transport = getattr(self.process, "_transport", None)
            if transport is not None:
                transport.close()
