"""The migrations as files: ``migrations/YYYYMMDDHHMMSS_name.sql``, read, checked and copied."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from storage.errors import MigrationError
from storage.sqlsplit import Statement, split

_NAME = re.compile(r"(\d{14})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its version (the sort key), name, text and statements."""

    version: str
    name: str
    sha256: str
    statements: tuple[Statement, ...]

    @property
    def file(self) -> str:
        return f"{self.version}_{self.name}.sql"


def migrations_dir() -> Path:
    """The packaged ``storage/_migrations``, else the checkout's ``migrations``."""
    here = Path(__file__).resolve().parent
    for place in (here / "_migrations", here.parent / "migrations"):
        if place.is_dir():
            return place
    raise MigrationError(f"no migrations folder beside {here}: the installation is incomplete")


def load(folder: Path | None = None) -> list[Migration]:
    """All migrations of the folder in order of version. A name of another form is an error."""
    folder = folder or migrations_dir()
    found: dict[str, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if not match or match[1] in found:
            raise MigrationError(
                f"{path.name}: expected a unique YYYYMMDDHHMMSS_lower_case_name.sql", file=path.name
            )
        raw = path.read_bytes()
        digest = hashlib.sha256(raw).hexdigest()
        found[match[1]] = Migration(match[1], match[2], digest, tuple(split(raw.decode())))
    if not found:
        raise MigrationError(f"no migrations in {folder}: the installation is incomplete")
    return list(found.values())


def copy_to(folder: Path) -> list[str]:
    """Our files into somebody's folder of migrations; returns the names of those that were not there.

    A file of our version with another content is an error, and then nothing is copied.
    """
    source = migrations_dir()
    if not folder.is_dir():
        raise MigrationError(f"{folder}: there is no such folder")
    new = []
    for migration in load():
        there = sorted(folder.glob(f"{migration.version}_*.sql"))
        if not there:
            new.append(migration.file)
        elif (
            there[0].name != migration.file or there[0].read_bytes() != (source / migration.file).read_bytes()
        ):
            raise MigrationError(
                f"{there[0]}: is not our {migration.file}; move it away (`supabase migration fetch` writes it "
                "without its comments)",
                file=migration.file,
            )
    for name in new:
        shutil.copyfile(source / name, folder / name)
    return new
