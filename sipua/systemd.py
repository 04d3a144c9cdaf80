"""What systemd wants to know of a service of ``Type=notify``: ready, alive, stopping (sd_notify(3)). Nothing elsewhere.

Alive is what the loop says that carries the calls: one that hangs is ended by ``WatchdogSec=`` and started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

BEATS = 2  # in the time that the watchdog waits


class Systemd:
    """``environment`` is the process's."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        usec = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.beat_s = int(usec) / 1e6 / BEATS if usec.isdecimal() and int(usec) and is_ours else None

    @classmethod
    def of_process(cls) -> Systemd:
        return cls(os.environ)

    def tell(self, **values: str) -> None:
        """``READY="1"``, ``STATUS="…"``. A service must not fail because nobody listens."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in values.items())
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(), address)

    async def beat(self, stop: asyncio.Event) -> None:
        """Until it is cancelled; says once that the process is stopping."""
        told = False
        while True:
            if stop.is_set() and not told:
                told = True
                self.tell(STOPPING="1")
            if self.beat_s is not None:
                self.tell(WATCHDOG="1")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.beat_s):
                    await (asyncio.Event() if told else stop).wait()
