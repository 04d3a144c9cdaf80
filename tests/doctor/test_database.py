"""What ``sipua doctor`` says of a database."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from sipua.checks.services import database as checked
from sipua.settings import Settings
from tests.storage.rows import run

DATABASES = [
    ("SELECT 1", "ok", "reachable, schema complete"),
    (
        "DELETE FROM supabase_migrations.schema_migrations",
        "warn",
        "or open: migration 20261122100000_shared_schema.sql",
    ),
    ("GRANT SELECT ON call_consents TO PUBLIC", "warn", "role anon has privileges on public.call_consents"),
    (
        "DROP TRIGGER sipua_updated_at ON voice_calls",
        "warn",
        "or open: trigger sipua_updated_at on public.voice_calls",
    ),
    (
        "ALTER TABLE transcripts ALTER t TYPE timestamp",
        "fail",
        "does not fit: column public.transcripts.t is of type",
    ),
]


@pytest.mark.parametrize(("done", "status", "said"), DATABASES)
async def test_a_database_is_looked_at(database: str, done: str, status: str, said: str) -> None:
    run(database, done)
    found = await checked(Settings(database_url=SecretStr(database)))
    assert (found.status, said in found.detail) == (status, True), found.detail


async def test_the_schema_is_looked_at_with_the_owners_login(database: str) -> None:
    """The writer's may not even exist."""
    settings = Settings(database_url=SecretStr("postgresql://nobody@127.0.0.1:9/x"))
    owner = settings.database.model_copy(update={"migrate_url": SecretStr(database)})
    found = await checked(settings.model_copy(update={"database": owner}))
    assert found.status == "fail"
    assert "refused" in found.detail
