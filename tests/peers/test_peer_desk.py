"""What is remembered, found and ordered, in whole calls on a real database: also while it is away for seconds."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import conninfo, sql

from storage.catalogue import CATALOGUE, import_rows
from tests.peers.agent import Agent
from tests.peers.conftest import StartSipp
from tests.peers.hand_service import HandService, Talk
from tests.peers.phone import Phone
from tests.peers.processes import until
from tests.postgres import create_database, drop_database

pytestmark = pytest.mark.peer

REGULAR, TRAVELLER, UNLUCKY, LATE = "+250788123456", "+250788123457", "+250788123458", "+250788123459"
RIDE = {
    "vehicle_type": "car",
    "pickup_location": "Kimironko market",
    "dropoff_location": "Remera",
    "passengers": 2,
}
QUIET = np.zeros(1600, np.int16)
OUTAGE_S = 4.0


async def regular(talk: Talk) -> None:
    """Remembers at first; where it is told of a memory, forgets."""
    await talk.say("r1", "a1", QUIET, "Welcome.")
    if "Kimironko" in talk.instructions:
        await talk.use(1, "forget", {})
    else:
        await talk.use(1, "remember", {"topic": "home area", "value": "Kimironko", "agreed": True})
    await talk.say("r2", "a2", QUIET, "Done.")
    await talk.use(2, "wrap_up", {"intent": "book a taxi", "outcome": "resolved"})


async def traveller(talk: Talk) -> None:
    """Looks for a ride, orders it, and reads the reference out."""
    found = await talk.use(1, "search_services", {"query": "moto", "location": "Kimironko"})
    await talk.say("r1", "a1", QUIET, f"There is {found['results'][0]['name']}.")
    booked = await talk.use(2, "book_transport", RIDE)
    await talk.say("r2", "a2", QUIET, f"Your reference is {booked['say']}.")


async def unlucky(talk: Talk) -> None:
    """The same without a catalogue."""
    found = await talk.use(1, "search_services", {"query": "moto"})
    await talk.say("r1", "a1", QUIET, f"I am sorry: {found['error']}")
    booked = await talk.use(2, "book_transport", RIDE)
    await talk.say("r2", "a2", QUIET, f"Your reference is {booked['say']}.")
    await talk.use(3, "remember", {"topic": "vehicle", "value": "car", "agreed": True})
    await talk.say("r3", "a3", QUIET, "I shall remember it.")


async def late(talk: Talk) -> None:
    await talk.say("r1", "a1", QUIET, "Welcome.")


MANNERS = {REGULAR: regular, TRAVELLER: traveller, UNLUCKY: unlucky, LATE: late}


@pytest.fixture(scope="module")
def service() -> Iterator[HandService]:
    with HandService(MANNERS) as running:
        yield running


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, service: HandService, postgres_server: str, template: str
) -> Iterator[Agent]:
    dsn = create_database(postgres_server, template)
    row = {
        "key": "a",
        "name": "Moto Amahoro",
        "category": "transport",
        "location": "Kimironko",
        "text_rw": "Moto",
    }
    rows = [{column: row.get(column) for column in CATALOGUE}]
    asyncio.run(import_rows(dsn, "catalogue", rows, replace=False, dry_run=False))
    folder = tmp_path_factory.mktemp("desk")
    instructions = "You talk with {{caller}}.\n{{memory}}"
    agent = Agent(
        folder / "agent", dsn, service.base_url, trunks={"plain": '["127.0.0.1/32"]'},
        SIPUA_REALTIME__INSTRUCTIONS=instructions,
    )  # fmt: skip
    yield agent
    agent.end()
    drop_database(postgres_server, dsn)


def said(agent: Agent, call: dict[str, Any]) -> list[str]:
    rows = agent.select("SELECT content FROM transcripts WHERE call_id = %s ORDER BY t", call["id"])
    return [row["content"] for row in rows]


def test_who_agrees_is_remembered_in_the_next_call_until_they_want_to_be_forgotten(
    desk: Agent, service: HandService, sipp: StartSipp
) -> None:
    told, calls = [], []
    for _ in range(3):
        with Phone() as phone:
            caller = sipp(desk.sip, "call", rtp_port=phone.port, caller=REGULAR, duration_ms=1200)
            calls.append(desk.closed_call(caller.wait().call_id))
        told.append(service.talks[REGULAR].instructions)
        assert service.talks[REGULAR].faults == []
        if len(told) == 1:
            (memory,) = desk.select("SELECT * FROM voice_memories WHERE msisdn = %s", REGULAR)
            assert (memory["prefs"]["home_area"], memory["country"]) == ("Kimironko", "RW")
    first, second, third = told
    assert "Kimironko" not in first
    for line in ("home area: Kimironko", "country: RW"):
        assert line in second
    assert re.search(r"Called on \d{4}-\d\d-\d\d: book a taxi \(resolved\)", second), second
    for word in ("Kimironko", "country", "book a taxi"):
        assert word not in third
    tools = desk.select(
        "SELECT tool, success FROM mcp_tool_calls WHERE call_id = %s ORDER BY t", calls[1]["id"]
    )
    assert [(row["tool"], row["success"]) for row in tools] == [("forget", True), ("wrap_up", True)]


def test_a_ride_is_found_and_ordered_and_its_reference_is_read_out(
    desk: Agent, service: HandService, sipp: StartSipp, phone: Phone
) -> None:
    caller = sipp(desk.sip, "call", rtp_port=phone.port, caller=TRAVELLER, duration_ms=1500)
    call = desk.closed_call(caller.wait().call_id)
    (order,) = desk.select("SELECT * FROM sipua.service_requests WHERE call_id = %s", call["id"])
    spelled = ", ".join(order["reference"])
    assert said(desk, call) == ["There is Moto Amahoro.", f"Your reference is {spelled}."]
    assert (order["kind"], order["details"], order["caller"], order["locale"]) == (
        "transport",
        RIDE,
        TRAVELLER,
        "rw",
    )
    rows = desk.select("SELECT * FROM mcp_tool_calls WHERE call_id = %s ORDER BY t", call["id"])
    assert [(row["tool"], row["success"]) for row in rows] == [
        ("search_services", True),
        ("book_transport", True),
    ]
    assert rows[1]["result"]["reference"] == order["reference"]
    assert service.talks[TRAVELLER].faults == []


@contextmanager
def away(server: str, dsn: str) -> Iterator[None]:
    """The database lets nobody in any more, and throws out who is there."""
    name = str(conninfo.conninfo_to_dict(dsn)["dbname"])
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(dsn).close()
        yield
        connection.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


def test_while_the_database_is_away_calls_go_on_and_nothing_is_lost(
    desk: Agent, service: HandService, sipp: StartSipp, postgres_server: str
) -> None:
    """One call orders without it, from its first ring to its end; another begins before and ends after."""
    service.talks.clear()
    with Phone() as first, Phone() as second:
        longer = sipp(
            desk.sip, "call", rtp_port=first.port, caller=LATE, duration_ms=round(OUTAGE_S * 1000) + 2500
        )
        until(lambda: LATE in service.talks, "the call is up")
        with away(postgres_server, desk.database):
            began = time.monotonic()
            caller = sipp(desk.sip, "call", rtp_port=second.port, caller=UNLUCKY, duration_ms=2500).wait()
            until(lambda: time.monotonic() - began > OUTAGE_S, "the time without a database")
        call = desk.closed_call(caller.call_id)
        kept = desk.closed_call(longer.wait().call_id)
    assert (call["status"], call["outcome"], kept["outcome"]) == (
        "completed",
        "caller_hangup",
        "caller_hangup",
    )
    (order,) = desk.select("SELECT * FROM sipua.service_requests WHERE call_id = %s", call["id"])
    words = said(desk, call)
    assert words[0].startswith("I am sorry: the catalogue cannot be read")
    assert words[1:] == [f"Your reference is {', '.join(order['reference'])}.", "I shall remember it."]
    rows = desk.select("SELECT * FROM mcp_tool_calls WHERE call_id = %s ORDER BY t", call["id"])
    assert [(row["tool"], row["success"]) for row in rows] == [
        ("search_services", False), ("book_transport", True), ("remember", True),
    ]  # fmt: skip
    (memory,) = desk.select("SELECT prefs FROM voice_memories WHERE msisdn = %s", UNLUCKY)
    assert memory["prefs"]["vehicle"] == "car"
    assert [session["status"] for session in desk.sessions(call)] == ["completed"]
    assert said(desk, kept) == ["Welcome."]
    stamps = sorted(packet.timestamp for packet in first.heard)
    assert (stamps[-1] - stamps[0]) // 160 + 1 == len(stamps)  # not a frame is missing
    assert desk.metric("sipua_ledger_facts_dropped_total") == 0
