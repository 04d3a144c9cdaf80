"""Whether a database fits: what is missing or of another kind, what our role may not do, what stands open.

Queries and their comparison; each answer is a list of lines for people. ``storage.columns`` says what is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import psycopg
from psycopg.abc import Params

from storage.columns import SHARED, TABLES, VIEWS, WIDER
from storage.words import Direction, EventType, Role, SessionStatus, Status

Connection = psycopg.AsyncConnection[tuple[object, ...]]

WRITER = "sipua_writer"
# Words that we write into columns with a list of words.
LISTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("voice_calls", "direction"): get_args(Direction),
    ("voice_calls", "status"): get_args(Status),
    ("voice_calls", "transcript_status"): ("pending", "processing", "completed", "failed"),
    ("openai_sessions", "status"): get_args(SessionStatus),
    ("transcripts", "role"): get_args(Role),
    ("voice_events", "type"): get_args(EventType),
}
ROUTINES = ("calls_of", "forget", "purge")  # of schema sipua
TRIGGERS = (
    ("voice_calls", "sipua_normalise"),
    ("voice_calls", "sipua_updated_at"),
    ("voice_memories", "sipua_updated_at"),
)

_COLUMNS = """
SELECT n.nspname || '.' || c.relname, a.attname::text, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname IN ('public', 'sipua') AND c.relkind IN ('r', 'p', 'v')
"""
# Columns of others that each row must fill, and nobody fills them in a row of ours: no default, no trigger of theirs.
_DEMANDED = """
SELECT n.nspname || '.' || c.relname, a.attname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname || '.' || c.relname = ANY (%s) AND c.relkind IN ('r', 'p')
  AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND NOT EXISTS (
    SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
      AND t.tgtype & 7 = 7 AND NOT starts_with(t.tgname::text, 'sipua_'))
ORDER BY 1, a.attnum
"""
_RLS_OFF = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname || '.' || c.relname = ANY (%s) AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity ORDER BY 1
"""
_TRIGGERS = """
SELECT c.relname::text, t.tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'public'::regnamespace AND t.tgenabled <> 'D'
"""
_LISTS = """
SELECT r.relname::text, a.attname::text, pg_get_constraintdef(c.oid), c.conname::text
FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
JOIN pg_class r ON r.oid = c.conrelid
WHERE c.contype = 'c' AND r.relnamespace = 'public'::regnamespace AND pg_get_constraintdef(c.oid) ~ '= (ANY|'')'
"""
_WRITER_POLICIES = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname || '.' || c.relname = ANY (%s) AND c.relkind IN ('r', 'p')
  AND NOT EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'sipua_rw_' || c.relname
                  AND p.polroles = ARRAY[to_regrole('sipua_writer')::oid])
