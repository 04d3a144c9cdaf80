"""The catalogue and the answers: searched by words, imported whole.

A word finds what begins with it, without accents and case; those of one or two letters and the commonest of our
languages do not count. Where no word is found similar spellings are, if the server has pg_trgm.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row

from storage import clean
from storage.dsn import connected

LANGUAGES = ("en", "sw", "fr", "rw")
CATALOGUE = ("key", "name", "category", "location", *(f"text_{code}" for code in LANGUAGES), "phone", "hours",
             "price_note")  # fmt: skip
FAQ = ("key", *(f"{what}_{code}" for code in LANGUAGES for what in ("question", "answer")))
TABLES: Mapping[str, tuple[str, ...]] = {"catalogue": CATALOGUE, "faq": FAQ}

WORDS_MAX = 12
SIMILAR = 0.5  # of a word's trigrams; "kimirinko" finds Kimironko (0.6), "remera" does not
_COMMON = """
the and for with who can you please need want where what how les des une pour avec dans qui est sur
na ya wa kwa mu ku cyangwa nka
"""
COMMON = frozenset(_COMMON.split())

_SERVICES = """
SELECT key, name, category, location, phone, hours, price_note,
  coalesce({own}, text_en, text_fr, text_sw, text_rw) AS text,
  coalesce(to_tsvector('simple', sipua.plain(location)) @@ to_tsquery('simple', %(place)s), false) AS is_there,
  ts_rank(search, to_tsquery('simple', %(words)s)) AS rank
FROM sipua.catalogue
WHERE (%(words)s = '' OR search @@ to_tsquery('simple', %(words)s))
  AND (%(category)s::text IS NULL OR category = %(category)s)
ORDER BY is_there DESC, rank DESC, name LIMIT %(limit)s
"""
_SIMILAR = """
SELECT key, name, category, location, phone, hours, price_note,
  coalesce({own}, text_en, text_fr, text_sw, text_rw) AS text, false AS is_there, s.alike AS rank
FROM sipua.catalogue, LATERAL (
  SELECT {trgm}.word_similarity(%(plain)s, sipua.plain(name || ' ' || coalesce(location, ''))) AS alike) AS s
WHERE s.alike >= %(similar)s AND (%(category)s::text IS NULL OR category = %(category)s)
ORDER BY s.alike DESC, name LIMIT %(limit)s
"""
_ANSWERS = """
SELECT key, coalesce({question}, question_en, question_fr, question_sw, question_rw) AS question,
  coalesce({answer}, answer_en, answer_fr, answer_sw, answer_rw) AS answer
FROM sipua.faq WHERE search @@ to_tsquery('simple', %(words)s)
ORDER BY ts_rank(search, to_tsquery('simple', %(words)s)) DESC, key LIMIT %(limit)s
"""
_TRGM = "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'"
_IMPORT = """
WITH r AS (SELECT * FROM jsonb_populate_recordset(NULL::{table}, %(rows)s::jsonb)), stored AS (
  INSERT INTO {table} AS t ({columns}) SELECT {columns} FROM r
  ON CONFLICT (key) DO UPDATE SET {sets}, updated_at = now() WHERE ({ours}) IS DISTINCT FROM ({theirs})
  RETURNING (xmax = 0) AS is_new
)
SELECT count(*) FILTER (WHERE is_new) AS added, count(*) FILTER (WHERE NOT is_new) AS changed FROM stored
"""


@dataclass(frozen=True, slots=True)
class Found:
    """The best first. A service has ``is_there``: it is at the place that was asked for."""

    services: tuple[dict[str, Any], ...]
    answers: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """How many rows."""

    added: int
    changed: int
    same: int
    removed: int


def plain(text: str) -> str:
    """As ``sipua.plain`` has it."""
    text = text.lower().replace("œ", "oe").replace("æ", "ae")
    return "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))


def tsquery(text: str) -> str:
    """Any of its words, as the beginning of one; "" if none counts."""
    words = [word for word in re.findall(r"[^\W_]+", plain(text)) if len(word) > 2 and word not in COMMON]
    stems = dict.fromkeys(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in words)
    return " | ".join(f"{stem}:*" for stem in [*stems][:WORDS_MAX])


async def search(
    dsn: str,
    text: str,
    *,
    category: str | None = None,
    location: str = "",
    locale: str = "en",
    limit: int = 5,
) -> Found:
    """What there is for these words, in a language where it is written in it. Of a category that has nothing: all."""
    values = {
        "words": tsquery(text), "place": tsquery(location), "plain": plain(text), "similar": SIMILAR,
        "category": category, "limit": limit,
    }  # fmt: skip
    code = locale if locale in LANGUAGES else "en"
    own, question, answer = (sql.Identifier(f"{what}_{code}") for what in ("text", "question", "answer"))
    async with connected(dsn, "sipua", dict_row) as connection:
        services: list[DictRow] = []
        if values["words"] or category:
            services = await _rows(connection, sql.SQL(_SERVICES).format(own=own), values)
        if not services and values["words"] and category:
            services = await _rows(
                connection, sql.SQL(_SERVICES).format(own=own), values | {"category": None}
            )
        if not services and values["words"]:
            trgm = await _rows(connection, sql.SQL(_TRGM), {})
            if trgm:
                query = sql.SQL(_SIMILAR).format(own=own, trgm=sql.Identifier(trgm[0]["nspname"]))
                services = await _rows(connection, query, values)
        answers: list[DictRow] = []
        if values["words"]:
            answers = await _rows(
                connection, sql.SQL(_ANSWERS).format(question=question, answer=answer), values
            )
    return Found(tuple(services), tuple(answers))


async def import_rows(
    dsn: str, table: str, rows: Sequence[Mapping[str, str | None]], *, replace: bool, dry_run: bool
) -> Imported:
    """All of them or none, by ``key``; ``replace`` removes what is not among them."""
    columns = TABLES[table]
    name = sql.Identifier("sipua", table)
    listed = [sql.Identifier(column) for column in columns]
    query = sql.SQL(_IMPORT).format(
        table=name,
        columns=sql.SQL(", ").join(listed),
        sets=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(column) for column in listed[1:]),
        ours=sql.SQL(", ").join(sql.SQL("t.{}").format(column) for column in listed),
        theirs=sql.SQL(", ").join(sql.SQL("excluded.{}").format(column) for column in listed),
    )
    keys = [row["key"] for row in rows]
    async with (
        connected(dsn, "sipua", dict_row) as connection,
        connection.transaction(force_rollback=dry_run),
    ):
        removed = 0
        if replace:
            gone = sql.SQL("DELETE FROM {} WHERE key <> ALL (%s::text[])").format(name)
            removed = (await connection.execute(gone, (keys,))).rowcount
        values = {"rows": clean.dumps(clean.tree([dict(row) for row in rows]))}
        counts = (await _rows(connection, query, values))[0]
    same = len(rows) - counts["added"] - counts["changed"]
    return Imported(counts["added"], counts["changed"], same, removed)


async def _rows(
    connection: psycopg.AsyncConnection[DictRow], query: sql.SQL | sql.Composed, values: Mapping[str, Any]
) -> list[DictRow]:
    return await (await connection.execute(query, values)).fetchall()
