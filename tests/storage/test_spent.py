"""What the day has cost so far, as a process reads it at its start."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from storage.queries import dialled_since, spent_since

MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
ROWS: list[tuple[str, str | None, str | None, float, Any]] = [
    ("inbound", "+250788123456", "+250788000000", 1, {"usage": {"cost_usd": 0.25}}),
    ("inbound", "+250788123456", "+250788000000", 2, {"usage": {"cost_usd": 0.5}}),
    ("outbound", "+250788000000", "+250788123456", 3, {"usage": {"cost_usd": 1}}),  # the one we called
    ("inbound", None, "+250788000000", 4, {"usage": {"cost_usd": 2}}),
    ("inbound", "+250788123456", None, -1, {"usage": {"cost_usd": 64}}),  # yesterday
    ("inbound", "+250788123456", None, 5, {"usage": {"cost_usd": "much"}}),
    ("inbound", "+250788123456", None, 5, {"usage": 7}),
    ("inbound", "+250788123456", None, 5, {}),
]


def test_by_the_number_we_talked_with_and_since_midnight(database: str) -> None:
    with psycopg.connect(database) as connection:
        for direction, caller, called, hours, metadata in ROWS:
            connection.execute(
                "INSERT INTO voice_calls (direction, from_e164, to_e164, started_at, metadata)"
                " VALUES (%s, %s, %s, %s, %s)",
                (direction, caller, called, MIDNIGHT + timedelta(hours=hours), Jsonb(metadata)),
            )
    spent = dict(asyncio.run(spent_since(database, MIDNIGHT)))
    assert spent == {"+250788123456": 1.75, None: 2.0}


def test_how_often_a_number_was_called_since_midnight(database: str) -> None:
    with psycopg.connect(database) as connection:
        for direction, caller, called, hours, metadata in [
            *ROWS,
            ROWS[2],
            ("outbound", None, ROWS[2][2], -1, {}),
        ]:
            connection.execute(
                "INSERT INTO voice_calls (direction, from_e164, to_e164, started_at, metadata)"
                " VALUES (%s, %s, %s, %s, %s)",
                (direction, caller, called, MIDNIGHT + timedelta(hours=hours), Jsonb(metadata)),
            )
    assert asyncio.run(dialled_since(database, "+250788123456", MIDNIGHT)) == 2
    assert asyncio.run(dialled_since(database, "+250788999888", MIDNIGHT)) == 0
