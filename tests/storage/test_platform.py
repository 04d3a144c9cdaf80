"""The platform's own tables, as they may be found."""

from __future__ import annotations

import psycopg
import pytest

from storage.errors import StoreError
from storage.platform import platform_of, search_platform

THEIRS = """
CREATE TABLE service_catalog (id uuid, vertical text NOT NULL, name text NOT NULL, description text, enabled boolean);
CREATE TABLE vendors (id uuid, name text NOT NULL, phone text, city text, is_active boolean DEFAULT true);
CREATE TABLE faq_articles (id uuid, question text, answer text, locale text, is_active boolean DEFAULT true);
INSERT INTO service_catalog (vertical, name, description, enabled) VALUES
  ('mobility', 'Rides', 'A moto or a taxi', true), ('mobility', 'Old rides', 'taxi', false);
INSERT INTO vendors (name, phone, city) VALUES ('Umurava Taxi', '+12025550102', 'Remera');
INSERT INTO faq_articles (question, answer, locale) VALUES
  ('How to pay for a taxi?', 'In cash.', 'en'), ('Comment payer le taxi ?', 'En espèces.', 'fr');
"""


def run(dsn: str, script: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(script.encode())


async def test_their_tables_are_searched(database: str) -> None:
    run(database, THEIRS)
    platform = await platform_of(database)
    found = await search_platform(database, platform, "Taxis", location="remera", locale="fr", limit=5)
    assert [(row["name"], row["is_there"], row["phone"]) for row in found.services] == [
        ("Umurava Taxi", True, "+12025550102"), ("Rides", False, None),
    ]  # fmt: skip
    assert [row["answer"] for row in found.answers] == ["En espèces.", "In cash."]
    assert (await search_platform(database, platform, "", location="", locale="fr", limit=5)).services == ()


async def test_a_table_that_is_not_there_is_left_out(database: str) -> None:
    run(database, "CREATE TABLE vendors (name text); INSERT INTO vendors VALUES ('Café')")
    found = await search_platform(
        database, await platform_of(database), "cafe", location="", locale="en", limit=5
    )
    assert ([row["name"] for row in found.services], found.answers) == (["Café"], ())


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("SELECT 1", "there is none of the tables public.service_catalog"),
        (
            "CREATE TABLE faq_articles (title text, content text)",
            "public.faq_articles has no column question and no",
        ),
        ("CREATE TABLE vendors (name text); CREATE TABLE service_catalog (title text)", "it has title"),
    ],
)
async def test_what_does_not_fit_is_named(database: str, script: str, told: str) -> None:
    run(database, script)
    with pytest.raises(StoreError, match=told):
        await platform_of(database)
