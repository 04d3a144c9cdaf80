"""What is old goes, and nothing else; what is known of one caller goes, and the statistics stay."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import conninfo

from storage import retention
from storage.desk_facts import CallbackRequested, CustomerReplied, Remembered, ServiceRequested, ThreadBegun
from storage.errors import StoreError
from storage.facts import (
    CallChanged,
    CallCreated,
    CallEnded,
    ConsentAnswered,
    Event,
    Fact,
    ProcessEnded,
    ProcessStarted,
    RecordingKept,
    SessionEnded,
    SessionOpened,
    ToolCalled,
    ToolDone,
    Transcript,
)
from storage.migrate import check, migrate, misfits
from storage.trunk_facts import CallAttempt, DrillRun, TrunkChange
from storage.writer import LedgerWriter
from tests.storage.rows import contents, rows, run

NOW = datetime.now(UTC)
OLD, YOUNG = NOW - timedelta(days=40), NOW - timedelta(days=3)
BEFORE = NOW - timedelta(days=30)
CALLER, OTHER, OURS = "+250788000123", "+250788000124", "+250788000001"
SPELLINGS = [CALLER, CALLER[1:]]
SHARED = (*retention.TABLES, "writers")
_numbers = itertools.count(1)


@pytest.fixture
def login(database: str) -> Iterator[str]:
    """DSN of a member of sipua_writer."""
    name = f"keeper_{os.getpid()}_{next(_numbers)}"
    run(database, f"CREATE ROLE {name} LOGIN IN ROLE sipua_writer")
    yield conninfo.make_conninfo(database, user=name)
    run(database, f"DROP OWNED BY {name}; DROP ROLE {name}")


def whole_call(
    at: datetime, number: str = CALLER, *, ended: bool = True, direction: Any = "inbound"
) -> list[Fact]:
    """One row in every table that can be purged."""
    call, session, consent, tool, thread, instance = (uuid4() for _ in range(6))
    theirs, ours = (number, OURS) if direction == "inbound" else (OURS, number)
    facts: list[Fact] = [
        ProcessStarted(instance, "n", int(call) % 10_000, at, 1, "1"),
        CallCreated(
            call, direction, theirs, ours, sip_session_id=f"sid-{call}", provider="p", trunk="t", started_at=at,
            country="RW", lead_phone=number,
            metadata={"node": "n", "from_uri": f"sip:{number}@192.0.2.1", "rtp": {"mos": 4.2}, "usage": {"usd": 1}},
        ),
        Event(uuid4(), call, "call_started", at, {"note": number}),
        SessionOpened(session, call, f"sess_{session}", instructions=f"speak with {number}", started_at=at),
        Transcript(uuid4(), call, 1, "caller", f"my number is {number}", t=at),
        ToolCalled(tool, call, None, "book_transport", {"caller": number}, at),
        ToolDone(tool, call, True, {"for": number}),
        ConsentAnswered(consent, call, at, "May we?", True, "voice"),
        RecordingKept(consent, f"file:///r/{call}_{consent}.wav"),
        CallChanged(call, at, last_note="angry", lead_name="Ann", intent="a taxi", outcome="booked"),
        SessionEnded(session, call, at),
        CallAttempt(uuid4(), call, 1, "t", "192.0.2.1", 200, "OK", 5, "answered", at),
        ServiceRequested(uuid4(), "ABC", "transport", {"from": number}, number, call, "en", at),
        CallbackRequested(uuid4(), number, call, at),
        Remembered(number, at, {"vehicle": "moto"}),
        ThreadBegun(thread, call, number, f"wamid-{call}", at),
        CustomerReplied(f"wamid-in-{call}", number, at),
        TrunkChange(uuid4(), at, "n", 0, instance, "t", "", "probe", "up", "down", "why"),
        DrillRun(uuid4(), uuid4(), "d", True, 1, 0, version="1", node="n", started_at=at, ended_at=at),
    ]  # fmt: skip
    if ended:
        facts += [CallEnded(call, at, 12, "completed"), ProcessEnded(instance, at)]
    return facts


async def written(dsn: str, *calls: list[Fact]) -> None:
    for facts in calls:
        started = next(fact for fact in facts if isinstance(fact, ProcessStarted))
        writer = LedgerWriter(dsn, instance=started.instance)
        writer.put(tuple(facts))
        assert await writer.flush(10)
        assert await writer.close(5)
        call = next(fact for fact in facts if isinstance(fact, CallCreated))
        run(
            dsn,
            "INSERT INTO sipua.webhooks (id, source, type, object_id, call_id, received_at) "
            f"VALUES ('{uuid4()}', 'openai', 'x', 'rtc_1', '{call.id}', '{call.started_at}')",
        )
        assert (writer.stats.poisoned, writer.stats.unmatched) == (0, 0)
        run(
            dsn,
            f"UPDATE sipua.writers SET seen_at = '{started.started_at}' WHERE instance = '{started.instance}'",
        )


def counts(dsn: str) -> dict[str, int]:
    schema = {name: "public" if name in contents(dsn) else "sipua" for name in SHARED}
    return {name: rows(dsn, f"SELECT count(*) AS n FROM {schema[name]}.{name}")[0]["n"] for name in SHARED}


@pytest.mark.parametrize("table", retention.TABLES)
async def test_only_old_rows_of_that_table_go(database: str, login: str, table: str) -> None:
    """By the agent's own login, which may not delete; dry, then really, then again."""
    await written(database, whole_call(OLD), whole_call(YOUNG, OTHER))
    before = counts(database)
    assert await retention.purge(login, table, BEFORE, dry=True) == (2 if table == "wa_messages" else 1)
    assert counts(database) == before
    deleted = await retention.purge(login, table, BEFORE, batch=1, pause_s=0)
    assert deleted == (2 if table == "wa_messages" else 1)
    after = counts(database)
    assert after[table] == before[table] - deleted
    if table not in ("voice_calls", "wa_threads", "processes"):  # whose others go with them
        assert {name: n for name, n in after.items() if n != before[name]} == {table: after[table]}
    if table == "processes":
        assert after["writers"] == 1
    assert await retention.purge(login, table, BEFORE) == 0


