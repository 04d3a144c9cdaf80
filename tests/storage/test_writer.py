"""The write-behind writer against a real server."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import conninfo

from storage import clean
from storage.facts import (
    CallChanged,
    CallCreated,
    CallEnded,
    ConsentAnswered,
    Event,
    Fact,
    ProcessEnded,
    ProcessStarted,
    SessionEnded,
    SessionOpened,
    Transcript,
)
from storage.migrate import migrate
from storage.queries import call_rows, close_orphans, ping
from storage.statements import forward
from storage.words import STATUS_RANK, Status
from storage.writer import LedgerWriter

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def created(call_id: UUID, **more: Any) -> CallCreated:
    return CallCreated(id=call_id, direction="inbound", started_at=T0, **more)


@asynccontextmanager
async def writer(dsn: str, **options: Any) -> AsyncIterator[LedgerWriter]:
    ledger = LedgerWriter(dsn, batch_ms=5, **options)
    try:
        yield ledger
    finally:
        await ledger.close(5)


@pytest.fixture
def gated(database: str) -> Iterator[tuple[str, psycopg.Connection[Any]]]:
    """A database whose voice_calls is locked by another connection until that one rolls back."""
    with psycopg.connect(database) as connection:
        connection.execute("LOCK TABLE public.voice_calls IN ACCESS EXCLUSIVE MODE")
        yield database, connection


async def test_a_whole_call(database: str) -> None:
    call, session = uuid4(), uuid4()
    instance = uuid4()
    async with writer(database) as ledger:
        ledger.put((ProcessStarted(instance, "node", 0, T0, 12, "0.1"),))
        ledger.put(
            (created(call, twilio_call_sid="CA1", trunk="loopback"), Event(uuid4(), call, "call_started", T0))
        )
        ledger.put((CallChanged(call, at(1), status="ringing"), Event(uuid4(), call, "ringing", at(1))))
        ledger.put(
            (
                SessionOpened(
                    session, call, "sess_1", model="m", tools=({"name": "x"},), turn_detection={"a": 1}
                ),
                CallChanged(call, at(2), status="in_progress", metadata={"codec": "PCMU"}, lead_name="A"),
            )
        )
        ledger.put((Transcript(uuid4(), call, 2, "assistant", "Muraho", "rw", None, at(4)),))
        ledger.put((Transcript(uuid4(), call, 1, "caller", "Hello", "en", 0.9, at(3)),))
        ledger.put((CallChanged(call, at(4), first_time_to_assistant_seconds=0.8),))
        ledger.put((CallChanged(call, at(5), first_time_to_assistant_seconds=3),))
        ledger.put(
            (
                SessionEnded(session, call, at(9)),
                CallEnded(call, at(9), 7, "completed", "caller_hangup", {"sip_code": 200}),
                Event(uuid4(), call, "call_ended", at(9), {"by": "caller"}),
            )
        )
        ledger.put((ProcessEnded(instance, at(10)),))
        assert await ledger.flush(5)
        assert ledger.stats.written == 15
        assert ledger.stats.queued == 0
    rows = await call_rows(database, call)
    (row,) = rows["voice_calls"]
    assert (row["status"], row["outcome"], row["duration_seconds"]) == ("completed", "caller_hangup", 7)
    assert row["ended_at"] == at(9)
    assert row["updated_at"] > T0
    assert row["metadata"] == {"codec": "PCMU", "sip_code": 200}
    assert (float(row["first_time_to_assistant_seconds"]), row["lead_name"]) == (0.8, "A")
    assert row["last_transcript_segment_at"] == at(4)
    assert (row["channel"], row["locale"], row["trunk"]) == ("voice", "en", "loopback")
    assert [t["content"] for t in rows["transcripts"]] == ["Hello", "Muraho"]
    assert [e["type"] for e in rows["voice_events"]] == ["call_started", "ringing", "call_ended"]
    (opened,) = rows["openai_sessions"]
    assert (opened["status"], opened["ended_at"], opened["tools"]) == ("completed", at(9), [{"name": "x"}])
    assert opened["modalities"] == ["text", "audio"]
    assert row["ended_at"] == at(9)


async def test_the_same_facts_twice_change_nothing(database: str) -> None:
    call = uuid4()
    facts: tuple[Fact, ...] = (
        created(call),
        Transcript(uuid4(), call, 1, "user", "x", t=at(1)),
        CallEnded(call, at(2), 2, "failed", "x"),
    )
    async with writer(database) as ledger:
        ledger.put(facts)
        assert await ledger.flush(5)
        once = await call_rows(database, call)
        ledger.put(facts)
        assert await ledger.flush(5)
    assert await call_rows(database, call) == once


async def test_failed_never_becomes_completed(database: str) -> None:
    call = uuid4()
    async with writer(database) as ledger:
        ledger.put((created(call), CallChanged(call, at(1), status="failed")))
        await ledger.flush(5)
        ledger.put(
            (CallChanged(call, at(2), status="completed"), CallEnded(call, at(3), 3, "completed", "late"))
        )
        await ledger.flush(5)
        ledger.put(
            (CallEnded(call, at(9), 9, "completed", "later"), CallChanged(call, at(9), status="in_progress"))
        )
    (row,) = (await call_rows(database, call))["voice_calls"]
    assert (row["status"], row["ended_at"], row["outcome"]) == ("failed", at(3), "late")


CHANGES: list[Fact] = [
    *(
        CallChanged(UUID(int=1), T0, status=s, metadata={"last": s, s: 1})
        for s in ("ringing", "in_progress", "failed")
    ),
    CallChanged(UUID(int=1), T0, status="completed", outcome="a", first_time_to_assistant_seconds=1),
    CallEnded(UUID(int=1), at(5), 5, "completed", "b", {"last": "end"}),
    CallChanged(UUID(int=1), T0, outcome="c", first_time_to_assistant_seconds=2),
]


def _with_call(fact: Fact, call: UUID) -> Fact:
    assert isinstance(fact, CallChanged | CallEnded)
    return replace(fact, call_id=call)


async def test_how_facts_fall_into_batches_does_not_show(database: str) -> None:
    """Every order of five facts: one batch and one batch each give the same row."""
    async with writer(database, queue_limit=10**6) as one, writer(database, batch_rows=1) as each:
        pairs = []
        for number, order in enumerate(itertools.permutations(CHANGES, 4)):
            if number % 3:
                continue
            together, apart = uuid4(), uuid4()
            pairs.append((together, apart))
            one.put((created(together), *(_with_call(f, together) for f in order)))
            each.put((created(apart),))
            for fact in order:
                each.put((_with_call(fact, apart),))
        assert await one.flush(20)
        assert await each.flush(20)
    skip = ("id", "created_at", "updated_at")
    with psycopg.connect(database) as connection:
        found = {row[0]: row[1] for row in connection.execute("SELECT id, to_jsonb(v) FROM voice_calls v")}
    for together, apart in pairs:
        a, b = ({k: v for k, v in found[i].items() if k not in skip} for i in (together, apart))
        assert a == b


async def test_a_poison_group_is_isolated_and_whole(database: str, caplog: pytest.LogCaptureFixture) -> None:
    calls = [uuid4() for _ in range(20)]
    lost = uuid4()
    async with writer(database) as ledger:
        for number, call in enumerate(calls):
            ledger.put((created(call), Event(uuid4(), call, "call_started", T0)))
            if number == 7:
                # the second fact's parent does not exist: the first must not be written either
                ledger.put((created(lost, from_e164="+250788123456"), Event(uuid4(), uuid4(), "error", T0)))
        assert await ledger.flush(10)
        assert ledger.stats.poisoned == 2
        assert ledger.stats.written == 40
    for call in calls:
        rows = await call_rows(database, call)
        assert len(rows["voice_calls"]) == len(rows["voice_events"]) == 1
    assert (await call_rows(database, lost))["voice_calls"] == []
    assert str(lost) in caplog.text
    assert "0788123456" not in caplog.text


async def _refuse_bad_transcripts(dsn: str, how: str) -> None:
    """Somebody's trigger, or their policy for the role we log in as."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(
            "CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF NEW.content = 'bad' THEN RAISE EXCEPTION 'no'{how}; END IF; RETURN NEW; END $$".encode()
        )
        await connection.execute(
            "CREATE TRIGGER picky BEFORE INSERT ON public.transcripts FOR EACH ROW EXECUTE FUNCTION picky()"
        )


