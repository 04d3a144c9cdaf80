"""Orders, memories and threads through the writer, against a real server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from storage.callbacks import callback_done, callback_requests
from storage.desk_facts import (
    CallbackNotified,
    CallbackRequested,
    CallerSeen,
    CustomerReplied,
    Forgotten,
    MessageStatus,
    Remembered,
    ServiceRequested,
    ThreadBegun,
)
from storage.desk_statements import PREFS_MAX
from storage.facts import CallChanged, CallCreated, CallEnded, Fact
from storage.memories import memory_of, replied_at
from storage.writer import LedgerWriter

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ANN, BEN = "+250788123456", "+250788123457"


def rows(database: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(database, row_factory=dict_row) as connection:
        return connection.execute(query.encode()).fetchall()


async def write(database: str, *groups: tuple[Fact, ...]) -> None:
    """Each group is a batch of its own."""
    ledger = LedgerWriter(database, batch_ms=5)
    try:
        for group in groups:
            ledger.put(group)
            assert await ledger.flush(5)
        assert ledger.stats.poisoned == 0
    finally:
        await ledger.close(5)


async def test_orders_and_call_backs_are_written_once(database: str) -> None:
    call = uuid4()
    order = ServiceRequested(uuid4(), "K7M2QX", "transport", {"to": "Kimironko\0"}, ANN, call, "rw", T0)
    back = CallbackRequested(uuid4(), ANN, call, T0, reason="a lost bag", wanted_at="tomorrow morning")
    await write(
        database, (CallCreated(id=call, direction="inbound", started_at=T0), order), (order, back), (back,)
    )
    [ordered] = rows(database, "SELECT * FROM sipua.service_requests")
    assert (ordered["reference"], ordered["kind"], ordered["details"]) == (
        "K7M2QX",
        "transport",
        {"to": "Kimironko"},
    )
    assert (ordered["caller"], ordered["call_id"], ordered["status"]) == (ANN, call, "new")
    [wanted] = rows(database, "SELECT * FROM sipua.callback_requests")
    assert (wanted["number"], wanted["reason"], wanted["wanted_at"], wanted["status"]) == (
        ANN, "a lost bag", "tomorrow morning", "new",
    )  # fmt: skip


async def test_call_backs_are_listed_notified_and_ticked_off_once(database: str) -> None:
    first, second = uuid4(), uuid4()
    later = T0 + timedelta(minutes=5)
    await write(
        database,
        (CallbackNotified(first, T0), CallbackRequested(first, ANN, uuid4(), T0, reference="K7M2QX")),
        (CallbackRequested(second, BEN, uuid4(), later, reference="K7M2QX"),),
        (CallbackNotified(first, later),),  # twice is once
    )
    listed = await callback_requests(database, only_new=True, limit=10)
    assert [(row["number"], row["notified_at"]) for row in listed] == [(BEN, None), (ANN, T0)]
    ticked = [await callback_done(database, "K7M2QX") for _ in range(3)]
    assert [row["number"] if row else None for row in ticked] == [ANN, BEN, BEN]
    assert await callback_requests(database, only_new=True, limit=10) == []
    assert len(await callback_requests(database, only_new=False, limit=10)) == 2
    assert await callback_done(database, "ABCDEF") is None


async def test_an_order_outlives_the_row_of_its_call(database: str) -> None:
    lost = uuid4()
    await write(
        database,
        (ServiceRequested(uuid4(), "K7M2QX", "transport", {}, "x" * 5_000, lost, None, T0),),
        (CallbackRequested(uuid4(), ANN, lost, T0), ThreadBegun(uuid4(), lost, ANN, "wamid.1", T0)),
    )
    for table in ("sipua.service_requests", "sipua.callback_requests", "public.wa_threads"):
        assert [row["call_id"] for row in rows(database, f"SELECT call_id FROM {table}")] == [None]


BIKE = Remembered(ANN, T0, {"vehicle": "moto", "name": "Ann"}, "RW")
MEMORIES = [
    pytest.param([BIKE], {"vehicle": "moto", "name": "Ann"}, id="kept"),
    pytest.param(
        [BIKE, Remembered(ANN, T0, {"vehicle": "car"})], {"vehicle": "car", "name": "Ann"}, id="merged"
    ),
    pytest.param(
        [BIKE, Remembered(ANN, T0, {"name": None})], {"vehicle": "moto"}, id="one of them forgotten"
    ),
    pytest.param([BIKE, Forgotten(ANN)], None, id="all forgotten"),
    pytest.param([BIKE, Forgotten(ANN), Remembered(ANN, T0, {"a": "b"})], {"a": "b"}, id="begun anew"),
    pytest.param([Forgotten(ANN), BIKE, BIKE], {"vehicle": "moto", "name": "Ann"}, id="repeated"),
    pytest.param([BIKE, Forgotten(ANN), Remembered(ANN, T0, {"a": None})], None, id="forgotten twice"),
    pytest.param([Remembered(ANN, T0, {"a": None})], None, id="nothing to forget"),
    pytest.param([CallerSeen(ANN, T0, "RW")], None, id="merely seen"),
]


@pytest.mark.parametrize("in_one_batch", [True, False])
@pytest.mark.parametrize(("facts", "prefs"), MEMORIES)
async def test_a_memory_is_what_was_said_last(
    database: str, facts: list[Fact], prefs: dict[str, str] | None, in_one_batch: bool
) -> None:
    await write(database, *([tuple(facts)] if in_one_batch else [(fact,) for fact in facts]))
    memory = await memory_of(database, ANN, calls=3)
    assert (memory.prefs if memory else None) == prefs
    assert await memory_of(database, BEN, calls=3) is None


async def test_a_memory_does_not_grow_without_end(database: str) -> None:
    full = Remembered(ANN, T0, {f"topic_{n}": "x" for n in range(PREFS_MAX)})
    await write(database, (full,), (Remembered(ANN, T0, {"one_more": "y"}),))
    memory = await memory_of(database, ANN, calls=0)
    assert memory is not None
    assert (len(memory.prefs), "one_more" in memory.prefs) == (PREFS_MAX, False)
    await write(
        database,
        (Remembered(ANN, T0, {"topic_0": "z", "topic_1": None}),),
        (Remembered(ANN, T0, {"one_more": "y"}),),
    )
    memory = await memory_of(database, ANN, calls=0)
    assert memory is not None
    assert (memory.prefs["topic_0"], "topic_1" in memory.prefs, memory.prefs["one_more"]) == ("z", False, "y")


async def test_who_is_remembered_is_seen_with_their_last_calls(database: str) -> None:
    later = T0 + timedelta(days=2)
    ids = [uuid4(), uuid4(), uuid4()]
    for at, (id, intent) in enumerate(zip(ids, ("book a taxi", None, "ask for a price"), strict=True)):
        began = T0 + timedelta(hours=at)
        await write(
            database,
            (
                CallCreated(id=id, direction="inbound", from_e164=ANN, started_at=began),
                CallChanged(call_id=id, at=began, intent=intent, outcome="booked"),
                CallEnded(call_id=id, ended_at=began, duration_seconds=1, status="completed"),
            ),
        )
    assert await memory_of(database, ANN, calls=5) is None  # did not agree to anything
    await write(
        database, (BIKE, CallerSeen(ANN, T0), CallerSeen(ANN, later, "BI"), CallerSeen(ANN, T0, "RW"))
    )
    memory = await memory_of(database, ANN, calls=5)
    assert memory is not None
    assert (memory.country, memory.last_seen_at) == ("BI", later)
    assert [call["intent"] for call in memory.calls] == ["ask for a price", "book a taxi"]


async def test_a_database_whose_numbers_repeat_keeps_its_writer(empty_database: str) -> None:
    from storage.migrate import migrate

    await migrate(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(
            "ALTER TABLE public.voice_memories DROP CONSTRAINT IF EXISTS voice_memories_msisdn_key"
        )
        connection.execute("DROP INDEX IF EXISTS public.voice_memories_msisdn_key")
        connection.execute(
            f"INSERT INTO public.voice_memories (msisdn, prefs) VALUES ('{ANN}', NULL), ('{ANN}', '[]')"
        )
    await write(empty_database, (BIKE,))
    memory = await memory_of(empty_database, ANN, calls=1)
    assert memory is not None
    assert memory.prefs == BIKE.prefs
    await write(empty_database, (Forgotten(ANN),))
    assert rows(empty_database, "SELECT 1 FROM public.voice_memories") == []


async def test_a_thread_goes_from_initiated_to_replied(database: str) -> None:
    call, thread = uuid4(), uuid4()
    created = CallCreated(id=call, direction="inbound", started_at=T0)

    async def state(*facts: Fact) -> tuple[str, str | None]:
        await write(database, facts)
        [row] = rows(database, "SELECT * FROM public.wa_threads")
        return row["state"], row["wa_conversation_id"]

    assert await state(created, ThreadBegun(thread, call, ANN, "wamid.1", T0)) == ("initiated", None)
    assert await state(MessageStatus("wamid.1", "failed", T0, error="131026")) == ("initiated", None)
    assert await state(MessageStatus("wamid.2", "read", T0)) == ("initiated", None)  # none of ours
    assert await state(CustomerReplied("wamid.9", BEN, T0)) == ("initiated", None)  # somebody else
    second = uuid4()
    await write(database, (ThreadBegun(second, call, BEN, "wamid.3", T0 + timedelta(hours=1)),))
    read = MessageStatus("wamid.3", "read", T0, "conv")
    await write(database, (read, MessageStatus("wamid.3", "sent", T0), read))
    replied = CustomerReplied("wamid.4", BEN, T0 + timedelta(hours=2))
    await write(database, (MessageStatus("wamid.3", "sent", T0), replied, replied), (replied,))
    found = {row["id"]: row for row in rows(database, "SELECT * FROM public.wa_threads")}
    assert found[thread]["state"] == "initiated"
    assert (found[second]["state"], found[second]["wa_conversation_id"]) == ("customer_replied", "conv")
    assert found[second]["last_message_at"] == replied.at
    late = (ThreadBegun(second, call, BEN, "wamid.5", T0), MessageStatus("wamid.5", "delivered", T0))
    await write(database, late)
    assert [row["state"] for row in rows(database, "SELECT * FROM public.wa_threads ORDER BY state")] == [
        "customer_replied", "initiated",
    ]  # fmt: skip
    assert await replied_at(database, BEN) == replied.at
    assert await replied_at(database, ANN) is None
