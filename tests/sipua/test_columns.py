"""What docs/columns.md says, held against the schema and the code; tests/peers/test_peer_columns.py makes the calls."""

from __future__ import annotations

from typing import get_args

from sipua.outcome import ending_of_code
from storage.words import STATUS_RANK, STATUSES, EventType
from tests.columns import cells, columns_of
from tests.storage.rows import EIGHT, rows


def test_every_column_of_the_eight_tables_is_told_of(database: str) -> None:
    query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    there: dict[str, set[str]] = {}
    for row in rows(database, query):
        there.setdefault(row["table_name"], set()).add(row["column_name"])
    assert {table: set(columns_of(table)) for table in EIGHT} == {table: there[table] for table in EIGHT}


def test_codes_have_the_status_and_outcome_that_are_told() -> None:
    told = {code: (status, outcome) for code, status, outcome in cells("SIP codes before the answer")}
    rest = told.pop("any other")
    for code in range(300, 700):
        expected = told.get(str(code), (rest[0], rest[1].replace("CODE", str(code))))
        ending = ending_of_code(code)
        assert (ending.status.value, ending.reason) == expected


def test_each_status_has_an_event() -> None:
    table = cells("Status, and its event")
    assert [word for words, _, _ in table for word in words.split(", ")] == list(STATUSES)
    ranks = [max(STATUS_RANK[word] for word in words.split(", ")) for words, _, _ in table]
    assert ranks == sorted(ranks)
    assert {event.strip("`") for _, event, _ in table} <= set(get_args(EventType))
