"""What trunks and drills do, in a real database: written again it changes nothing, whatever batches it falls into."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.rows import dict_row

from storage.facts import CallCreated, CallEnded, Fact, ProcessEnded, ProcessStarted
from storage.queries import call_rows, drill_runs, trunk_changes
from storage.trunk_facts import CallAttempt, CallCarried, DrillRun, TargetsWatched, TrunkChange, TrunkState
from storage.trunk_statements import fold
from storage.words import TrunkAspect
from storage.writer import LedgerWriter

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HERE, FIRST, SECOND = UUID(int=7), "192.0.2.1:5060;udp", "192.0.2.2:5060;udp"


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def state(target: str, value: str, seconds: float, **more: Any) -> TrunkState:
    values: dict[str, Any] = {"node": "n1", "worker": 0, "instance": HERE, "what": "probe", "trunk": "mtn"}
    return TrunkState(**(values | more), target=target, state=value, seen_at=at(seconds))


def changed(target: str, value: str, seconds: float, why: str, **more: Any) -> TrunkState:
    return state(target, value, seconds, why=why, changed_at=at(seconds), **more)


def watched(*targets: str) -> TargetsWatched:
    return TargetsWatched("n1", 0, "mtn", targets)


def attempt(call: UUID, ordinal: int, **more: Any) -> CallAttempt:
    values: dict[str, Any] = {
        "trunk": "mtn", "target": FIRST, "code": 503, "reason": "service_unavailable", "ms": 120,
        "decision": "next", "started_at": at(ordinal),
    }  # fmt: skip
    return CallAttempt(id=uuid4(), call_id=call, ordinal=ordinal, **(values | more))


def drill(name: str, seconds: float, **more: Any) -> DrillRun:
    values: dict[str, Any] = {
        "held": True, "attempted": 5, "lost": 0, "version": "0.1", "node": "n1", "started_at": at(seconds),
        "ended_at": at(seconds + 4),
    }  # fmt: skip
    return DrillRun(id=uuid4(), run_id=UUID(int=1), drill=name, **(values | more))


async def written(dsn: str, *groups: tuple[Fact, ...], batch_rows: int = 200) -> None:
    ledger = LedgerWriter(dsn, batch_ms=5, batch_rows=batch_rows)
    try:
        for group in groups:
            ledger.put(group)
        assert await ledger.flush(10)
        assert ledger.stats.poisoned == 0
    finally:
        await ledger.close(5)


def everything(dsn: str) -> dict[str, list[dict[str, Any]]]:
    tables = {
        "call_attempts": "id",
        "trunk_states": "trunk, target, what",
        "trunk_changes": "id",
        "drill_runs": "id",
    }
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        return {
            table: connection.execute(f"SELECT * FROM sipua.{table} ORDER BY {order}".encode()).fetchall()
            for table, order in tables.items()
        }


def trunk_states(dsn: str) -> list[dict[str, Any]]:
    """As a reader asks: with whether the process that saw it so is still there."""
    query = (
        "SELECT s.*, p.ended_at IS NULL AS is_live FROM sipua.trunk_states s "
        "LEFT JOIN sipua.processes p USING (instance) ORDER BY s.node, s.worker, trunk, target, what"
    )
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


# ---- calls -----------------------------------------------------------------------------------------------


async def test_an_outbound_call_has_its_attempts_and_the_trunk_that_carried_it(database: str) -> None:
    call = uuid4()
    facts_of_it: tuple[Fact, ...] = (
        CallCreated(call, "outbound", to_e164="+250788123456", started_at=T0),
        attempt(call, 1, code=None, reason="no_response"),
        attempt(call, 2, trunk="twilio", target=SECOND, code=200, reason="answered", decision="answered"),
        CallCarried(call, "twilio", "twilio", "abc@here", twilio_call_sid="CA1"),
        CallEnded(call, at(9), 5, "completed"),
    )
    await written(database, facts_of_it)
    once = await call_rows(database, call)
    (row,) = once["voice_calls"]
    assert (row["trunk"], row["provider"], row["sip_session_id"], row["twilio_call_sid"], row["status"]) == (
        "twilio", "twilio", "abc@here", "CA1", "completed",
    )  # fmt: skip
    assert [
        (a["ordinal"], a["trunk"], a["target"], a["code"], a["decision"]) for a in once["call_attempts"]
    ] == [
        (1, "mtn", FIRST, None, "next"),
        (2, "twilio", SECOND, 200, "answered"),
    ]
    await written(database, facts_of_it)
    again = await call_rows(database, call)
    for rows in (once, again):
        rows["voice_calls"][0].pop("updated_at")
    assert again == once


async def test_the_attempts_go_with_their_call(database: str) -> None:
    call = uuid4()
    await written(database, (CallCreated(call, "outbound"), attempt(call, 1)))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM voice_calls WHERE id = %s", (call,))
    assert everything(database)["call_attempts"] == []


@pytest.mark.parametrize("batch_rows", [1, 200])
async def test_a_carrier_id_that_another_call_holds_costs_nothing(database: str, batch_rows: int) -> None:
    calls = [uuid4() for _ in range(3)]
    await written(
        database,
        (CallCreated(calls[0], "inbound", mtn_call_sid="same"),),
        (CallCreated(calls[1], "outbound"), CallCreated(calls[2], "outbound")),
        (CallCarried(calls[1], "mtn", "mtn", mtn_call_sid="same"),),
        (CallCarried(calls[2], "twilio", "twilio", "sip", twilio_call_sid="CA2"),),
        (CallCarried(calls[1], "twilio", "twilio", "sip", twilio_call_sid="CA2"),),
        batch_rows=batch_rows,
    )
    found = [(await call_rows(database, call))["voice_calls"][0] for call in calls]
    assert [row["mtn_call_sid"] for row in found] == ["same", None, None]
    assert sorted(str(row["twilio_call_sid"]) for row in found) == ["CA2", "None", "None"]
    (loser,) = (row for row in found[1:] if row["twilio_call_sid"] is None)
    assert loser["metadata"]["twilio_call_sid_repeated"] == "CA2"


# ---- states and their history ----------------------------------------------------------------------------


async def test_the_state_is_that_of_the_last_change_and_the_history_keeps_all(database: str) -> None:
    changes = [
        TrunkChange(uuid4(), at(1), "n1", 0, HERE, "mtn", FIRST, "probe", "unknown", "up", "OPTIONS 200"),
        TrunkChange(uuid4(), at(2), "n1", 0, HERE, "mtn", FIRST, "retry_after", "", "30 s", "503"),
        TrunkChange(uuid4(), at(3), "n1", 0, HERE, "twilio", "", "breaker", "closed", "open", "forbidden"),
    ]
    groups: list[tuple[Fact, ...]] = [
        (each, changed(each.target, each.after, n + 1, each.why, trunk=each.trunk, what=each.what))
        for n, each in enumerate(changes)
    ]
    await written(database, (ProcessStarted(HERE, "n1", 0, T0),), *groups)
    found = trunk_states(database)
    assert [(s["trunk"], s["target"], s["what"], s["state"], s["why"], s["is_live"]) for s in found] == [
        ("mtn", FIRST, "probe", "up", "OPTIONS 200", True),
        ("mtn", FIRST, "retry_after", "30 s", "503", True),
        ("twilio", "", "breaker", "open", "forbidden", True),
    ]
    told = await trunk_changes(database, 10)
    assert [(each["before"], each["after"]) for each in told] == [
        ("closed", "open"),
        (None, "30 s"),
        ("unknown", "up"),
    ]
    assert [each["after"] for each in await trunk_changes(database, 2)] == ["open", "30 s"]
    once = everything(database)
    await written(database, *groups)
    assert everything(database) == once


async def test_being_seen_refreshes_the_latency_and_keeps_the_reason(database: str) -> None:
    await written(database, (changed(FIRST, "down", 1, "OPTIONS unanswered"),))
    await written(database, (state(FIRST, "down", 60, latency_ms=12.5), state(SECOND, "unknown", 60)))
    found = {s["target"]: s for s in trunk_states(database)}
    assert (found[FIRST]["state"], found[FIRST]["why"], found[FIRST]["changed_at"]) == (
        "down", "OPTIONS unanswered", at(1),
    )  # fmt: skip
    assert (float(found[FIRST]["latency_ms"]), found[FIRST]["seen_at"]) == (12.5, at(60))
    assert (found[SECOND]["state"], found[SECOND]["changed_at"]) == ("unknown", None)
    await written(database, (changed(FIRST, "up", 90, ""),))  # a reason that is none replaces the old one
    assert {s["target"]: s["why"] for s in trunk_states(database)}[FIRST] is None


async def test_how_states_fall_into_batches_does_not_show(database: str) -> None:
    story: list[TrunkState | TargetsWatched] = [
        changed(FIRST, "up", 1, "OPTIONS 200"),
        state(FIRST, "up", 2, latency_ms=3.0),
        changed(FIRST, "down", 3, "OPTIONS 503"),
        changed("mtn/+250788123456", "registered", 4, "granted 60 s", what="registration"),
        watched(""),
        watched(),
        state(FIRST, "up", 6, latency_ms=4.0),
    ]
    stories: list[tuple[Fact, ...]] = [
        tuple(replace(each, trunk=f"t{number}") for each in order)
        for number, order in enumerate(itertools.permutations(story, 3))
    ]
    await written(database, *stories)
    together = everything(database)["trunk_states"]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM sipua.trunk_states")
    await written(database, *((each,) for mine in stories for each in mine), batch_rows=1)
    assert everything(database)["trunk_states"] == together
    assert len(together) > 60


async def test_targets_that_are_no_more_are_forgotten(database: str) -> None:
    account = changed("mtn/+250788123456", "registered", 1, "granted 3600 s", what="registration")
    whole = changed("", "open", 1, "forbidden", what="breaker")
    other = changed(FIRST, "up", 1, "OPTIONS 200", trunk="twilio")
    await written(
        database, (changed(FIRST, "up", 1, "x"), changed(SECOND, "up", 1, "x"), account, whole, other)
    )

    async def left() -> list[tuple[str, str]]:
        return [(s["trunk"], s["target"]) for s in trunk_states(database)]

    await written(database, (watched("", SECOND),))
    assert await left() == [("mtn", ""), ("mtn", SECOND), ("mtn", account.target), ("twilio", FIRST)]
    await written(database, (watched(),))
    assert await left() == [("twilio", FIRST)]
    await written(database, (watched(), changed(FIRST, "up", 5, "x")))  # came back after it
    assert await left() == [("mtn", FIRST), ("twilio", FIRST)]


async def test_a_new_process_starts_without_its_predecessors_states(database: str) -> None:
    old, new = uuid4(), uuid4()
    await written(
        database,
        (ProcessStarted(old, "n1", 0, T0),),
        (changed(FIRST, "down", 1, "x", instance=old), changed(FIRST, "up", 1, "x", instance=old, worker=1)),
        (ProcessEnded(old, at(2)),),
    )
    assert [s["is_live"] for s in trunk_states(database)] == [False, False]
    start: tuple[Fact, ...] = (ProcessStarted(new, "n1", 0, at(3)),)
    await written(database, start)
    assert [s["worker"] for s in trunk_states(database)] == [1]
    await written(database, (changed(FIRST, "up", 4, "x", instance=new),), start)
    assert [s["worker"] for s in trunk_states(database)] == [0, 1]


@pytest.mark.parametrize("kind", [TrunkState, TrunkChange])
def test_an_aspect_that_the_table_refuses_is_an_error_where_it_is_made(kind: type[Any]) -> None:
    assert set(get_args(TrunkAspect)) == {"probe", "breaker", "retry_after", "registration"}
    names = dict.fromkeys(kind.__dataclass_fields__) | {"what": "weather"}
    with pytest.raises(ValueError, match="aspect of a trunk 'weather': allowed are probe"):
        kind(**names)


STATES = st.builds(
    state,
    st.sampled_from([FIRST, SECOND]),
    st.sampled_from(["up", "down"]),
    st.integers(0, 3),
    why=st.none() | st.just("why"),
    changed_at=st.none() | st.just(T0),
    latency_ms=st.none() | st.floats(0, 9),
)


@given(st.lists(STATES, max_size=8), st.integers(0, 8))
def test_any_cut_of_states_gives_the_same(states: list[TrunkState], cut: int) -> None:
    assert fold([*fold(states[:cut]), *fold(states[cut:])]) == fold(states)


# ---- drills ----------------------------------------------------------------------------------------------


async def test_drills_are_comparable_over_time(database: str) -> None:
    runs = [
        drill("refused", 1, detect_ms=3010.5, extra_pdd_ms=31.0, attempts_per_call=2.0, recover_ms=None),
        drill("refused", 100, held=False, lost=5, mutate="no-failover", details={"timeline": [{"at": 0}]}),
        drill("busy", 50, live=True),
    ]
    await written(database, tuple(runs))
    found = await drill_runs(database, drill="refused")
    assert [(r["held"], r["lost"], r["mutate"]) for r in found] == [
        (False, 5, "no-failover"),
        (True, 0, None),
    ]
    assert found[0]["details"] == {"timeline": [{"at": 0}]}
    assert (float(found[1]["detect_ms"]), found[1]["recover_ms"]) == (3010.5, None)
    assert [r["drill"] for r in await drill_runs(database)] == ["refused", "busy", "refused"]
    once = everything(database)
    await written(database, tuple(runs))
    assert everything(database) == once
