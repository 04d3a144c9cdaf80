"""Every error this package raises on purpose. ``retryable`` says whether the same attempt can succeed later.

psycopg's errors are mapped into this tree once, where they appear; messages never hold a password, a phone
number or a row's content.
"""

from __future__ import annotations


class StoreError(Exception):
    """Base: the database refused, is gone, or does not fit."""

    retryable = False
    reason = "store"


class BadDsn(StoreError):
    """The connection string cannot be used as it is written (syntax, or TLS off towards another host)."""

    reason = "database_dsn"


class DatabaseUnreachable(StoreError):
    """No connection: refused, DNS, time-out, shutting down. ``retryable`` is False for a wrong password."""

    retryable = True
    reason = "database_unreachable"

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class MigrationError(StoreError):
    """A migration failed or its file was changed after it had been applied; nothing of that file is left behind.

    ``forbidden``: the login may not do it, somebody else's may.
    """

    reason = "migration"

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        statement: str = "",
        retryable: bool = False,
        forbidden: bool = False,
    ) -> None:
        super().__init__(message)
        self.file = file
        self.statement = statement
        self.retryable = retryable
        self.forbidden = forbidden


class EmbeddedError(StoreError):
    """The embedded server could not be set up or started."""

    reason = "embedded_database"


class OtherMajor(EmbeddedError):
    """The data directory was made by a PostgreSQL whose programs are not here."""

    reason = "other_postgresql"

    def __init__(self, major: int, have: str) -> None:
        super().__init__(f"the data directory was made by PostgreSQL {major}, but only {have} is installed")
        self.major = major


class QueueFull(StoreError):
    """The writer's bounded queue refused a group of facts."""

    retryable = True
    reason = "queue_full"


class SpoolError(StoreError):
    """A spool's folder or one of its files cannot be used; the message names it and says what to do."""

    reason = "spool"