async def test_with_its_segments_goes_the_whole_text_and_the_call_stays(database: str, login: str) -> None:
    await written(database, whole_call(OLD), whole_call(YOUNG, OTHER))
    await retention.purge(login, "transcripts", BEFORE)
    found = rows(database, "SELECT transcript, status FROM voice_calls ORDER BY started_at")
    assert [(row["transcript"], row["status"]) for row in found] == [
        (None, "completed"), (f"caller: my number is {OTHER}", "completed"),
    ]  # fmt: skip


async def test_the_place_of_a_living_process_stays_however_old(database: str, login: str) -> None:
    await written(database, whole_call(OLD, ended=False))
    assert await retention.purge(login, "processes", BEFORE) == 0
    assert (counts(database)["writers"], counts(database)["processes"]) == (1, 1)
    assert await retention.purge(login, "voice_calls", BEFORE) == 0  # it has no end


async def test_two_processes_never_delete_at_once(database: str, login: str) -> None:
    await written(database, whole_call(OLD))
    with psycopg.connect(database) as other:
        other.execute("SELECT sipua.purge('drill_runs', now() - interval '90 days', 1)")
        assert await retention.purge(login, "transcripts", BEFORE) is None
    assert await retention.purge(login, "transcripts", BEFORE) == 1


async def test_a_row_that_somebody_holds_is_left_for_the_next_time(database: str, login: str) -> None:
    await written(database, whole_call(OLD))
    with psycopg.connect(database) as other:
        other.execute("SELECT * FROM public.voice_events FOR UPDATE")
        assert await retention.purge(login, "voice_events", BEFORE) == 0
    assert await retention.purge(login, "voice_events", BEFORE) == 1


