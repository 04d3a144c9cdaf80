"""The parts of an embedded server on disk: whose it is, its programs, its cluster, its socket directory.

PostgreSQL does not run as root: there the server runs as the owner of its data, ``nobody`` for a new one.
Directories that this user cannot enter (below a 0700 home) are worked around: the data is opened through the
working directory, ``/proc/self/cwd``, and the socket goes to a short runtime directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from storage import binaries
from storage.errors import EmbeddedError, OtherMajor

PORT = 5432
SOCKET = f".s.PGSQL.{PORT}"
SUN_PATH_MAX = 107  # sockaddr_un.sun_path less its NUL

User = tuple[int, int] | None  # (uid, gid) of the server where that is not ourselves


class Cluster:
    """``pg/`` and ``pg.run/`` in ``data_dir``, and the names derived from it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.pg = data_dir / "pg"
        # Names the server in its command line, and directories of ours outside data_dir.
        self.mark = "sipua-" + hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]

    def user(self) -> User:
        """Whom the server runs as."""
        owner = self.pg.stat() if self.pg.exists() else None
        if os.geteuid() != 0:
            if owner is not None and owner.st_uid != os.geteuid():
                raise EmbeddedError(f"{self.pg} belongs to user id {owner.st_uid}: run as that user")
            return None
        if owner is not None and owner.st_uid != 0:
            return owner.st_uid, owner.st_gid
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise EmbeddedError(
                "PostgreSQL does not run as root and there is no user 'nobody' here"
            ) from None
        return nobody.pw_uid, nobody.pw_gid

    def programs(self) -> binaries.Binaries:
        """Of the major version the data asks for, where the server's user can execute them."""
        version = self.pg / "PG_VERSION"
        try:
            found = binaries.find(int(version.read_text()) if version.exists() else None)
        except OtherMajor as error:
            raise EmbeddedError(f"{self.pg}: {error}; {way_to_move(self.data_dir, error.major)}") from None
        user = self.user()
        return binaries.reachable_copy(found, *user) if user else found

    def initialise(self, deadline: float) -> None:
        """Where there is none: initdb into a scratch directory and rename; an interrupted one leaves nothing."""
        if (self.pg / "PG_VERSION").exists():
            return
        if self.pg.exists() and any(self.pg.iterdir()):
            raise EmbeddedError(f"{self.pg} is neither empty nor a PostgreSQL data directory")
        user = self.user()
        scratch = self.data_dir / "pg.new"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        try:
            if user:
                os.chown(scratch, *user)
            argv = [
                str(self.programs().initdb),
                "-D",
                seen_by(scratch, user),
                "-U",
                "postgres",
                "-A",
                "trust",
            ]
            argv += ["-E", "UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions"]
            run(argv, cwd=scratch, user=user, timeout_s=max(1.0, deadline - time.monotonic()))
            if self.pg.exists():
                self.pg.rmdir()
            scratch.rename(self.pg)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def socket_dir(self) -> Path:
        """``pg.run`` where path length and modes allow, else a directory of our own below a runtime directory."""
        user = self.user()
        uid = user[0] if user else os.geteuid()
        runtime = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "")
        places = [self.data_dir / "pg.run"]
        places += [Path(runtime) / self.mark] if runtime.startswith("/") else []
        places += [Path("/tmp") / f"{self.mark}-{uid}"]
        for place in places:
            fits = len(os.fsencode(place / SOCKET)) <= SUN_PATH_MAX and "," not in str(
                place
            )  # a comma lists hosts
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


def way_to_move(data_dir: Path, major: int) -> str:
    """From a data directory of that major version to one of ours, with its programs for the time being."""
    steps = [
        f"apt-get install postgresql-{major}",
        "sipua db dump moved.dump",
        f"mv {shlex.quote(str(data_dir))} {shlex.quote(f'{data_dir}-{major}')}",
        "sipua db restore moved.dump",
    ]
    return "to move it, with no `sipua serve` running:\n" + "\n".join(f"  {step}" for step in steps)


def seen_by(path: Path, user: User) -> str:
    """The path as the server's user can open it: below a closed directory only as its own working directory."""
    if user is None or binaries.can_reach(path.parent, *user):
        return str(path)
    if not Path("/proc/self/cwd").exists():
        raise EmbeddedError(f"{path} cannot be reached by user id {user[0]}: choose another data directory")
    return "/proc/self/cwd"


def reason(output: str) -> str:
    """The lines of a program's output that say why it failed, at most three."""
    lines = [line for line in output.splitlines() if line.strip()][-20:]
    full = [line for line in lines if "No space left" in line]
    if full:
        return f"the disk is full: {full[0]}"
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "ERROR", "error"))]
    return " / ".join((telling or lines)[-3:]) or "it said nothing"


def run(argv: list[str], *, cwd: Path | None, user: User, timeout_s: float, stdin: str = "") -> None:
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
        raise EmbeddedError(f"{name} failed ({done.returncode}): {reason(done.stderr or done.stdout)}")