@pytest.mark.parametrize("state", ["P0001", "44000", "38000", "39P01", "42501", "42P01", "XX000"])
@pytest.mark.parametrize("alone", [False, True])
async def test_a_row_that_a_trigger_refuses_does_not_stop_the_ledger(
    database: str, state: str, alone: bool
) -> None:
    await _refuse_bad_transcripts(database, f" USING ERRCODE = '{state}'")
    calls = [uuid4() for _ in range(6)]
    async with writer(database, patience=1) as ledger:
        for call in calls[:3]:
            ledger.put((created(call),))
        if alone:  # neighbours come only while it is being refused
            assert await ledger.flush(5)
        ledger.put((Transcript(uuid4(), calls[0], 1, "user", "bad"),))
        if alone:
            await asyncio.sleep(0.05)
        for call in calls[3:]:
            ledger.put((created(call),))
        ledger.put((Transcript(uuid4(), calls[0], 2, "user", "good"),))
        assert await ledger.flush(5)
        assert (ledger.stats.written, ledger.stats.poisoned) == (7, 1)
    rows = await call_rows(database, calls[0])
    assert [row["content"] for row in rows["transcripts"]] == ["good"]


@pytest.mark.parametrize("state", ["40001", "53100", "55P03", "57014", "25006"])
async def test_a_refusal_of_the_moment_is_waited_out(database: str, state: str) -> None:
    await _refuse_bad_transcripts(database, f" USING ERRCODE = '{state}'")
    call = uuid4()
    async with writer(database, patience=0) as ledger:
        ledger.put((created(call), Transcript(uuid4(), call, 1, "user", "bad")))
        ledger.put((created(uuid4()),))
        assert not await ledger.flush(0.4)
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute("DROP TRIGGER picky ON public.transcripts")
        assert await ledger.flush(5)
        assert ledger.stats.poisoned == 0


