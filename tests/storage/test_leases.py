"""Leases: whose word does not move for a whole lease while it could be heard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from storage.leases import Leases

A, B = UUID(int=1), UUID(int=2)
T0 = datetime(2026, 1, 2, tzinfo=UTC)

Look = tuple[float, dict[UUID, int] | None]  # our time, their words (None: the database was gone)
TABLE: dict[str, tuple[list[Look], list[UUID]]] = {
    "one that speaks lives": ([(0, {A: 0}), (30, {A: 1}), (61, {A: 2}), (99, {A: 3})], []),
    "one that is silent for a lease is dead": ([(0, {A: 0}), (30, {A: 0}), (60, {A: 0})], [A]),
    "not a moment earlier": ([(0, {A: 0}), (59.9, {A: 0})], []),
    "the first look proves nothing, however old the word is": ([(1000, {A: -99999})], []),
    "a word later than before counts from then": ([(0, {A: 0}), (50, {A: 1}), (100, {A: 1})], []),
    "a clock that was put back is a word too": ([(0, {A: 9}), (50, {A: 5}), (100, {A: 5})], []),
    "nobody is heard while the database is gone": (
        [(0, {A: 0}), (50, None), (99, {A: 0}), (110, {A: 0})],
        [],
    ),
    "and a lease later it is known": ([(0, {A: 0}), (50, None), (99, {A: 0}), (159, {A: 0})], [A]),
    "who left is forgotten": ([(0, {A: 0}), (30, {}), (70, {A: 0})], []),
    "each by itself": ([(0, {A: 0, B: 0}), (40, {A: 0, B: 1}), (70, {A: 0, B: 1})], [A]),
    "it is said again until somebody acts": ([(0, {A: 0}), (60, {A: 0}), (70, {A: 0})], [A]),
}


@pytest.mark.parametrize("case", TABLE)
def test_leases(case: str) -> None:
    looks, expected = TABLE[case]
    leases, found = Leases(60), []
    for now, words in looks:
        if words is None:
            leases.could_not_look()
            continue
        found = leases.looked(now, {who: T0 + timedelta(seconds=said) for who, said in words.items()})
    assert found == expected
