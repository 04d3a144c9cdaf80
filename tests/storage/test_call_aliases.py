"""A call that is told of twice, by its SIP leg and over HTTP, is one row with everything of both, in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.facts import (
    CallChanged,
    CallCreated,
    CallEnded,
    ConsentAnswered,
    Event,
    Group,
    SessionOpened,
    ToolCalled,
    ToolDone,
    Transcript,
)
from storage.queries import TOLD_LEASE, close_orphans
from storage.spool import Spool
from storage.spool_folder import adopt
from storage.writer import LedgerWriter
from tests.storage.rows import rows, run

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LEG = {"instance": "one of ours", "node": "n", "worker": 0}
TABLES = ("openai_sessions", "transcripts", "voice_events", "mcp_tool_calls", "call_consents")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def by_sip(call: UUID, sid: str, began_s: float = 2.0) -> list[Group]:
    """What the process of its SIP leg writes."""
    tool = uuid4()
    return [
        (
            CallCreated(
                call, "inbound", "+12025550101", "+12025550100", twilio_call_sid=sid, sip_session_id=f"sip-{call}",
                provider="twilio", trunk="twilio", locale="rw", country="RW", started_at=at(began_s), metadata=LEG,
            ),
            Event(uuid4(), call, "call_started", at(began_s)),
        ),
        (CallChanged(call, at(3), status="in_progress", metadata={"codec": "PCMU"}),),
        (SessionOpened(uuid4(), call, f"sess-{call}"), ConsentAnswered(uuid4(), call, at(4), "May we?", True, "voice")),
        (Transcript(uuid4(), call, 1, "user", "Muraho", t=at(4)),),
        (ToolCalled(tool, call, None, "search", {}, at(5)), ToolDone(tool, call, True, {"n": 1})),
        (CallChanged(call, at(6), intent="information", metadata={"both": "leg", "usage": 1}),),
        (
            CallEnded(call, at(9), 6, "completed", "caller_hangup", {"rtp": {"mos": 4}}),
            Event(uuid4(), call, "call_ended", at(9)),
        ),
    ]  # fmt: skip


def by_http(call: UUID, sid: str) -> list[Group]:
    """What the process writes that was told of it."""
    return [
        (
            CallCreated(
                call, "inbound", "+12025550101", "+12025550100", twilio_call_sid=sid, locale="en", provider="twilio",
                started_at=T0, metadata={"told_by": "http"}, without_leg=True,
            ),
            Event(uuid4(), call, "webhook", T0),
        ),
        (SessionOpened(uuid4(), call, f"sess-{call}"),),
        (Transcript(uuid4(), call, None, "assistant", "Hello", t=at(4.5)),),
        (CallChanged(call, at(5), status="ringing", metadata={"both": "http"}, lead_name="Ann"),),
        (
            CallEnded(call, at(8), 5, "completed", "told", {"ended_by": "http"}, without_leg=True),
            Event(uuid4(), call, "call_ended", at(8)),
        ),
    ]  # fmt: skip


def foreign(dsn: str, sid: str) -> str:
    """A row as the old function wrote it."""
    [row] = rows(
        dsn,
        f"INSERT INTO voice_calls (direction, from_e164, twilio_call_sid, sip_session_id, started_at, status) "
        f"VALUES ('inbound', '+12025550101', '{sid}', 'theirs', '{T0.isoformat()}', 'initiated') RETURNING id::text",
    )
    return str(row["id"])


async def written(dsn: str, groups: Sequence[Group], batch_rows: int = 200) -> None:
    ledger = LedgerWriter(dsn, batch_ms=1, batch_rows=batch_rows)
    for group in groups:
        ledger.put(group)
        if batch_rows == 1:
            assert await ledger.flush(10)
    assert await ledger.close(10)
    assert (ledger.stats.poisoned, ledger.stats.unmatched) == (0, 0)


def found(dsn: str, sid: str) -> dict[str, Any]:
    """The one row of the carrier id, and how much stands under it."""
    [call] = rows(dsn, f"SELECT * FROM voice_calls WHERE twilio_call_sid = '{sid}'")
    assert rows(dsn, "SELECT 1 FROM voice_calls WHERE metadata ? 'twilio_call_sid_repeated'") == []
    return call | {
        table: len(rows(dsn, f"SELECT 1 FROM {table} WHERE call_id = '{call['id']}'")) for table in TABLES
    }


EVERYTHING = {
    "openai_sessions": 2,
    "transcripts": 2,
    "voice_events": 4,
    "mcp_tool_calls": 1,
    "call_consents": 1,
}
AS_THE_LEG_SAYS = {
    "sip_session_id", "provider", "trunk", "country", "locale", "status", "outcome", "ended_at", "duration_seconds",
    "started_at", "intent", "lead_name", "consent_obtained", "last_transcript_segment_at", "from_e164", "to_e164",
}  # fmt: skip


@pytest.mark.parametrize("batch_rows", [1, 200])
@pytest.mark.parametrize("is_foreign", [False, True], ids=["new", "of the old function"])
def test_every_order_gives_the_same_row(database: str, batch_rows: int, is_foreign: bool) -> None:
    seen: list[dict[str, Any]] = []

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.permutations([True] * 7 + [False] * 5))
    def check(turns: list[bool]) -> None:
        sid, leg, told = f"CA{uuid4().hex}", uuid4(), uuid4()
        theirs = foreign(database, sid) if is_foreign else ""
        sip, http = by_sip(leg, sid), by_http(told, sid)
        asyncio.run(written(database, [(sip if turn else http).pop(0) for turn in turns], batch_rows))
        call = found(database, sid)
        assert {table: call[table] for table in TABLES} == EVERYTHING
        assert str(call["id"]) == theirs or not theirs
        assert (call["status"], call["ended_at"], call["duration_seconds"]) == ("completed", at(9), 6)
        assert call["metadata"].items() >= {**LEG, "rtp": {"mos": 4}, "codec": "PCMU", "usage": 1}.items()
        assert "ended_by" not in call["metadata"]
        seen.append(
            {name: value for name, value in call.items() if name in AS_THE_LEG_SAYS} | {"sip_session_id": ""}
        )
        assert call["sip_session_id"] == f"sip-{leg}"
        assert seen[0] == seen[-1]

    check()


@pytest.mark.parametrize("sip_first", [True, False])
async def test_both_wait_in_spools_while_the_database_is_away(
    database: str, tmp_path: Path, sip_first: bool
) -> None:
    """Two processes that died in an outage; whose spool is read first is chance."""
    sid, leg, told = "CA1", uuid4(), uuid4()
    theirs = foreign(database, sid)
    for groups in (by_sip(leg, sid), by_http(told, sid))[:: 1 if sip_first else -1]:
        instance = uuid4()
        ledger = LedgerWriter(
            "postgresql://127.0.0.1:1/nowhere", instance=instance, spool=Spool(tmp_path, instance, max_bytes=2**22)
        )  # fmt: skip
        for group in groups:
            ledger.put(group)
        assert not await ledger.close(0.05)
    after = LedgerWriter(database, instance=uuid4(), adopted=adopt(tmp_path).spools)
    after.start()
    await asyncio.wait_for(after.recovered.wait(), 10)
    assert await after.close(5)
    call = found(database, sid)
    assert str(call["id"]) == theirs
    assert {table: call[table] for table in TABLES} == EVERYTHING
    assert (call["ended_at"], call["sip_session_id"]) == (at(9), f"sip-{leg}")


async def test_a_leg_that_begins_after_the_end_has_a_row_of_its_own(database: str) -> None:
    """Nothing is revived: the key was refused, and then the caller came by SIP."""
    leg, told = uuid4(), uuid4()
    created, *_ = by_http(told, "CA1")
    failed = CallEnded(told, at(1), 0, "failed", "realtime_refused", {"ended_by": "http"}, without_leg=True)
    await written(database, [created, (failed,), *by_sip(leg, "CA1")], 1)
    [first] = rows(database, f"SELECT * FROM voice_calls WHERE id = '{told}'")
    [second] = rows(database, f"SELECT * FROM voice_calls WHERE id = '{leg}'")
    assert (first["status"], first["ended_at"]) == ("failed", at(1))
    assert (second["status"], second["metadata"]["twilio_call_sid_repeated"]) == ("completed", "CA1")


async def test_a_failure_is_never_taken_back(database: str) -> None:
    leg, told = uuid4(), uuid4()
    created, *_ = by_http(told, "CA1")
    failed = CallEnded(told, at(8), 0, "failed", "realtime_refused", {"ended_by": "http"}, without_leg=True)
    await written(database, [created, (failed,), *by_sip(leg, "CA1")], 1)
    call = found(database, "CA1")
    assert (call["status"], call["ended_at"], call["outcome"]) == ("failed", at(9), "caller_hangup")


async def test_who_has_a_leg_is_not_ended_by_others(database: str) -> None:
    leg, told = uuid4(), uuid4()
    *sip, _ = by_sip(leg, "CA1")
    await written(database, [*sip, *by_http(told, "CA1")], 1)
    call = found(database, "CA1")
    assert (call["ended_at"], call["status"]) == (None, "in_progress")


async def test_two_legs_of_one_carrier_id_stay_two_calls(database: str) -> None:
    first, second = uuid4(), uuid4()
    await written(database, [*by_sip(first, "CA1"), *by_sip(second, "CA1")])
    calls = rows(database, "SELECT id, twilio_call_sid FROM voice_calls")
    assert {str(row["id"]) for row in calls} == {str(first), str(second)}
    assert rows(database, "SELECT 1 FROM sipua.call_aliases") == []


async def test_an_alias_goes_with_its_call(database: str) -> None:
    await written(database, [*by_sip(uuid4(), "CA1"), *by_http(uuid4(), "CA1")])
    assert len(rows(database, "SELECT 1 FROM sipua.call_aliases")) == 1
    run(database, "DELETE FROM voice_calls")
    assert rows(database, "SELECT 1 FROM sipua.call_aliases") == []


async def test_a_call_that_nobody_speaks_of_any_more_is_closed(database: str) -> None:
    """Its teller died; one that a leg carries, or that is spoken of, goes on."""
    quiet, spoken_of, carried = uuid4(), uuid4(), uuid4()
    later = at(0) + TOLD_LEASE + timedelta(seconds=30)
    for call, sid in ((quiet, "CA1"), (spoken_of, "CA2"), (carried, "CA3")):
        await written(database, by_http(call, sid)[:-1])
    await written(database, [(Event(uuid4(), spoken_of, "error", at(60)),), *by_sip(uuid4(), "CA3")[:-1]])
    closed = await close_orphans(database, node="n", worker=9, instance=uuid4(), now=later)
    assert closed == [quiet]
    [row] = rows(database, f"SELECT * FROM voice_calls WHERE id = '{quiet}'")
    assert (row["status"], row["outcome"], row["ended_at"]) == ("failed", "process_lost", at(4.5))