async def test_a_carrier_id_that_another_leg_has_does_not_lose_the_call(database: str) -> None:
    first, second, third = uuid4(), uuid4(), uuid4()
    leg = {"instance": "one of ours"}
    async with writer(database) as ledger:
        ledger.put((created(first, twilio_call_sid="CA1", metadata=leg),))
        await ledger.flush(5)
        ledger.put(
            (
                created(second, twilio_call_sid="CA1", mtn_call_sid="M", metadata=leg),
                created(third, mtn_call_sid="M", metadata=leg),
            )
        )
    rows = [(await call_rows(database, call))["voice_calls"][0] for call in (first, second, third)]
    assert [(r["twilio_call_sid"], r["mtn_call_sid"]) for r in rows] == [
        ("CA1", None),
        (None, "M"),
        (None, None),
    ]
    assert rows[1]["metadata"] == {**leg, "twilio_call_sid_repeated": "CA1"}
    assert rows[2]["metadata"] == {**leg, "mtn_call_sid_repeated": "M"}


async def test_repeated_session_ids_are_kept_apart(database: str) -> None:
    call = uuid4()
    async with writer(database) as ledger:
        ledger.put((created(call), SessionOpened(uuid4(), call, "s"), SessionOpened(uuid4(), call, "s")))
        await ledger.flush(5)
        ledger.put((SessionOpened(uuid4(), call, "s"), SessionOpened(uuid4(), call, "")))
    found = [row["session_id"] for row in (await call_rows(database, call))["openai_sessions"]]
    assert len(set(found)) == 4
    assert "s" in found


async def test_values_postgresql_cannot_hold(database: str) -> None:
    call = uuid4()
    async with writer(database) as ledger:
        ledger.put(
            (
                created(
                    call,
                    from_e164="",
                    sip_session_id="a\0b",
                    country="\0",
                    metadata={"x\0": ["\0", float("nan")]},
                ),
                Transcript(uuid4(), call, 1, "user", "Ki\0gali \ud800 'x'; \\ %s", "rw", t=T0),
                Transcript(uuid4(), call, 2, "user", "\0", "rw", t=T0),
                Event(uuid4(), call, "error", T0, {"b": b"12", "t": T0, "deep": {"": {1, 2}}, "n": 10**30}),
                CallEnded(call, at(1), 1, "completed", ""),
            )
        )
        assert await ledger.flush(5)
        assert ledger.stats.poisoned == 0
    rows = await call_rows(database, call)
    (row,) = rows["voice_calls"]
    assert (row["from_e164"], row["sip_session_id"], row["country"], row["outcome"]) == (
        None,
        "ab",
        None,
        None,
    )
    assert row["metadata"] == {"x": ["", None]}
    assert [t["content"] for t in rows["transcripts"]] == ["Kigali ? 'x'; \\ %s"]
    assert rows["voice_events"][0]["payload"]["b"] == "(2 bytes)"