async def test_a_table_that_is_locked_is_said(
    database: str, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOCK_TIMEOUT", "50ms")
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE public.voice_events IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError, match="lock timeout"):
            await retention.purge(login, "voice_events", BEFORE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("sipua.purge('voice_calls', now() - interval '1 hour', 10)", "younger than a day"),
        ("sipua.purge('voice_calls', NULL, 10)", "younger than a day"),
        ("sipua.purge('pg_class', now() - interval '9 days', 10)", "no table pg_class"),
        ("sipua.purge('voice_calls; DROP TABLE x', now() - interval '9 days', 10)", "no table"),
        ("sipua.forget(ARRAY['%'], false, 0)", "no telephone number"),
        ("sipua.forget(ARRAY[]::text[], false, 0)", "no telephone number"),
        ("sipua.forget(ARRAY[NULL, '+250788000123'], false, 0)", "no telephone number"),
    ],
)
def test_what_the_functions_refuse(login: str, call: str, message: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
        run(login, f"SELECT {call}")


async def test_a_caller_is_forgotten_and_the_statistics_stay(database: str, login: str) -> None:
    await written(
        database, whole_call(OLD), whole_call(YOUNG, direction="outbound"), whole_call(YOUNG, OTHER)
    )
    before = contents(database)
    dry = await retention.forget(login, SPELLINGS, dry=True, recordings=2)
    assert contents(database) == before
    assert await retention.forget(login, SPELLINGS, dry=False, recordings=2) == dry
    assert {name: n for name, n in dry.items() if n != 2} == {"voice_memories": 1, "wa_messages": 4}
    everything = " ".join(
        str(rows(database, f"SELECT * FROM {table}"))
        for table in (
            *(f"public.{name}" for name in before), "sipua.service_requests", "sipua.callback_requests",
            "sipua.wa_messages", "sipua.call_attempts", "sipua.purges",
        )
    )  # fmt: skip
    assert CALLER[1:] not in everything
    assert everything.count(OTHER[1:]) > 10  # of somebody else nothing is touched
    kept = rows(database, "SELECT * FROM voice_calls WHERE metadata ? 'forgotten' ORDER BY started_at")
    assert [(row["duration_seconds"], row["status"], row["trunk"], row["country"]) for row in kept] == [
        (12, "completed", "t", "RW")
    ] * 2
    assert [(row["from_e164"], row["to_e164"]) for row in kept] == [(None, OURS), (OURS, None)]
    assert kept[0]["metadata"] == {
        "node": "n", "rtp": {"mos": 4.2}, "usage": {"usd": 1}, "forgotten": True,
    }  # fmt: skip
    (note,) = rows(database, "SELECT kind, counts FROM sipua.purges")
    assert note == {"kind": "caller", "counts": dry}
    assert set((await retention.forget(login, SPELLINGS, dry=False, recordings=0)).values()) == {0}


async def test_a_call_that_is_up_is_left_and_told(database: str, login: str) -> None:
    await written(database, whole_call(YOUNG, ended=False), whole_call(OLD))
    found = await retention.calls_of(login, SPELLINGS)
    assert [call.ended_at is None for call in found] == [False, True]
    await retention.forget(login, SPELLINGS, dry=False, recordings=0)
    (left,) = await retention.calls_of(login, SPELLINGS)
    assert left.id == found[1].id
    assert rows(database, "SELECT count(*) AS n FROM transcripts")[0]["n"] == 1


async def test_our_own_number_is_nobodys(database: str, login: str) -> None:
    await written(database, whole_call(OLD))
    assert await retention.calls_of(login, [OURS]) == []


async def test_what_somebody_opens_is_found_and_closed(database: str) -> None:
    run(database, "GRANT EXECUTE ON FUNCTION sipua.forget(text[], boolean, integer) TO PUBLIC")
    run(database, "REVOKE ALL ON FUNCTION sipua.purge(text, timestamptz, integer) FROM sipua_writer")
    assert await check(database) == [
        "right of sipua_writer to call sipua.purge(text,timestamp with time zone,integer)",
        "everyone may call sipua.forget(text[],boolean,integer)",
    ]
    await migrate(database)
    assert await check(database) == []


async def test_nobody_else_may_call_them(database: str, login: str) -> None:
    assert await misfits(login) == []
    for role in ("anon", "authenticated"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            run(database, f"SET ROLE {role}; SELECT sipua.purge('voice_calls', now() - interval '9 days', 1)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(login, "DELETE FROM public.transcripts")


async def test_a_run_is_noted(database: str, login: str) -> None:
    assert await retention.last_purge(login) is None
    await retention.purged(login, {"transcripts": 3})
    last = await retention.last_purge(login)
    assert last is not None
    assert abs(last - datetime.now(UTC)) < timedelta(minutes=1)
