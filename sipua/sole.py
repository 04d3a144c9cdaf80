"""One ``serve`` per node, worker and database on a machine: a second would close the living calls of the first.

Held as a socket in Linux' abstract namespace: it needs no file and no rights, works between users, and the kernel
gives it back however the process ends. Elsewhere than on Linux nothing is held. Two machines that call themselves the
same are told apart by the lease of the ledger issue, not here.
"""

from __future__ import annotations

import hashlib
import socket
import sys

from sipua.errors import ConfigError


class SoleWorker:
    """Take it before anything is written; ``release`` at the end. ``database`` is the DSN without its password."""

    def __init__(self, node: str, worker: int, database: str) -> None:
        self._socket: socket.socket | None = None
        if sys.platform != "linux":
            return
        digest = hashlib.sha256(f"{node}\0{worker}\0{database}".encode()).hexdigest()[:32]
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind(f"\0sipua-worker-{digest}")
        except OSError:
            held.close()
            raise ConfigError(
                f"another sipua serve of node {node!r}, worker {worker} uses the database {database}: "
                "give this one another SIPUA_WORKER (or SIPUA_NODE)"
            ) from None
        self._socket = held

    def release(self) -> None:
        """Somebody else may be it now."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
