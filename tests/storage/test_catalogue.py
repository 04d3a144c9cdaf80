"""The catalogue: found by words of several languages, imported whole, against a real server."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from storage.catalogue import CATALOGUE, FAQ, Found, Imported, import_rows, search, tsquery
from storage.errors import StoreError

SERVICES = [
    {
        "key": "moto-a", "name": "Moto Amahoro", "category": "transport", "location": "Kimironko",
        "text_en": "Motorcycle taxis, day and night", "text_fr": "Taxis-motos à l’heure", "phone": "+250788000001",
    },
    {"key": "cab-b", "name": "Umurava Cabs", "category": "transport", "location": "Remera", "text_en": "Taxi, 4 seats"},
    {
        "key": "cafe", "name": "Café Étoilé", "category": "food", "location": "Kimironko", "text_en": "Coffee",
        "text_rw": "Ikawa n'ifunguro", "hours": "7-21",
    },
    {"key": "phones", "name": "Duka Phones", "category": "shopping", "location": "Remera", "text_sw": "Simu na chaja"},
]  # fmt: skip
ANSWERS = [
    {
        "key": "pay",
        "question_en": "How can I pay?",
        "answer_en": "Mobile money or cash.",
        "answer_fr": "Par mobile.",
    },
]


def complete(rows: list[dict[str, str]], columns: tuple[str, ...]) -> list[dict[str, str | None]]:
    return [{column: row.get(column) for column in columns} for row in rows]


async def imported(
    database: str, rows: list[dict[str, str]], *, replace: bool = False, dry_run: bool = False
) -> Imported:
    return await import_rows(
        database, "catalogue", complete(rows, CATALOGUE), replace=replace, dry_run=dry_run
    )


def keys(found: Found) -> list[str]:
    return [row["key"] for row in found.services]


QUESTIONS = [
    pytest.param("taxi", {}, ["moto-a", "cab-b"], id="a word of the text"),
    pytest.param("TAXIS", {}, ["moto-a", "cab-b"], id="its plural, in capitals"),
    pytest.param("taxi", {"location": "Kimironko"}, ["moto-a", "cab-b"], id="the place first"),
    pytest.param("taxi", {"location": "near Remera please"}, ["cab-b", "moto-a"], id="the other place"),
    pytest.param("cafe etoile", {}, ["cafe"], id="without accents"),
    pytest.param("CAFÉ", {}, ["cafe"], id="with accents in capitals"),
    pytest.param("l'heure", {"category": "transport"}, ["moto-a"], id="an elision"),
    pytest.param("ikawa", {"locale": "rw"}, ["cafe"], id="another language"),
    pytest.param("taxi", {"category": "food"}, ["moto-a", "cab-b"], id="the wrong category"),
    pytest.param("", {"category": "shopping"}, ["phones"], id="all of a category"),
    pytest.param("kimirinko", {}, ["cafe", "moto-a"], id="a spelling mistake"),
    pytest.param("", {}, [], id="nothing said"),
    pytest.param("to & | ! ( ' \\ \0", {}, [], id="operators"),
    pytest.param("helicopter", {}, [], id="nothing there"),
]


@pytest.mark.parametrize(("text", "options", "found"), QUESTIONS)
async def test_what_is_asked_for_is_found(
    database: str, text: str, options: dict[str, str], found: list[str]
) -> None:
    await imported(database, SERVICES)
    assert keys(await search(database, text, **options)) == found  # type: ignore[arg-type]


async def test_an_answer_is_in_the_callers_language_or_in_english(database: str) -> None:
    await import_rows(database, "faq", complete(ANSWERS, FAQ), replace=False, dry_run=False)
    texts = [
        (await search(database, "how do I pay", locale=locale)).answers[0]["answer"]
        for locale in ("fr", "rw", "xx")
    ]
    assert texts == ["Par mobile.", "Mobile money or cash.", "Mobile money or cash."]


async def test_no_more_than_asked_for(database: str) -> None:
    await imported(
        database, [{"key": f"k{n}", "name": f"Taxi {n}", "category": "transport"} for n in range(20)]
    )
    assert len(keys(await search(database, "taxi", limit=3))) == 3


async def test_without_pg_trgm_only_the_spelling_mistake_is_lost(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP EXTENSION pg_trgm")
    await imported(database, SERVICES)
    assert keys(await search(database, "kimirinko")) == []
    assert keys(await search(database, "taxi")) == ["moto-a", "cab-b"]


async def test_an_import_again_changes_nothing(database: str) -> None:
    assert await imported(database, SERVICES, dry_run=True) == Imported(4, 0, 0, 0)
    assert await imported(database, SERVICES) == Imported(4, 0, 0, 0)
    assert await imported(database, SERVICES) == Imported(0, 0, 4, 0)
    changed = [SERVICES[0] | {"hours": "all day"}, *SERVICES[1:3]]
    assert await imported(database, changed) == Imported(0, 1, 2, 0)
    assert await imported(database, changed, replace=True) == Imported(0, 0, 3, 1)
    assert keys(await search(database, "simu")) == []


async def test_a_row_that_the_database_refuses_leaves_nothing_behind(database: str) -> None:
    with pytest.raises(StoreError):
        await imported(database, [*SERVICES, {"key": "x", "name": "X", "category": "astrology"}])
    assert keys(await search(database, "taxi")) == []


@pytest.fixture(params=["C", ""], ids=["collation C", "the server's collation"])
def collated(postgres_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """``sipua.plain`` alone, in a database of that collation."""
    from psycopg import conninfo

    name = f"collated_{request.param.lower() or 'own'}"
    option = (
        f" LC_COLLATE '{request.param}' LC_CTYPE '{request.param}' TEMPLATE template0"
        if request.param
        else ""
    )
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}{option}".encode())
        yield conninfo.make_conninfo(postgres_server, dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def test_words_are_plain_in_any_collation(collated: str) -> None:
    from storage.migrate import migrate

    await migrate(collated)
    with psycopg.connect(collated) as connection:
        row = connection.execute("SELECT sipua.plain('ÉTOILÉ Œuf d’Or moto-taxi')").fetchone()
    assert row == ("etoile oeuf d or moto taxi",)


def test_words_that_everybody_says_do_not_count() -> None:
    assert tsquery("Where can I find the taxis for Kimironko?") == "find:* | taxi:* | kimironko:*"
    assert len(tsquery("word " + " ".join(f"w{n:03}" for n in range(99))).split("|")) == 12
