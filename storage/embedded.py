"""An embedded PostgreSQL for one machine: several processes share a data directory, the last one out stops it.

``start()`` takes the shared users' lock, makes the cluster if there is none, sees to it that a keeper
(``watcher.py``) runs the server, and returns the DSN of its Unix socket; ``stop()`` gives the lock back.
Nothing is counted in files: a process that is killed has left. Only the socket listens, in a directory of mode
0700. First start about 0.8 s, later ones 0.1 s, stop 0.05 s. Under systemd use ``KillMode=mixed``: a SIGTERM to the
server itself would end it before its users have written their last rows.

Files in the data directory: ``pg/`` (the cluster), ``pg.run/`` (socket), ``pg.log``, ``pg.*.lock``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg

from storage import locks, watcher
from storage.cluster import PORT, SOCKET, Cluster, reason, run, seen_by
from storage.errors import EmbeddedError

POLL_S = 0.02
LOG_LIMIT_BYTES = 5_000_000
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "max_wal_size": "256MB",
    "max_parallel_workers_per_gather": "0",  # its shared memory does not fit a container's 64 MB /dev/shm
    "timezone": "UTC",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    # Neither statements nor row contents (phone numbers, transcripts) may reach the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class EmbeddedPostgres:
    """One user of the embedded server in ``data_dir``. Not thread-safe; any number of processes may have one."""

    def __init__(
        self, data_dir: Path | str, *, settings: Mapping[str, str] | None = None, timeout_s: float = 60.0
    ) -> None:
        self.data_dir = Path(os.path.abspath(data_dir))
        self._settings = {**SETTINGS, **(settings or {})}
        self._timeout_s = timeout_s
        self._cluster = Cluster(self.data_dir)
        self._log = self.data_dir / "pg.log"
        self._users_fd: int | None = None
        self._dsn = ""

    @property
    def dsn(self) -> str:
        """The DSN while started; an assertion before that."""
        assert self._dsn, "not started"
        return self._dsn

    def start(self) -> str:
        """Block until the server answers; returns its DSN. While started, it sees to it that the server is there."""
        deadline = time.monotonic() + self._timeout_s
        try:
            if self._users_fd is None:
                self._make_data_dir()
                self._users_fd = locks.acquire(self._lock_file("users"), locks.SHARED, deadline)
            with locks.held(self._lock_file("start"), deadline):
                self._cluster.initialise(deadline)
                self._ensure_keeper()
                self._dsn = self._await_ready(deadline)
        except OSError as error:
            self._release()
            raise EmbeddedError(f"embedded database in {self.data_dir}: {error}") from error
        except BaseException:  # KeyboardInterrupt too: the keeper stops what nobody holds
            self._release()
            raise
        return self._dsn

    def stop(self) -> None:
        """Leave; where we were the last user, wait until the server is down (it is then flushed)."""
        if self._users_fd is None:
            return
        deadline = time.monotonic() + self._timeout_s
        users_fd, self._users_fd, self._dsn = self._users_fd, None, ""
        try:
            with contextlib.suppress(OSError, EmbeddedError), locks.held(self._lock_file("start"), deadline):
                self._ensure_keeper()  # somebody may have killed it; without one the server would stay
            last = locks.is_last(users_fd)
        finally:
            os.close(users_fd)
        while last and not locks.is_free(self._lock_file("keeper")) and time.monotonic() < deadline:
            time.sleep(POLL_S)

    async def astart(self) -> str:
        """``start()`` in a thread; cancelling it waits for the thread and leaves nothing running."""
        task = asyncio.ensure_future(asyncio.to_thread(self.start))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            if task.exception() is None:
                await asyncio.to_thread(self.stop)
            raise

    async def astop(self) -> None:
        await asyncio.to_thread(self.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _lock_file(self, name: str) -> Path:
        return self.data_dir / f"pg.{name}.lock"

    def _release(self) -> None:
        if self._users_fd is not None:
            os.close(self._users_fd)
            self._users_fd = None
        self._dsn = ""

    def _make_data_dir(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o755 if os.geteuid() == 0 else 0o700)
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT_BYTES:
            os.truncate(self._log, 0)
        os.close(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))

    def _ensure_keeper(self) -> None:
        """Start the keeper where there is none; it starts the server, or adopts one that runs."""
        if not locks.is_free(self._lock_file("keeper")):
            return
        cluster, user = self._cluster, self._cluster.user()
        socket_dir = cluster.socket_dir()
        argv = [str(cluster.programs().postgres), "-D", seen_by(cluster.pg, user), "-p", str(PORT)]
        options = {
            **self._settings,
            "unix_socket_directories": '"' + str(socket_dir).replace('"', '""') + '"',
            "cluster_name": cluster.mark,
        }
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        plan = watcher.Plan(
            argv=argv,
            data=str(cluster.pg),
            mark=cluster.mark,
            log=str(self._log),
            users_lock=str(self._lock_file("users")),
            keeper_lock=str(self._lock_file("keeper")),
            socket_lock=str(socket_dir / f"{SOCKET}.lock"),
            uid=user[0] if user else None,
            gid=user[1] if user else None,
        )
        script = str(Path(watcher.__file__).resolve())
        run([sys.executable, "-I", "-S", script], cwd=None, user=None, timeout_s=20.0, stdin=plan.to_json())

    def _await_ready(self, deadline: float) -> str:
        while time.monotonic() < deadline:
            dsn = self._running_dsn()
            if dsn:
                with contextlib.suppress(psycopg.OperationalError):
                    psycopg.connect(dsn, connect_timeout=5).close()
                    return dsn
            if locks.is_free(self._lock_file("keeper")):
                raise EmbeddedError(f"the database server did not start: {self._log_tail()}")
            time.sleep(POLL_S)
        raise EmbeddedError(
            f"the database server was not ready in {self._timeout_s:.0f} s: {self._log_tail()}"
        )

    def _running_dsn(self) -> str:
        """From ``postmaster.pid`` (line 5 is the socket directory): all users agree, whatever their environment."""
        cluster = self._cluster
        try:
            lines = (cluster.pg / "postmaster.pid").read_text().split("\n")
            socket_dir = lines[4]
        except (OSError, IndexError):
            return ""
        socket = Path(socket_dir) / SOCKET
        if not socket_dir or not socket.exists() or watcher.running_pid(cluster.pg, cluster.mark) is None:
            return ""
        return f"postgresql://postgres@/postgres?host={quote(socket_dir, safe='')}&port={PORT}"

    def _log_tail(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - 4000))
            return f"{reason(log.read().decode(errors='replace'))} (log: {self._log})"
