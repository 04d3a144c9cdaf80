"""The folders of spools: reading their files, making one, and adopting those of dead processes (``storage.spool``)."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from storage import codec
from storage.errors import SpoolError
from storage.spool_file import HEADER_SIZE, RECORD_MAX, RECORD_SIZE, Record, check_header, scan

READ_BYTES = 128 * 1024  # 300 groups: 4 ms to decode
SUFFIX = ".log"
_LOCK = "lock"


class Segments:
    """The files of one folder, to be read from the oldest record on. Not thread-safe."""

    def __init__(self, folder: Path, is_written: Callable[[Path], int | None] = lambda _: None) -> None:
        """``is_written``: up to where a file may be read while its writer lives; None: all of it."""
        self._folder = folder
        self._is_written = is_written
        self._path: Path | None = None
        self._offset = 0
        self.damaged = 0  # records
        self.torn = 0  # ends of files

    def read(self, after: int, most: int = READ_BYTES) -> list[Record]:
        """Some of the next records above ``after``; [] if there are none. Raises OSError and SpoolError."""
        while True:
            if self._path is None and not self._next():
                return []
            assert self._path is not None
            later = self._later()
            try:
                data = self._more(self._path, most)
            except FileNotFoundError:  # all of it was in the database
                self._path = None
                continue
            found = scan(data, after, is_end=False)
            if not found.taken and not found.is_torn and len(data) == most < RECORD_MAX + RECORD_SIZE:
                most = RECORD_MAX + RECORD_SIZE  # one long record
                continue
            self._offset += found.taken
            self.damaged += found.damaged
            if found.records:
                return found.records
            if not found.taken or found.is_torn:
                if not later:
                    return []
                self.torn += found.is_torn or bool(data)
                self._next()

    def _more(self, path: Path, most: int) -> bytes:
        end = self._is_written(path)
        if end is not None:
            most = min(most, end - self._offset)
        return _read_at(path, self._offset, most) if most > 0 else b""

    def rest(self) -> int:
        """Bytes behind the last record that was whole: a torn end, once no process writes there any more."""
        return len(_read_at(self._path, self._offset, RECORD_SIZE)) if self._path is not None else 0

    def _later(self) -> bool:
        files = segment_files(self._folder)
        return bool(files) and (self._path is None or files[-1].name > self._path.name)

    def _next(self) -> bool:
        for path in segment_files(self._folder):
            if self._path is not None and path.name <= self._path.name:
                continue
            try:
                head = _read_at(path, 0, HEADER_SIZE)
            except FileNotFoundError:
                continue
            check_header(head, codec.VERSION, str(path))
            self._path, self._offset = path, HEADER_SIZE
            return True
        return False


def segment_files(folder: Path) -> list[Path]:
    """The files of a spool in their order."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except FileNotFoundError:
        return []


class Adopted:
    """The spool of a process that is dead; ours while we hold its lock."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.instance = UUID(folder.name)
        self.folder = folder
        self.reader = Segments(folder)
        self._lock = lock

    def remove(self) -> None:
        """All of it is in the database."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()

    def release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


@dataclass(frozen=True, slots=True)
class Adoption:
    """What dead processes left: to be written, and what cannot be (each with why)."""

    spools: list[Adopted]
    refused: list[str]


def adopt(directory: Path) -> Adoption:
    """Takes the spools whose process is dead, the oldest first."""
    found = Adoption([], [])
    for folder in sorted(_folders(directory), key=_age):
        lock = _take_lock(folder)
        if lock is None:
            continue
        try:
            for path in segment_files(folder):
                check_header(_read_at(path, 0, HEADER_SIZE), codec.VERSION, str(path))
        except (SpoolError, OSError) as error:
            os.close(lock)
            found.refused.append(str(error))
            continue
        found.spools.append(Adopted(folder, lock))
    return found


def left_behind(directory: Path) -> Iterator[tuple[Path, int, str]]:
    """For people: each folder whose process is dead, its bytes, and why it cannot be read ("" if it can)."""
    for folder in sorted(_folders(directory), key=_age):
        lock = _take_lock(folder)
        if lock is None:
            continue
        why = ""
        try:
            files = segment_files(folder)
            size = sum(path.stat().st_size for path in files)
            for path in files:
                check_header(_read_at(path, 0, HEADER_SIZE), codec.VERSION, str(path))
        except (SpoolError, OSError) as error:
            size, why = 0, str(error)
        finally:
            os.close(lock)
        yield folder, size, why


def instances(directory: Path) -> list[UUID]:
    """Of the processes that have a spool there, dead or alive."""
    return [UUID(folder.name) for folder in _folders(directory)]


def _folders(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_dir() and _is_instance(path.name)]
    except FileNotFoundError:
        return []


def _is_instance(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _age(folder: Path) -> tuple[float, str]:
    try:
        return (folder / _LOCK).stat().st_mtime, folder.name
    except OSError:
        return 0.0, folder.name


def make_folder(folder: Path) -> int:
    """The folder appears with its lock held, so that nobody takes it for a dead process's."""
    folder.parent.mkdir(parents=True, mode=0o700, exist_ok=True)  # numbers and transcripts are in it
    new = folder.with_name(f".{folder.name}")
    new.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(new / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    new.rename(folder)
    return fd


def _take_lock(folder: Path) -> int | None:
    """None: its process lives, another adopts it, or it is gone."""
    try:
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (folder / _LOCK).stat().st_ino == os.fstat(fd).st_ino:
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def _read_at(path: Path, offset: int, most: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, most, offset)
    finally:
        os.close(fd)
