"""The trunk files in force: read at the start, and again when somebody asks (SIGHUP), without touching calls.

What cannot be read, contradicts itself or does not fit this process keeps the old ones, and ``status`` says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sipua.errors import ConfigError
from sipua.trunk import Trunk, load_trunks

log = logging.getLogger(__name__)

Apply = Callable[[Sequence[Trunk]], None]


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

    async def follow(self, port: int, apply: Apply) -> None:
        """Reads them whenever asked and hands what is good to ``apply``; until cancelled."""
        while True:
            await self.asked.wait()
            self.asked.clear()
            try:
                trunks = await asyncio.to_thread(load_trunks, self._conf_dir)
                check_fit(trunks, port)
                apply(trunks)
            except ConfigError as error:
                self._error = str(error)
                log.error("trunk files were not read again, the old ones stay: %s", error)
                continue
            self.trunks, self._read_at, self._error = trunks, datetime.now(UTC), ""
            log.info("trunk files read again; enabled: %s", ", ".join(self.status()["enabled"]))


def check_fit(trunks: Sequence[Trunk], port: int) -> None:
    """ConfigError unless a process that listens on ``port`` (0 if not known yet) can work with them."""
    enabled = [trunk for trunk in trunks if trunk.enabled]
    if not enabled:
        raise ConfigError(
            "no trunk file in trunks/ of the configuration folder is enabled: nobody could call"
        )
    deaf = [
        each for each in enabled if port and each.bind_port not in (0, port) and each.direction != "outbound"
    ]
    if deaf:
        raise ConfigError(
            f"trunk {deaf[0].name}: bind_port = {deaf[0].bind_port}: nothing listens there in this version; "
            f"allowed: {port} (sip.port), or 0 for any"
        )
