"""Which call-back requests a process takes up that others could tell nobody."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest

from storage.callbacks import callbacks_untold

OURS, THEIRS = ("n1", 0), ("n2", 0)


def request(dsn: str, name: tuple[str, int], life: str, more: str = "") -> UUID:
    """One of a call of a process of that name, which has ended, is silent or lives."""
    instance, call, id = uuid4(), uuid4(), uuid4()
    ended = "now()" if life == "ended" else "NULL"
    seen = "now()" if life == "lives" else "now() - interval '2 minutes'"
    with psycopg.connect(dsn) as connection:
        connection.execute(
            f"""
            INSERT INTO sipua.processes (instance, node, worker, ended_at)
              VALUES ('{instance}', '{name[0]}', {name[1]}, {ended});
            INSERT INTO sipua.writers (instance, seq, seen_at) VALUES ('{instance}', 0, {seen});
            INSERT INTO voice_calls (id, direction, metadata)
              VALUES ('{call}', 'inbound', jsonb_build_object('instance', '{instance}'));
            INSERT INTO sipua.callback_requests (id, number, reference, call_id)
              VALUES ('{id}', '+250788000001', 'AB12', '{call}');
            {more}""".encode()
        )
    return id


@pytest.mark.parametrize(
    ("name", "life", "is_taken"),
    [
        (OURS, "ended", True), (OURS, "silent", True), (OURS, "lives", True),  # of our name: it is dead
        (THEIRS, "ended", True), (THEIRS, "silent", True), (THEIRS, "lives", False),
    ],
)  # fmt: skip
async def test_those_of_processes_that_live_are_theirs(
    name: tuple[str, int], life: str, is_taken: bool, database: str
) -> None:
    id = request(database, name, life)
    assert [row["id"] for row in await callbacks_untold(database, *OURS, 10)] == [id] * is_taken


@pytest.mark.parametrize(
    "more", ["notified_at = now()", "status = 'done'", "created_at = now() - interval '8 days'"]
)
async def test_those_that_are_told_done_or_old_are_left(more: str, database: str) -> None:
    request(database, OURS, "ended", f"UPDATE sipua.callback_requests SET {more};")
    assert await callbacks_untold(database, *OURS, 10) == []
