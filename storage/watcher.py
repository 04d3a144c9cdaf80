"""The embedded server's keeper: a small detached process that starts PostgreSQL and stops it after its last user.

Run by path (``python -I -S watcher.py < plan.json``), so it imports the standard library only. Users hold a
shared ``flock`` on the users' lock file; the kernel drops it however they die, kill -9 included. The keeper waits
for the exclusive lock: when it gets it nobody is left, and it stops the server (SIGINT, "fast") while new users
wait for the lock. It holds ``keeper_lock`` for its life, which is how others see that it is there. PostgreSQL
runs in a session of its own: a Ctrl-C in the terminal reaches neither of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

FAST_SHUTDOWN_S = 20.0  # SIGINT; then SIGQUIT, which leaves recovery to the next start
QUICK_DEATH_S = 5.0
COULD_NOT_START = (
    1  # PostgreSQL's exit status then; told to end by any signal it has 0, and killed a negative one
)
RESTART_MIN_S, RESTART_MAX_S = 0.25, 2.0  # calls wait for it
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Plan:
    """What the keeper needs to know. ``uid`` is None when the server runs as the same user."""

    argv: list[str]
    data: str
    mark: str
    log: str
    users_lock: str
    keeper_lock: str
    socket_lock: str
    uid: int | None
    gid: int | None

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def running_pid(data: Path, mark: str) -> int | None:
    """Pid of the postmaster of this data directory, or None. A reused pid of another program is not one."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None if Path("/proc/self").exists() else _pid_without_proc(data)
    if "postgres" not in os.path.basename(argv[0].decode(errors="replace")):
        return None
    try:
        same = os.path.samefile(f"/proc/{pid}/cwd", data)
    except PermissionError:  # root in a container without CAP_SYS_PTRACE
        same = f"cluster_name={mark}".encode() in argv
    except OSError:
        return None
    return pid if same else None


def _pid_without_proc(data: Path) -> int | None:
    """Where there is no /proc (macOS): believe the pid file as PostgreSQL itself does."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def clear_stale(data: Path, mark: str, socket_lock: Path) -> None:
    """Remove lock files whose pid now belongs to another program: PostgreSQL would take it for a server.

    Files of a dead pid stay: PostgreSQL replaces them itself, after it has made sure by the shared memory named
    in them that no orphaned backend still writes to the data, and frees what a killed server left in memory.
    """
    if running_pid(data, mark) is not None or not Path("/proc/self").exists():
        return
    for path in (data / "postmaster.pid", socket_lock):
        with contextlib.suppress(OSError, ValueError):
            pid = int(path.read_text().split("\n", 1)[0])
            if Path(f"/proc/{pid}").exists():
                path.unlink()


class Keeper:
    """One server, started or adopted, kept up until nobody uses it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._data = Path(plan.data)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._lock = threading.Lock()

    def run(self) -> None:
        if running_pid(self._data, self._plan.mark) is None:
            self._launch()
        threading.Thread(target=self._keep_up, daemon=True).start()
        users = os.open(self._plan.users_lock, os.O_RDWR)
        fcntl.flock(users, fcntl.LOCK_EX)
        with self._lock:
            self._stopping = True
        self._stop()

    def _launch(self) -> None:
        plan = self._plan
        clear_stale(self._data, plan.mark, Path(plan.socket_lock))
        with open(plan.log, "ab") as log:
            self._process = subprocess.Popen(
                plan.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=plan.data,
                env={"PATH": os.defpath, "LC_ALL": "C", "HOME": "/"},
                start_new_session=True,
                user=plan.uid,
                group=plan.gid,
                extra_groups=[] if plan.uid is not None else None,
            )

    def _wait(self) -> int | None:
        """Until the server has ended; its exit status, None for an adopted one."""
        if self._process is not None:
            return self._process.wait()
        while running_pid(self._data, self._plan.mark) is not None:
            time.sleep(0.5)
        return None

    def _keep_up(self) -> None:
        """Restart a server that died (out of memory, disk full, kill -9); give up on one that never came up."""
        was_up = self._process is None
        quick_deaths = 0
        while True:
            began = time.monotonic()
            status = self._wait()
            if self._stopping:
                return
            quick = time.monotonic() - began < QUICK_DEATH_S
            was_up = was_up or not quick or status != COULD_NOT_START
            if not was_up:
                os._exit(1)
            quick_deaths = quick_deaths + 1 if quick else 0
            time.sleep(min(RESTART_MAX_S, RESTART_MIN_S * 2**quick_deaths))
            with self._lock:
                if self._stopping:
                    return
                self._launch()

    def _stop(self) -> None:
        deadline = time.monotonic() + FAST_SHUTDOWN_S
        self._signal(signal.SIGINT)
        while self._alive():
            if time.monotonic() > deadline:
                self._signal(signal.SIGQUIT)
                deadline += FAST_SHUTDOWN_S
            time.sleep(POLL_S)

    def _alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return running_pid(self._data, self._plan.mark) is not None

    def _signal(self, number: int) -> None:
        pid = self._process.pid if self._process else running_pid(self._data, self._plan.mark)
        if pid is not None and self._alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def main() -> None:
    plan = Plan(**json.load(sys.stdin))
    keeper_lock = os.open(plan.keeper_lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(keeper_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another keeper is there
    if os.fork():
        os._exit(0)  # the lock lives on in the child: same open file description
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # it ends with its last user, not before
    os.chdir("/")
    log = os.open(plan.log, os.O_WRONLY | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    Keeper(plan).run()


if __name__ == "__main__":
    main()