async def test_a_long_id_does_not_lose_the_call(database: str) -> None:
    """An index takes 2704 bytes; random text does not compress below that."""
    long = "".join(random.Random(1).choices("0123456789abcdefé𝄞", k=3600))
    call, session = uuid4(), uuid4()
    async with writer(database) as ledger:
        ledger.put(
            (
                created(call, sip_session_id=long, twilio_call_sid=long, mtn_call_sid=long, from_e164=long),
                SessionOpened(session, call, long),
                SessionOpened(uuid4(), call, long),
                CallChanged(call, at(1), openai_call_id=long),
            )
        )
        assert await ledger.flush(5)
        assert ledger.stats.poisoned == 0
    rows = await call_rows(database, call)
    kept = long[:190] + "#" + hashlib.sha256(long.encode()).hexdigest()
    assert len(kept) == 255
    (row,) = rows["voice_calls"]
    for column in ("sip_session_id", "twilio_call_sid", "mtn_call_sid", "from_e164", "openai_call_id"):
        assert row[column] == kept
    assert len({row["session_id"] for row in rows["openai_sessions"]}) == 2
    assert all(row["session_id"].startswith(kept) for row in rows["openai_sessions"])


@pytest.mark.parametrize("value", ["a" * 255, "a\0" * 255, "x", "", None])
def test_a_short_id_is_left_as_it_is(value: str | None) -> None:
    assert clean.key(value) == clean.text(value)


