"""The platform's own tables, read instead of ours: ``public.service_catalog``, ``vendors`` and ``faq_articles``.

Their columns are others' to change, so they are looked up at the start; what a table must have is ``REQUIRED``, what it
may have is taken where it is. Read only: ``service_requests`` there wants the ``user_id`` of a profile, which a caller
does not have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import dict_row

from storage.catalogue import Found, tsquery
from storage.dsn import connected
from storage.errors import StoreError

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "service_catalog": ("name",),
    "vendors": ("name",),
    "faq_articles": ("question", "answer"),
}
# What we call it → the first of these that a table has.
_OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "category": ("category", "vertical"),
    "location": ("city", "location", "address"),
    "text": ("description",),
    "phone": ("phone", "whatsapp_number"),
    "hours": ("hours", "opening_hours"),
    "price_note": ("price_note", "price"),
}
_ACTIVE = ("is_active", "enabled", "active")
_COLUMNS = """
SELECT table_name, array_agg(column_name::text) AS columns FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = ANY (%s) GROUP BY 1
"""
_SERVICES = """
SELECT f.*, coalesce(to_tsvector('simple', sipua.plain(location)) @@ to_tsquery('simple', %(place)s), false)
  AS is_there, ts_rank(v.search, to_tsquery('simple', %(words)s)) AS rank
FROM ({rows}) AS f, LATERAL (SELECT to_tsvector('simple', sipua.plain(
  concat_ws(' ', name, category, location, text))) AS search) AS v
WHERE v.search @@ to_tsquery('simple', %(words)s) ORDER BY is_there DESC, rank DESC, name LIMIT %(limit)s
"""
_ANSWERS = """
SELECT f.question, f.answer FROM ({rows}) AS f, LATERAL (SELECT to_tsvector('simple', sipua.plain(
  concat_ws(' ', question, answer))) AS search) AS v
WHERE v.search @@ to_tsquery('simple', %(words)s)
ORDER BY (f.locale IS NOT DISTINCT FROM %(locale)s) DESC, ts_rank(v.search, to_tsquery('simple', %(words)s)) DESC
LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Platform:
    """The queries that fit this database; None where there is no such table."""

    services: sql.Composed | None
    answers: sql.Composed | None


async def platform_of(dsn: str) -> Platform:
    """StoreError naming what is missing where a table does not fit, or where there is none of them."""
    async with connected(dsn, "sipua", dict_row) as connection:
        rows = await (await connection.execute(_COLUMNS, (list(REQUIRED),))).fetchall()
    found = {row["table_name"]: frozenset(row["columns"]) for row in rows}
    if not found:
        raise StoreError(f"there is none of the tables {', '.join(f'public.{name}' for name in REQUIRED)}")
    for table, columns in found.items():
        missing = [column for column in REQUIRED[table] if column not in columns]
        if missing:
            raise StoreError(
                f"public.{table} has no column {' and no column '.join(missing)}; it has {', '.join(sorted(columns))}"
            )
    services = [_services(table, found[table]) for table in ("service_catalog", "vendors") if table in found]
    answers = [_answers(found["faq_articles"])] if "faq_articles" in found else []
    return Platform(
        sql.SQL(_SERVICES).format(rows=sql.SQL(" UNION ALL ").join(services)) if services else None,
        sql.SQL(_ANSWERS).format(rows=answers[0]) if answers else None,
    )


async def search_platform(
    dsn: str, platform: Platform, text: str, *, location: str, locale: str, limit: int
) -> Found:
    """As ``storage.catalogue.search``; categories there are others than ours and do not count."""
    values = {"words": tsquery(text), "place": tsquery(location), "locale": locale, "limit": limit}
    if not values["words"]:
        return Found((), ())
    async with connected(dsn, "sipua", dict_row) as connection:
        both = [
            [] if query is None else await (await connection.execute(query, values)).fetchall()
            for query in (platform.services, platform.answers)
        ]
    return Found(tuple(both[0]), tuple(both[1]))


def _services(table: str, columns: Collection[str]) -> sql.Composed:
    chosen = [_as(name, _first(names, columns)) for name, names in _OPTIONAL.items()]
    return _select(table, [_as("name", "name"), *chosen], columns)


def _answers(columns: Collection[str]) -> sql.Composed:
    names = [_as(name, name) for name in ("question", "answer")]
    return _select("faq_articles", [*names, _as("locale", _first(("locale", "lang"), columns))], columns)


def _select(table: str, chosen: list[sql.Composed], columns: Collection[str]) -> sql.Composed:
    active = _first(_ACTIVE, columns)
    only = sql.SQL(" WHERE {} IS NOT FALSE").format(sql.Identifier(active)) if active else sql.SQL("")
    return sql.SQL("SELECT {} FROM {}{}").format(
        sql.SQL(", ").join(chosen), sql.Identifier("public", table), only
    )


def _as(name: str, column: str | None) -> sql.Composed:
    value = sql.SQL("NULL") if column is None else sql.Identifier(column)
    return sql.SQL("{}::text AS {}").format(value, sql.Identifier(name))


def _first(names: Collection[str], columns: Collection[str]) -> str | None:
    return next((name for name in names if name in columns), None)