ORDER BY 1
"""
# What the role of this connection lacks: a privilege, or a policy that lets it through row level security.
_RIGHTS = """
SELECT n.nspname || '.' || c.relname, has_table_privilege(c.oid, 'SELECT'),
  c.relkind = 'v' OR (has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')),
  c.relkind <> 'v' AND row_security_active(c.oid) AND NOT EXISTS (
    SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd = '*'
      AND pg_get_expr(p.polqual, p.polrelid) = 'true'
      AND (0 = ANY (p.polroles) OR EXISTS (
        SELECT 1 FROM unnest(p.polroles) AS r WHERE r <> 0 AND pg_has_role(r, 'USAGE'))))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE has_schema_privilege(n.oid, 'USAGE') AND n.nspname || '.' || c.relname = ANY (%s) ORDER BY 1
"""
# Functions that do as their owner may: for our writer, and for nobody whom the platform lets in.
_ROUTINES = """
SELECT p.oid::regprocedure::text, coalesce(has_function_privilege(to_regrole('sipua_writer'), p.oid, 'EXECUTE'), true),
  p.proacl IS NULL OR EXISTS (SELECT 1 FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0)
    OR coalesce(has_function_privilege(to_regrole('anon'), p.oid, 'EXECUTE'), false)
    OR coalesce(has_function_privilege(to_regrole('authenticated'), p.oid, 'EXECUTE'), false)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'sipua' AND p.prosecdef AND p.prorettype <> 'trigger'::regtype ORDER BY 1
"""
_NO_SCHEMA = """
SELECT n.nspname::text FROM pg_namespace n
WHERE n.nspname IN ('public', 'sipua') AND NOT has_schema_privilege(n.oid, 'USAGE') ORDER BY 1
"""
_GRANTED = """
SELECT r.rolname::text, n.nspname || '.' || c.relname
FROM pg_roles r, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rolname IN ('anon', 'authenticated') AND n.nspname || '.' || c.relname = ANY (%s)
  AND has_schema_privilege(r.oid, n.oid, 'USAGE')
  AND (has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
       OR has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
ORDER BY 2, 1
"""
_LOOSE_POLICIES = """
SELECT policyname::text, schemaname || '.' || tablename,
  CASE cmd WHEN 'ALL' THEN CASE WHEN qual = 'true' THEN 'do anything' ELSE 'insert' END ELSE lower(cmd) END
FROM pg_policies
WHERE schemaname || '.' || tablename = ANY (%s) AND permissive = 'PERMISSIVE'
  AND (coalesce(with_check, qual) = 'true' OR qual = 'true') AND roles && '{public,anon,authenticated}'::name[]
ORDER BY 2, 1
"""


async def unfit(connection: Connection) -> list[str]:
    """Columns whose type does not hold what we write, or that we do not write: nothing of ours can mend them."""
    there = await _columns(connection)
    lines = [
        f"column {table}.{column} is of type {found}, not {kind}"
        for table, columns in TABLES.items()
        for column, kind in columns.items()
        if (found := there.get(table, {}).get(column)) and kind in WIDER and found not in WIDER[kind]
    ]
    demanded = await _rows(connection, _DEMANDED, (list(TABLES),))
    return lines + [
        f"column {table}.{column} is NOT NULL without a default, and nothing of ours writes it"
        for table, column in demanded
        if str(column) not in TABLES[str(table)]
    ]


async def missing(connection: Connection, *, needed: bool = False) -> list[str]:
    """Tables, columns, words of lists, triggers, policies and row level security that are not there, one line each.

    ``needed``: only that without which rows are refused.
    """
    there = await _columns(connection)
    lines: list[str] = []
    for table, columns in TABLES.items():
        if table not in there:
            lines.append(f"{'view' if table in VIEWS else 'table'} {table}")
        else:
            lines += [f"column {table}.{column}" for column in columns if column not in there[table]]
    lines += await _refused_words(connection)
    if needed:
        return lines
    triggers = set(await _rows(connection, _TRIGGERS))
    lines += [
        f"trigger {name} on public.{table}"
        for table, name in TRIGGERS
        if (table, name) not in triggers and f"public.{table}" in there
    ]
    return lines + await insecure(connection)


async def insecure(connection: Connection) -> list[str]:
    """Row level security that is off, and what the role for our writer lacks."""
    off = await _rows(connection, _RLS_OFF, (list(TABLES),))
    routines = await _rows(connection, _ROUTINES)
    there = {str(name).removeprefix("sipua.").partition("(")[0] for name, _, _ in routines}
    return [
        *(f"row level security on {name}" for (name,) in off),
        *await _writer(connection),
        *(f"function sipua.{name}" for name in ROUTINES if name not in there),
        *(f"right of {WRITER} to call {name}" for name, may, _ in routines if not may),
    ]


async def rights(connection: Connection) -> list[str]:
    """What the role of this connection may not do though our writer does it."""
    ((role,),) = await _rows(connection, "SELECT current_user::text")
    lines = [f"role {role} may not use schema {name}" for (name,) in await _rows(connection, _NO_SCHEMA)]
    for table, reads, writes, hidden in await _rows(connection, _RIGHTS, (list(TABLES),)):
        if not (reads and writes):
            lines.append(f"role {role} may not {'write' if reads else 'read'} {table}")
        elif hidden:
            lines.append(f"role {role} sees no row of {table} (row level security)")
    return lines


async def open_doors(connection: Connection) -> list[str]:
    """Grants and policies through which anon or authenticated reach our tables."""
    tables = (list(TABLES),)
    granted = await _rows(connection, _GRANTED, tables)
    loose = await _rows(connection, _LOOSE_POLICIES, tables)
    routines = await _rows(connection, _ROUTINES)
    return [
        *(f"role {role} has privileges on {table}" for role, table in granted),
        *(f"policy {policy} on {table} lets everyone {what}" for policy, table, what in loose),
        *(f"everyone may call {name}" for name, _, is_open in routines if is_open),
    ]


async def _refused_words(connection: Connection) -> list[str]:
    lines = []
    for table, column, definition, name in await _rows(connection, _LISTS):
        ours = LISTS.get((str(table), str(column)), ())
        refused = sorted(word for word in ours if f"'{word}'" not in str(definition))
        if refused:
            lines.append(f"constraint {name} on public.{table}: {column} refuses {', '.join(refused)}")
    return lines


async def _writer(connection: Connection) -> list[str]:
    """The role for our writer, and its policies."""
    ((there,),) = await _rows(connection, "SELECT to_regrole(%s) IS NOT NULL", (WRITER,))
    if not there:
        return [f"role {WRITER}"]
    tables = [f"public.{name}" for name in SHARED] + [name for name in TABLES if name.startswith("sipua.")]
    lacking = await _rows(connection, _WRITER_POLICIES, (tables,))
    return [f"policy of {WRITER} on {name}" for (name,) in lacking]


async def _columns(connection: Connection) -> dict[str, dict[str, str]]:
    there: dict[str, dict[str, str]] = {}
    for table, column, kind in await _rows(connection, _COLUMNS):
        there.setdefault(str(table), {})[str(column)] = str(kind)
    return there


async def _rows(
    connection: Connection, query: str, values: Params | None = None
) -> Sequence[tuple[object, ...]]:
    return await (await connection.execute(query.encode(), values)).fetchall()
