"""What tests of the schema ask of a database: rows, scripts, its catalogue."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

EIGHT = (
    "voice_calls", "openai_sessions", "transcripts", "voice_events", "mcp_tool_calls", "call_consents", "wa_threads",
    "voice_memories",
)  # fmt: skip
_CATALOGUE = """
SELECT 'column' AS kind, table_schema || '.' || table_name || '.' || column_name AS name,
  data_type || ' ' || coalesce(column_default, '') || ' ' || is_nullable AS def
FROM information_schema.columns WHERE table_schema IN ('public', 'sipua')
UNION ALL
SELECT 'constraint', conrelid::regclass::text || ' ' || contype::text, pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
WHERE n.nspname IN ('public', 'sipua') AND contype IN ('c', 'f', 'p')
UNION ALL
SELECT 'index', schemaname || '.' || tablename, indexdef FROM pg_indexes WHERE schemaname IN ('public', 'sipua')
UNION ALL
SELECT 'trigger', tgrelid::regclass::text, tgname || ' ' || tgfoid::regproc::text || ' ' || tgenabled::text
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'policy', schemaname || '.' || tablename,
  policyname || ' ' || coalesce(qual, '') || ' ' || coalesce(with_check, '') || ' ' || roles::text
FROM pg_policies
UNION ALL
SELECT 'grant', table_schema || '.' || table_name, grantee || ' ' || privilege_type
FROM information_schema.role_table_grants
WHERE grantee IN ('anon', 'authenticated', 'sipua_writer', 'PUBLIC') AND table_schema IN ('public', 'sipua')
ORDER BY 1, 2, 3
"""


def rows(dsn: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        return connection.execute(query.encode()).fetchall()


def run(dsn: str, script: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(script.encode())


def catalogue(dsn: str) -> list[tuple[str, str, str]]:
    """Everything of the schemas that can be compared: no names of indexes, and lists of words in one order."""
    found = [(row["kind"], row["name"], _in_order(row["def"])) for row in rows(dsn, _CATALOGUE)]
    return sorted(found)


def contents(dsn: str, tables: Sequence[str] = EIGHT) -> dict[str, list[dict[str, Any]]]:
    """All rows of the tables that are there, by table, in order of their id."""
    there = {
        row["name"]
        for row in rows(dsn, "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    }
    return {
        table: rows(dsn, f"SELECT * FROM public.{table} ORDER BY id") for table in tables if table in there
    }


def _in_order(definition: str) -> str:
    if definition.startswith("CHECK"):
        valid = "" if definition.endswith("NOT VALID") else " valid"
        return "CHECK " + " ".join(sorted(re.findall(r"'(?:[^']|'')*'", definition))) + valid
    return re.sub(r"INDEX \S+ ON", "INDEX ON", definition)
