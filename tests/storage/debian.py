"""Debian's PostgreSQL, and its pgbouncer before it, on an address of the tests' own; both as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.ci_skips import INSTALL_HINT
from tests.ports import free_port
from tests.postgres import scratch_dir

VERSION = 15
PROGRAMS = Path(f"/usr/lib/postgresql/{VERSION}/bin")
HOST = "127.0.0.1"
NOBODY = 65534
_AS: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
_QUIET: dict[str, Any] = {"check": True, "cwd": "/", "stdout": subprocess.DEVNULL, **_AS}


def need(program: Path | str, package: str) -> None:
    """Skips the test where it is missing (CI does not allow that)."""
    if shutil.which(program) is None:
        pytest.skip(f"{INSTALL_HINT} {package}")


@contextmanager
def server(*, hba: str = "", files: Mapping[str, Path] | None = None, options: str = "") -> Iterator[str]:
    """A cluster of Debian's server with ``hba`` instead of trust; yields the DSN of its socket, as superuser.

    ``files`` are copied beside it for the server's eyes only (certificates); port and folder stand in the DSN.
    """
    need(PROGRAMS / "initdb", f"postgresql-{VERSION}")
    folder, port = scratch_dir(), free_port()
    data = folder / "data"
    own(folder)
    for name, source in (files or {}).items():
        shutil.copyfile(source, folder / name)
        own(folder / name)
        (folder / name).chmod(0o600)
    try:
        subprocess.run([PROGRAMS / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N"], **_QUIET)
        if hba:
            (data / "pg_hba.conf").write_text(f"local all all trust\n{hba}\n")
        given = f"-k {folder} -p {port} -c listen_addresses={HOST if hba else ''} -c fsync=off {options}"
        given = given.replace("FOLDER", str(folder))
        control: list[str | Path] = [PROGRAMS / "pg_ctl", "-D", data, "-w", "-m", "immediate"]
        subprocess.run([*control, "-o", given, "-l", folder / "log", "start"], **_QUIET)
        try:
            yield f"postgresql://postgres@/postgres?host={folder}&port={port}"
        finally:
            subprocess.run([*control, "stop"], **_QUIET)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def pooler(config: str, users: str, files: Mapping[str, Path]) -> Iterator[int]:
    """pgbouncer with that ``[pgbouncer]``/``[databases]`` text, PORT and FOLDER filled in; yields its port."""
    need("pgbouncer", "pgbouncer")
    folder, port = scratch_dir(), free_port()
    own(folder)
    for name, source in files.items():
        shutil.copyfile(source, folder / name)
        own(folder / name)
    (folder / "users.txt").write_text(users)
    (folder / "ini").write_text(config.replace("PORT", str(port)).replace("FOLDER", str(folder)))
    process = subprocess.Popen(
        ["pgbouncer", folder / "ini"], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **_AS
    )
    try:
        deadline = time.monotonic() + 10
        while not (folder / f".s.PGSQL.{port}").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail((folder / "log").read_text())
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def own(path: Path) -> None:
    """Given to the user that the servers run as."""
    if _AS:
        os.chown(path, NOBODY, NOBODY)


def end_sessions(dsn: str, application: str) -> int:
    """Ends the server's sessions of that name, as a restart or a network would."""
    with suppress(psycopg.OperationalError), psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            (application,),
        ).fetchall()
        return len(found)
    return 0
