"""Connection strings: the TLS rule, a printable form, and the mapping of psycopg's connection errors.

A connection that leaves this machine is encrypted: ``sslmode`` disable, allow and prefer are refused there, and
where none is given ``require`` is set (libpq's own default, prefer, falls back to plain text without a word).
A ``service`` may name any host and sslmode in a file we do not read: it counts as another host, and a stronger
sslmode than require belongs into the string itself (or PGSSLMODE), which come first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import zip_longest
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import conninfo, pq
from psycopg.rows import AsyncRowFactory, Row

from storage.errors import BadDsn, DatabaseUnreachable, StoreError

WEAK_SSLMODES = ("disable", "allow", "prefer")
CONNECT_TIMEOUT_S = 5
_CLOSED = "not currently accepting connections"  # somebody has closed it, and will open it again
_PERMANENT = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not support SSL",
    "certificate verify failed",
    "FATAL: database",
    "FATAL: role",
)


def check_dsn(dsn: str) -> str:
    """Return the DSN to connect with (sslmode completed), or raise ``BadDsn``. Never shows the DSN itself."""
    params = _parse(dsn)
    service = params.get("service") or _defaults().get("service")
    remote = [f"service {service}"] if service else [host for host in _hosts(params) if not _is_local(host)]
    if not remote:
        return dsn
    given = params.get("sslmode")
    if given in WEAK_SSLMODES:
        raise BadDsn(
            f"sslmode={given} towards {remote[0]}: calls would cross the network in plain text; "
            "use sslmode=require, verify-ca or verify-full"
        )
    default = _defaults().get("sslmode")
    if given or (default not in (*WEAK_SSLMODES, None) and not service):
        return dsn
    # a service's sslmode comes before the environment's, but after the string's
    return conninfo.make_conninfo(dsn, sslmode="require" if default in (*WEAK_SSLMODES, None) else default)


def redact(dsn: str) -> str:
    """``postgresql://user@host:port/dbname`` without password or options; what may be logged and printed."""
    try:
        params = {**_defaults(), **_parse(dsn)}
    except BadDsn:
        return "(not a connection string)"
    user = quote(params["user"], safe="") + "@" if params.get("user") else ""
    name = quote(params.get("dbname") or "", safe="")
    host, port = params.get("host") or params.get("hostaddr") or "", params.get("port") or ""
    if not host or host[0] in "/@":
        query = f"?host={quote(host, safe='/@')}" if host else ""
        return f"postgresql://{user}/{name}{query}"
    if ":" in host:
        host = f"[{host}]"
    return f"postgresql://{user}{host}{':' + port if port else ''}/{name}"


def unreachable(error: psycopg.Error, dsn: str) -> DatabaseUnreachable:
    """psycopg's connection error as ours; what a repetition cannot mend (login, TLS, no such database) says so."""
    lines = (error.diag.message_primary or str(error)).splitlines()
    text = "; ".join(" ".join(line.split()) for line in lines if line.strip()) or type(error).__name__
    permanent = error.sqlstate in ("3D000", "28000", "28P01") or any(words in text for words in _PERMANENT)
    permanent = permanent and _CLOSED not in text
    return DatabaseUnreachable(f"database {redact(dsn)}: {text}", retryable=not permanent)


@contextmanager
def mapped_errors(dsn: str) -> Iterator[None]:
    """psycopg's errors inside as ours, without the row they speak of."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise unreachable(error, dsn) from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        lacking = error.diag.message_primary or type(error).__name__
        raise StoreError(f"database {redact(dsn)}: {lacking}; run `sipua migrate`") from error
    except psycopg.Error as error:
        message = error.diag.message_primary or type(error).__name__
        raise StoreError(f"database {redact(dsn)}: {message}") from error


def connect_options(application_name: str) -> dict[str, Any]:
    """For every connection of ours: give up on a silent peer (a dropped route, a hung host) in tens of seconds."""
    return {
        "application_name": application_name,
        "client_encoding": "UTF8",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }


@asynccontextmanager
async def connected(
    dsn: str, application_name: str, row_factory: AsyncRowFactory[Row]
) -> AsyncIterator[psycopg.AsyncConnection[Row]]:
    """One short connection: autocommit, nothing prepared (it may go through a pooler), errors as ours."""
    dsn = check_dsn(dsn)
    with mapped_errors(dsn):
        connection = await psycopg.AsyncConnection.connect(
            dsn,
            autocommit=True,
            prepare_threshold=None,
            row_factory=row_factory,
            **connect_options(application_name),
        )
        async with connection:
            yield connection


def _parse(dsn: str) -> dict[str, str]:
    try:
        parsed = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:  # its message quotes the string, password included
        raise BadDsn(
            "the database connection string cannot be parsed; "
            "expected postgresql://user:password@host:port/dbname (percent-encode special characters)"
        ) from None
    return {key: str(value) for key, value in parsed.items() if value is not None}


def _defaults() -> dict[str, str]:
    """libpq's own defaults: compiled in, or from its PG* environment variables."""
    defaults: dict[str, str] = {}
    for option in pq.Conninfo.get_defaults():
        if option.val:
            defaults[option.keyword.decode()] = option.val.decode()
    return defaults


def _hosts(params: dict[str, str]) -> list[str]:
    """Where libpq will connect to: of each pair of host and hostaddr the address, where there is one."""
    merged = {**_defaults(), **params}
    hosts, addresses = (merged.get(name, "").split(",") for name in ("host", "hostaddr"))
    return [address or host for host, address in zip_longest(hosts, addresses, fillvalue="")]


def _is_local(host: str) -> bool:
    if not host or host[0] in "/@" or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
