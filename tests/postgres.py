"""Fixtures for tests that need a real PostgreSQL: one embedded server per session, one database per test.

Another folder's ``conftest.py`` takes them over with
``from tests.postgres import database, empty_database, postgres_server, template  # noqa: F401``.
The server lives in memory (/dev/shm where there is one) with fsync off; a migrated database is a copy of a
template (20–30 ms).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_numbers = itertools.count(1)


def scratch_dir() -> Path:
    """A new directory in memory where possible, which every user may enter."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="sipua-test-", dir=memory if os.access(memory, os.W_OK) else None))
    path.chmod(0o755)
    return path


def create_database(server_dsn: str, template: str | None = None) -> str:
    """A new database of that server; returns its DSN."""
    name = f"t{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        query = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template:
            query += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        connection.execute(query)
    return conninfo.make_conninfo(server_dsn, dbname=name)


def drop_database(server_dsn: str, dsn: str) -> None:
    """Remove it with whatever is still connected."""
    name = str(conninfo.conninfo_to_dict(dsn)["dbname"])
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """DSN of the session's server (database ``postgres``)."""
    folder = scratch_dir()
    try:
        with EmbeddedPostgres(folder, settings=FAST) as server:
            yield server.dsn
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(postgres_server: str) -> str:
    """Name of a migrated database nobody is connected to."""
    dsn = create_database(postgres_server)
    asyncio.run(migrate(dsn))
    return str(conninfo.conninfo_to_dict(dsn)["dbname"])


@pytest.fixture
def database(postgres_server: str, template: str) -> Iterator[str]:
    """DSN of a migrated, empty database of this test's own."""
    dsn = create_database(postgres_server, template)
    yield dsn
    drop_database(postgres_server, dsn)


@pytest.fixture
def empty_database(postgres_server: str) -> Iterator[str]:
    """DSN of a database without any table."""
    dsn = create_database(postgres_server)
    yield dsn
    drop_database(postgres_server, dsn)
