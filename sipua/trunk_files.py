"""The trunk files in force: read at the start, and again when somebody asks (SIGHUP), without touching calls.

What cannot be read, contradicts itself or does not fit this process keeps the old ones, and ``status`` says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sipua.errors import ConfigError, SipuaError
from sipua.trunk import Trunk, load_trunks

log = logging.getLogger(__name__)

Apply = Callable[[Sequence[Trunk]], Awaitable[None]]


class TrunkFiles:
    """``trunks`` are those in force. Set ``asked`` to have them read again while ``follow`` runs."""

    def __init__(self, conf_dir: Path) -> None:
        self.trunks = load_trunks(conf_dir)
        self.asked = asyncio.Event()
        self._conf_dir = conf_dir
        self._read_at = datetime.now(UTC)
        self._error = ""

    def status(self) -> Mapping[str, Any]:
        """For the control channel: ``error`` is why the last reading changed nothing, "" if it counts."""
        enabled = [trunk.name for trunk in self.trunks if trunk.enabled]
        return {"enabled": enabled, "read_at": self._read_at.isoformat(), "error": self._error}

    async def follow(self, apply: Apply) -> None:
        """Reads them whenever asked and hands what is good to ``apply``, which may refuse; until cancelled."""
        while True:
            await self.asked.wait()
            self.asked.clear()
            try:
                trunks = await asyncio.to_thread(load_trunks, self._conf_dir)
                check_fit(trunks)
                await apply(trunks)
            except SipuaError as error:
                self._error = str(error)
                log.error("trunk files were not read again, the old ones stay: %s", error)
                continue
            self.trunks, self._read_at, self._error = trunks, datetime.now(UTC), ""
            log.info("trunk files read again; enabled: %s", ", ".join(self.status()["enabled"]))


def check_fit(trunks: Sequence[Trunk]) -> None:
    """ConfigError unless a process can work with them."""
    if not any(trunk.enabled for trunk in trunks):
        raise ConfigError(
            "no trunk file in trunks/ of the configuration folder is enabled: nobody could call"
        )


def check_codecs(trunks: Sequence[Trunk], missing: Collection[str]) -> None:
    """ConfigError for a codec that this build of pjsua2 cannot negotiate."""
    for trunk in trunks:
        lacking = [name for name in trunk.codecs if name in missing]
        if trunk.enabled and lacking:
            raise ConfigError(
                f"{trunk.name}.toml: codecs: this build of pjsua2 has no {', '.join(lacking)}; leave it out, or "
                f"`make pjsua2` builds one that has it"
            )
