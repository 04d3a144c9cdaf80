"""One row for each call of a tool, against a real server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row

from storage.facts import CallCreated, Fact, ToolCalled, ToolDone
from storage.queries import close_orphans
from storage.writer import LedgerWriter

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def rows(database: str, call: UUID) -> dict[str, dict[str, Any]]:
    with psycopg.connect(database, row_factory=dict_row) as connection:
        found = connection.execute("SELECT * FROM public.mcp_tool_calls WHERE call_id = %s", [call])
        return {row["tool"]: row for row in found}


async def write(database: str, *groups: tuple[Fact, ...]) -> None:
    ledger = LedgerWriter(database, batch_ms=5)
    try:
        for group in groups:
            ledger.put(group)
            assert await ledger.flush(5)  # a batch each
        assert ledger.stats.poisoned == 0
    finally:
        await ledger.close(5)


async def test_a_row_gets_its_result_in_the_same_batch_or_a_later_one(database: str) -> None:
    call, first, second, third = uuid4(), uuid4(), uuid4(), uuid4()
    late = ToolDone(second, call, False, error="no result within 5 s")
    await write(
        database,
        (
            CallCreated(id=call, direction="inbound", started_at=T0),
            ToolCalled(first, call, "sipua", "book", {"seats": 1, "note": "a\0b"}, T0),
            ToolDone(first, call, True, {"reference": "A1"}),
            ToolCalled(second, call, "maps", "route", None, T0),
            ToolCalled(third, call, None, "\0", {}, T0),
        ),
        (late,),
        (late, ToolDone(second, call, True, {"too": "late"})),  # the first word counts, in a batch
        (ToolDone(second, call, True, {"too": "late"}),),  # and after it
    )
    found = rows(database, call)
    assert {name: (row["server"], row["args"], row["result"], row["success"]) for name, row in found.items()} == {
        "book": ("sipua", {"seats": 1, "note": "ab"}, {"reference": "A1"}, True),
        "route": ("maps", None, None, False),
        "unnamed": (None, {}, None, None),
    }  # fmt: skip
    assert found["route"]["error"] == "no result within 5 s"
    assert found["book"]["t"] == T0


async def test_arguments_without_bottom_do_not_cost_the_row(database: str) -> None:
    call, id = uuid4(), uuid4()
    deep: Any = 1
    for _ in range(900):  # orjson reads 1,024
        deep = [deep]
    await write(
        database,
        (CallCreated(id=call, direction="inbound", started_at=T0),),
        (
            ToolCalled(id, call, None, "dig", {"hole": deep, "n": 1}, T0),
            ToolDone(id, call, False, error="no"),
        ),
    )
    row = rows(database, call)["dig"]
    assert (row["args"]["n"], row["success"]) == (1, False)
    assert "(nested too deeply)" in str(row["args"]["hole"])


async def test_a_tool_that_ran_when_the_process_was_killed_has_a_result_in_the_end(database: str) -> None:
    call, done, open_ = uuid4(), uuid4(), uuid4()
    metadata = {"node": "n", "worker": 0, "instance": str(uuid4())}
    await write(
        database,
        (
            CallCreated(id=call, direction="inbound", started_at=T0, metadata=metadata),
            ToolCalled(done, call, "sipua", "book", {}, T0),
            ToolDone(done, call, True, {"reference": "A1"}),
            ToolCalled(open_, call, "maps", "route", {}, T0),
        ),
    )
    assert await close_orphans(database, node="n", worker=0, instance=uuid4(), now=T0) == [call]
    found = rows(database, call)
    assert (found["book"]["success"], found["book"]["error"]) == (True, None)
    assert (found["route"]["success"], found["route"]["error"]) == (False, "process_lost")