async def test_a_slow_database_delays_neither_put_nor_the_loop(
    gated: tuple[str, psycopg.Connection[Any]],
) -> None:
    dsn, gate = gated
    call = uuid4()
    async with writer(dsn) as ledger:
        late_ms = []
        for number in range(40):
            began = time.perf_counter()
            ledger.put((created(call) if number == 0 else Event(uuid4(), call, "error", T0),))
            await asyncio.sleep(0.005)
            late_ms.append((time.perf_counter() - began) * 1000 - 5)
        assert sorted(late_ms)[len(late_ms) // 2] < 5
        assert not await ledger.flush(0.05)
        assert ledger.stats.queued == 40
        assert ledger.stats.lag_s > 0.1
        gate.rollback()
        assert await ledger.flush(5)
        assert ledger.stats.lag_s == 0
    assert len((await call_rows(dsn, call))["voice_events"]) == 39


async def test_a_full_queue_refuses_the_newest_and_says_so(
    gated: tuple[str, psycopg.Connection[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    dsn, gate = gated
    calls = [uuid4() for _ in range(12)]
    async with writer(dsn, queue_limit=10) as ledger:
        for call in calls:
            ledger.put((created(call),))
        assert (ledger.stats.queued, ledger.stats.dropped) == (10, 2)
        assert "ledger queue full" in caplog.text
        assert ledger.last_error is not None
        assert ledger.last_error.reason == "queue_full"
        gate.rollback()
        assert await ledger.flush(5)
    assert [len((await call_rows(dsn, c))["voice_calls"]) for c in (calls[0], calls[9], calls[10])] == [
        1,
        1,
        0,
    ]


async def test_a_full_queue_takes_the_ends_of_calls_and_no_refused_ones(
    gated: tuple[str, psycopg.Connection[Any]],
) -> None:
    dsn, gate = gated
    live, refused = uuid4(), [uuid4() for _ in range(4)]
    async with writer(dsn, queue_limit=20) as ledger:
        ledger.put((created(live),))
        for call in refused:  # three facts each: three of them fit into half
            ledger.put(
                (created(call), Event(uuid4(), call, "call_started", T0), CallEnded(call, T0, 0, "failed"))
            )
        assert (ledger.stats.queued, ledger.stats.dropped) == (10, 3)
        for _ in range(12):
            ledger.put((Event(uuid4(), live, "error", T0),))
        assert (ledger.stats.queued, ledger.stats.dropped) == (20, 5)
        ledger.put((CallEnded(live, at(9), 9, "completed"), Event(uuid4(), live, "call_ended", at(9))))
        assert (ledger.stats.queued, ledger.stats.dropped) == (22, 5)
        ledger.put((CallEnded(live, at(10), 10, "completed"),))  # the reserve is bounded too
        assert (ledger.stats.queued, ledger.stats.dropped) == (22, 6)
        gate.rollback()
        assert await ledger.flush(5)
    assert (await call_rows(dsn, live))["voice_calls"][0]["ended_at"] == at(9)
    assert [len((await call_rows(dsn, call))["voice_calls"]) for call in refused] == [1, 1, 1, 0]


async def test_an_answer_that_does_not_come_is_not_waited_for(
    gated: tuple[str, psycopg.Connection[Any]],
) -> None:
    dsn, gate = gated
    call = uuid4()
    async with writer(dsn, write_timeout_s=0.1) as ledger:
        ledger.put((created(call),))
        assert not await ledger.flush(0.6)
        assert ledger.stats.retries >= 1
        gate.rollback()
        assert await ledger.flush(10)
    assert len((await call_rows(dsn, call))["voice_calls"]) == 1


async def test_close_ends_in_time_whatever_the_database_does(
    gated: tuple[str, psycopg.Connection[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = LedgerWriter(gated[0], batch_ms=1)
    ledger.put((created(uuid4()),))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    assert not await ledger.close(0.1)
    assert time.monotonic() - began < 2
    assert "1 facts unwritten" in caplog.text
    ledger.put((created(uuid4()),))
    assert ledger.stats.dropped == 1


async def test_connections_are_killed_and_nothing_is_lost_or_doubled(
    database: str, postgres_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    name = conninfo.conninfo_to_dict(database)["dbname"]
    calls = [uuid4() for _ in range(30)]
    async with writer(database, batch_rows=7) as ledger:
        with psycopg.connect(postgres_server, autocommit=True) as killer:
            for call in calls:
                ledger.put((created(call), *(Event(uuid4(), call, "error", at(i)) for i in range(5))))
                await asyncio.sleep(0.003)
                killer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
                )
        assert await ledger.flush(20)
        assert ledger.stats.retries > 0
        assert (ledger.stats.written, ledger.stats.poisoned, ledger.stats.dropped) == (180, 0, 0)
    for call in calls:
        assert len((await call_rows(database, call))["voice_events"]) == 5


async def test_a_database_without_our_tables_is_waited_for(empty_database: str) -> None:
    call = uuid4()
    async with writer(empty_database, patience=1) as ledger:  # however long: nothing gets through
        ledger.put((created(call),))
        ledger.put((created(uuid4()),))
        assert not await ledger.flush(1)
        assert ledger.stats.poisoned == 0
        await migrate(empty_database)
        assert await ledger.flush(5)
    assert len((await call_rows(empty_database, call))["voice_calls"]) == 1


async def test_a_change_without_its_call_is_counted(database: str) -> None:
    async with writer(database) as ledger:
        ledger.put((CallChanged(uuid4(), T0, status="ringing"),))
        assert await ledger.flush(5)
        assert ledger.stats.unmatched == 1


async def test_an_end_without_its_call_is_counted_and_a_repeated_one_is_not(database: str) -> None:
    call = uuid4()
    end = CallEnded(call, at(2), 2, "completed")
    async with writer(database) as ledger:
        ledger.put((created(call), end))
        assert await ledger.flush(5)
        ledger.put((end,))
        assert await ledger.flush(5)
        assert (ledger.stats.written, ledger.stats.unmatched) == (3, 0)
        ledger.put((end, CallEnded(uuid4(), at(2), 2, "completed")))
        assert await ledger.flush(5)
        assert (ledger.stats.written, ledger.stats.unmatched) == (4, 1)


async def test_orphans_of_an_earlier_run_are_closed(database: str) -> None:
    old, new = uuid4(), uuid4()
    calls = {
        name: (uuid4(), {"node": node, "worker": worker, "instance": str(instance)})
        for name, node, worker, instance in [
            ("mine", "n", 0, old),
            ("mine ringing", "n", 0, old),
            ("failed", "n", 0, old),
            ("alive", "n", 0, new),
            ("other worker", "n", 1, old),
            ("other node", "m", 0, old),
        ]
    }
    async with writer(database) as ledger:
        for call, metadata in calls.values():
            ledger.put(
                (created(call, metadata=metadata), SessionOpened(uuid4(), call, str(call), started_at=T0))
            )
        ledger.put((Event(uuid4(), calls["mine"][0], "answered", at(3)),))
        ledger.put((Transcript(uuid4(), calls["mine"][0], 1, "user", "x", t=at(7)),))
        ledger.put((Event(uuid4(), calls["mine ringing"][0], "error", at(30)),))
        ledger.put((CallChanged(calls["failed"][0], T0, status="failed"),))
    closed = await close_orphans(database, node="n", worker=0, instance=new, now=at(100))
    assert set(closed) == {calls[name][0] for name in ("mine", "mine ringing", "failed")}
    rows = await call_rows(database, calls["mine"][0])
    (row,) = rows["voice_calls"]
    assert (row["status"], row["outcome"], row["ended_at"], row["duration_seconds"]) == (
        "failed",
        "process_lost",
        at(7),
        4,
    )
    assert rows["openai_sessions"][0]["status"] == "failed"
    assert [e["type"] for e in rows["voice_events"]] == ["answered", "call_ended"]
    (row,) = (await call_rows(database, calls["mine ringing"][0]))["voice_calls"]
    assert (row["ended_at"], row["duration_seconds"]) == (at(30), 0)
    for name in ("alive", "other worker", "other node"):
        (row,) = (await call_rows(database, calls[name][0]))["voice_calls"]
        assert row["ended_at"] is None, name
    assert await close_orphans(database, node="n", worker=0, instance=new, now=at(100)) == []


@pytest.mark.parametrize(
    ("question", "answer", "found"),
    [
        pytest.param("May we?", [], [("May we?", None)], id="it stood"),
        pytest.param("May we?", [True], [("Might we?", True)], id="it was answered"),
        pytest.param(None, [], [], id="nothing was asked"),
    ],
)
async def test_a_question_that_stood_when_the_process_died_has_no_answer(
    database: str, question: str | None, answer: list[bool], found: list[tuple[str, bool | None]]
) -> None:
    call, old = uuid4(), uuid4()
    async with writer(database) as ledger:
        ledger.put((created(call, metadata={"node": "n", "worker": 0, "instance": str(old)}),))
        ledger.put((Event(uuid4(), call, "answered", at(3)),))
        if question is not None:
            ledger.put((CallChanged(call, at(3), metadata={"consent_question": question}),))
        for granted in answer:
            ledger.put((ConsentAnswered(uuid4(), call, at(4), "Might we?", granted, "voice"),))
    for _ in range(2):
        await close_orphans(database, node="n", worker=0, instance=uuid4(), now=at(100))
    rows = await call_rows(database, call)
    assert [(row["consent_text"], row["consent_result"]) for row in rows["call_consents"]] == found
    (row,) = rows["voice_calls"]
    assert (row["consent_recorded_at"] is not None) == bool(found)


async def test_ping(database: str) -> None:
    await ping(database)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CallEnded(uuid4(), T0, 1, "ringing"),
        lambda: CallChanged(uuid4(), T0, status="hold"),  # type: ignore[arg-type]
        lambda: Event(uuid4(), uuid4(), "response.done", T0),  # type: ignore[arg-type]
        lambda: Transcript(uuid4(), uuid4(), 1, "bot", "x"),  # type: ignore[arg-type]
    ],
)
def test_words_off_the_lists_are_refused_where_they_are_made(make: Any) -> None:
    with pytest.raises(ValueError, match=r"status|event type|role"):
        make()


def test_status_words_are_ranked() -> None:
    for first, second in itertools.product(STATUS_RANK, repeat=2):
        result = forward(first, second)
        assert result in (first, second)
        assert STATUS_RANK[result or ""] == max(STATUS_RANK[first], STATUS_RANK[second])
    final: Status = "failed"
    assert forward(final, "completed") == final
