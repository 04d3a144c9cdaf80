"""The history of migrations: Supabase's, which names versions, and ours, which knows the applied files."""

from __future__ import annotations

import psycopg

from storage.errors import MigrationError
from storage.migration_files import Migration

Connection = psycopg.AsyncConnection[tuple[object, ...]]

BOOKKEEPING = """
CREATE SCHEMA IF NOT EXISTS supabase_migrations;
CREATE TABLE IF NOT EXISTS supabase_migrations.schema_migrations (version text NOT NULL PRIMARY KEY);
ALTER TABLE supabase_migrations.schema_migrations ADD COLUMN IF NOT EXISTS statements text[];
ALTER TABLE supabase_migrations.schema_migrations ADD COLUMN IF NOT EXISTS name text;
CREATE SCHEMA IF NOT EXISTS sipua;
CREATE TABLE IF NOT EXISTS sipua.migrations (
  version text PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
"""


async def versions(connection: Connection) -> set[str]:
    """Of all files ever applied, others' too."""
    if not await may_read(connection):
        raise MigrationError("this login may not read the history of migrations", forbidden=True)
    if not await _is_there(connection, "supabase_migrations.schema_migrations"):
        return set()
    rows = await connection.execute("SELECT version FROM supabase_migrations.schema_migrations")
    return {str(version) for (version,) in await rows.fetchall()}


async def remembered(connection: Connection) -> dict[str, str]:
    """What our applied files looked like, by version."""
    if not await _is_there(connection, "sipua.migrations"):
        return {}
    rows = await connection.execute("SELECT version, sha256 FROM sipua.migrations")
    return {str(version): str(digest) for version, digest in await rows.fetchall()}


async def _is_there(connection: Connection, table: str) -> bool:
    """Asked of the catalogue: to_regclass() is an error where the schema may not be used."""
    rows = await connection.execute(
        "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname || '.' || c.relname = %s",
        (table,),
    )
    return await rows.fetchone() is not None


async def may_read(connection: Connection) -> bool:
    """Also where there is no history yet."""
    rows = await connection.execute(
        "SELECT coalesce(bool_and(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')), true)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'supabase_migrations' AND c.relname = 'schema_migrations'"
    )
    row = await rows.fetchone()
    return row is None or bool(row[0])


async def may_create(connection: Connection) -> bool:
    """Whether this login is one that changes schemas."""
    rows = await connection.execute("SELECT has_database_privilege(current_database(), 'CREATE')")
    row = await rows.fetchone()
    return row is not None and bool(row[0])


async def remember(connection: Connection, migration: Migration) -> None:
    """As it is now, unless it is known already."""
    await connection.execute(
        "INSERT INTO sipua.migrations (version, name, sha256) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (migration.version, migration.name, migration.sha256),
    )
