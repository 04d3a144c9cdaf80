"""An embedded PostgreSQL for one machine: several processes share a data directory, the last one out stops it.

``start()`` takes the shared users' lock, makes the cluster if there is none, sees to it that a keeper
(``watcher.py``) runs the server, and returns the DSN of its Unix socket; ``stop()`` gives the lock back.
Nothing is counted in files: a process that is killed has left. Only the socket listens, in a directory of mode
0700. As root the server runs as the owner of its data, ``nobody`` for a new one; directories that this user
cannot enter are worked around (``/proc/self/cwd`` for the data, a short runtime directory for the socket).

Files in the data directory: ``pg/`` (the cluster), ``pg.run/`` (socket), ``pg.log``, ``pg.*.lock``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg

from storage import binaries, watcher
from storage.errors import EmbeddedError

PORT = 5432
SUN_PATH_MAX = 107  # sockaddr_un.sun_path less its NUL
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


def default_data_dir() -> Path:
    """``/var/lib/sipua`` as root, else ``$XDG_STATE_HOME/sipua`` (default ``~/.local/state/sipua``)."""
    if os.geteuid() == 0:
        return Path("/var/lib/sipua")
    state = os.environ.get("XDG_STATE_HOME") or ""
    return (Path(state) if state.startswith("/") else Path.home() / ".local" / "state") / "sipua"


class EmbeddedPostgres:
    """One user of the embedded server in ``data_dir``. Not thread-safe; any number of processes may have one."""

    def __init__(
        self, data_dir: Path | str, *, settings: Mapping[str, str] | None = None, timeout_s: float = 60.0
    ) -> None:
        self.data_dir = Path(os.path.abspath(data_dir))
        self._settings = {**SETTINGS, **(settings or {})}
        self._timeout_s = timeout_s
        self._pg = self.data_dir / "pg"
        self._log = self.data_dir / "pg.log"
        self._mark = "sipua-" + hashlib.sha256(os.fsencode(self.data_dir.resolve())).hexdigest()[:12]
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
                self._users_fd = self._lock("users", fcntl.LOCK_SH, deadline)
            with self._locked("start", deadline):
                self._initialise(deadline)
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
            with contextlib.suppress(OSError, EmbeddedError), self._locked("start", deadline):
                self._ensure_keeper()  # somebody may have killed it; without one the server would stay
            last = self._is_last(users_fd)
        finally:
            os.close(users_fd)
        while last and not self._try_lock("keeper") and time.monotonic() < deadline:
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

    # -- locks ---------------------------------------------------------------------------------------------

    def _lock(self, name: str, kind: int, deadline: float) -> int:
        fd = os.open(self._lock_file(name), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(fd, kind | fcntl.LOCK_NB)
                    return fd
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EmbeddedError(
                            f"timed out waiting for {self._lock_file(name)}: is another process starting or "
                            f"stopping this database? see {self._log}"
                        ) from None
                time.sleep(POLL_S)
        except BaseException:
            os.close(fd)
            raise

    @contextlib.contextmanager
    def _locked(self, name: str, deadline: float) -> Iterator[None]:
        fd = self._lock(name, fcntl.LOCK_EX, deadline)
        try:
            yield
        finally:
            os.close(fd)

    def _try_lock(self, name: str) -> bool:
        """Whether nobody holds that lock now."""
        try:
            fd = os.open(self._lock_file(name), os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    @staticmethod
    def _is_last(users_fd: int) -> bool:
        """Turn our shared lock into the exclusive one (not atomic: we may lose it, we are leaving anyway)."""
        for kind, answer in ((fcntl.LOCK_EX, True), (fcntl.LOCK_SH, False)):
            try:
                fcntl.flock(users_fd, kind | fcntl.LOCK_NB)
                return answer
            except BlockingIOError:
                continue
        return True  # neither: the keeper has it and is stopping the server

    def _lock_file(self, name: str) -> Path:
        return self.data_dir / f"pg.{name}.lock"

    def _release(self) -> None:
        if self._users_fd is not None:
            os.close(self._users_fd)
            self._users_fd = None
        self._dsn = ""

    # -- the cluster ---------------------------------------------------------------------------------------

    def _make_data_dir(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o755 if os.geteuid() == 0 else 0o700)
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT_BYTES:
            os.truncate(self._log, 0)
        os.close(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))

    def _server_user(self) -> tuple[int, int] | None:
        """(uid, gid) of the server where that is not ourselves."""
        if os.geteuid() != 0:
            if self._pg.exists() and self._pg.stat().st_uid != os.geteuid():
                raise EmbeddedError(
                    f"{self._pg} belongs to user id {self._pg.stat().st_uid}: run as that user"
                )
            return None
        owner = self._pg.stat() if self._pg.exists() else None
        if owner is not None and owner.st_uid != 0:
            return owner.st_uid, owner.st_gid
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise EmbeddedError(
                "PostgreSQL does not run as root and there is no user 'nobody' here"
            ) from None
        return nobody.pw_uid, nobody.pw_gid

    def _binaries(self) -> binaries.Binaries:
        version = self._pg / "PG_VERSION"
        found = binaries.find(int(version.read_text()) if version.exists() else None)
        user = self._server_user()
        return binaries.reachable_copy(found, *user) if user else found

    def _initialise(self, deadline: float) -> None:
        """initdb into a scratch directory and rename: an interrupted one leaves nothing half made."""
        if (self._pg / "PG_VERSION").exists():
            return
        if self._pg.exists() and any(self._pg.iterdir()):
            raise EmbeddedError(f"{self._pg} is neither empty nor a PostgreSQL data directory")
        user = self._server_user()
        scratch = self.data_dir / "pg.new"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        try:
            if user:
                os.chown(scratch, *user)
            argv = [
                str(self._binaries().initdb),
                "-D",
                _seen_by(scratch, user),
                "-U",
                "postgres",
                "-A",
                "trust",
            ]
            argv += ["-E", "UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions"]
            _run(argv, cwd=scratch, user=user, timeout_s=max(1.0, deadline - time.monotonic()))
            if self._pg.exists():
                self._pg.rmdir()
            scratch.rename(self._pg)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _socket_dir(self, user: tuple[int, int] | None) -> Path:
        """``pg.run`` where path length and modes allow, else a directory of our own below a runtime directory."""
        uid = user[0] if user else os.geteuid()
        places = [self.data_dir / "pg.run"]
        if os.geteuid() == 0:
            places += [Path("/run") / self._mark, Path("/tmp") / f"{self._mark}-{uid}"]
        else:
            runtime = os.environ.get("XDG_RUNTIME_DIR")
            places += [Path(runtime) / self._mark] if runtime else []
            places += [Path("/tmp") / f"{self._mark}-{uid}"]
        for place in places:
            fits = len(os.fsencode(place / f".s.PGSQL.{PORT}")) <= SUN_PATH_MAX and "," not in str(place)
            if not fits or (user and not binaries.can_reach(place.parent, *user)):
                continue
            with contextlib.suppress(OSError):
                place.mkdir(mode=0o700)
                if user:
                    os.chown(place, *user)
            with contextlib.suppress(OSError):
                status = place.lstat()  # in /tmp somebody else could have been there first
                if status.st_uid == uid and status.st_mode & 0o170777 == 0o040700:
                    return place
        raise EmbeddedError(f"no usable socket directory: tried {', '.join(map(str, places))}")

    def _ensure_keeper(self) -> None:
        """Start the keeper where there is none; it starts the server, or adopts one that runs."""
        if not self._try_lock("keeper"):
            return
        user = self._server_user()
        socket_dir = self._socket_dir(user)
        watcher.clear_stale(self._pg, self._mark, socket_dir / f".s.PGSQL.{PORT}.lock")
        argv = [str(self._binaries().postgres), "-D", _seen_by(self._pg, user), "-p", str(PORT)]
        options = {
            **self._settings,
            "unix_socket_directories": '"' + str(socket_dir).replace('"', '""') + '"',
            "cluster_name": self._mark,
        }
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        plan = watcher.Plan(
            argv=argv,
            data=str(self._pg),
            mark=self._mark,
            log=str(self._log),
            users_lock=str(self._lock_file("users")),
            keeper_lock=str(self._lock_file("keeper")),
            uid=user[0] if user else None,
            gid=user[1] if user else None,
        )
        script = str(Path(watcher.__file__).resolve())
        _run([sys.executable, "-I", "-S", script], cwd=None, user=None, timeout_s=20.0, stdin=plan.to_json())

    def _await_ready(self, deadline: float) -> str:
        while time.monotonic() < deadline:
            dsn = self._running_dsn()
            if dsn:
                with contextlib.suppress(psycopg.OperationalError):
                    psycopg.connect(dsn, connect_timeout=5).close()
                    return dsn
            if self._try_lock("keeper"):
                raise EmbeddedError(f"the database server did not start: {self._log_tail()}")
            time.sleep(POLL_S)
        raise EmbeddedError(
            f"the database server was not ready in {self._timeout_s:.0f} s: {self._log_tail()}"
        )

    def _running_dsn(self) -> str:
        """From ``postmaster.pid`` (line 5 is the socket directory): all users agree, whatever their environment."""
        try:
            lines = (self._pg / "postmaster.pid").read_text().split("\n")
            socket_dir = lines[4]
        except (OSError, IndexError):
            return ""
        socket = Path(socket_dir) / f".s.PGSQL.{PORT}"
        if not socket_dir or not socket.exists() or watcher.running_pid(self._pg, self._mark) is None:
            return ""
        return f"postgresql://postgres@/postgres?host={quote(socket_dir, safe='')}&port={PORT}"

    def _log_tail(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - 4000))
            return f"{_reason(log.read().decode(errors='replace'))} (log: {self._log})"


def _seen_by(path: Path, user: tuple[int, int] | None) -> str:
    """The path as the server's user can open it: below a 0700 home only through its own working directory."""
    if user is None or binaries.can_reach(path.parent, *user):
        return str(path)
    if not Path("/proc/self/cwd").exists():
        raise EmbeddedError(f"{path} cannot be reached by user id {user[0]}: choose another data directory")
    return "/proc/self/cwd"


def _reason(output: str) -> str:
    """The lines of a program's output that say why it failed, at most three."""
    lines = [line for line in output.splitlines() if line.strip()][-20:]
    full = [line for line in lines if "No space left" in line]
    if full:
        return f"the disk is full: {full[0]}"
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "ERROR", "error"))]
    return " / ".join((telling or lines)[-3:]) or "it said nothing"


def _run(
    argv: list[str], *, cwd: Path | None, user: tuple[int, int] | None, timeout_s: float, stdin: str = ""
) -> None:
    """Run to its end in a session of its own (a Ctrl-C is ours to handle: ``run`` kills it when we raise)."""
    name = Path(argv[0]).name
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=cwd,
            env={"PATH": os.defpath, "LC_ALL": "C", "HOME": "/"},
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
            start_new_session=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise EmbeddedError(f"{name} did not end within {timeout_s:.0f} s") from None
    if done.returncode:
        raise EmbeddedError(f"{name} failed ({done.returncode}): {_reason(done.stderr or done.stdout)}")
