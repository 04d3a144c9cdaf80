"""The routes that read the ledger, on a real database: filters, pages, one call, who goes on now; and bad input."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipua.clock import SystemClock
from sipua.currency import CurrencySettings
from sipua.web.calls import calls_router, live_router
from sipua.web.guard import Role
from sipua.web.links import Links
from sipua.web.recordings import RecordingLinks
from storage.facts import CallEnded, ConsentAnswered, Event, RecordingKept, Transcript
from storage.reading import ReadPool
from tests.storage.test_call_reads import ANN, BEN, at, created, uuid, write
from tests.web.serving import a_guard, bearer, serving

NO_OTHER, FRANCS = CurrencySettings(), CurrencySettings(code="RWF", per_usd=1450.0)
READ = bearer(Role.READ)
HTML = "<script>alert(1)</script>"


@asynccontextmanager
async def reading(
    dsn: str, currency: CurrencySettings = NO_OTHER, **site: Any
) -> AsyncIterator[httpx.AsyncClient]:
    guard, clock = a_guard(), SystemClock()
    async with ReadPool(dsn) as pool:
        routers = [
            calls_router(guard, pool, RecordingLinks(Links("https://x.example"), clock), currency),
            live_router(guard, pool, clock),
        ]
        async with serving(routers, guard=guard, **site) as client:
            client.headers.update(READ)
            yield client


async def some_calls(dsn: str) -> None:
    await write(
        dsn,
        *(created(number, trunk="mtn" if number % 2 else "twilio") for number in range(1, 6)),
        CallEnded(uuid(1), at(90), 80, "completed", "caller_hangup"),
    )


async def ids(client: httpx.AsyncClient, **query: Any) -> list[int]:
    told = await client.get("/calls", params=query)
    assert told.status_code == 200, told.text
    return [UUID(call["id"]).int for call in told.json()["calls"]]


async def test_calls_are_filtered_and_paged(database: str) -> None:
    await some_calls(database)
    async with reading(database) as client:
        assert await ids(client) == [5, 4, 3, 2, 1]
        assert await ids(client, trunk="mtn") == [5, 3, 1]
        assert await ids(client, live="true") == [5, 4, 3, 2]
        assert await ids(client, status="completed") == [1]
        assert await ids(client, since=at(4).isoformat()) == [5, 4]
        assert await ids(client, **{"from": ANN}) == await ids(client, **{"from": ANN[1:]}) == [5, 4, 3, 2, 1]
        assert (await client.get(f"/calls?from={ANN}")).json()["calls"]  # a plus that became a blank
        assert await ids(client, to=BEN) == []
        found, after = [], None
        while True:
            page = (
                await client.get("/calls", params={"limit": 2} | ({"after": after} if after else {}))
            ).json()
            found += [UUID(call["id"]).int for call in page["calls"]]
            if (after := page["next"]) is None:
                break
        assert found == [5, 4, 3, 2, 1]


COSTS = [
    (NO_OTHER, {"cost_usd": 0.02}),
    (FRANCS, {"cost_usd": 0.02, "cost": 29.0, "currency": "RWF"}),
]


@pytest.mark.parametrize(("currency", "told"), COSTS)
async def test_what_a_call_has_cost(database: str, currency: CurrencySettings, told: dict[str, Any]) -> None:
    await write(
        database,
        created(1),
        CallEnded(uuid(1), at(90), 80, "completed", "caller_hangup", {"usage": {"cost_usd": 0.02}}),
        created(2),
    )
    async with reading(database, currency) as client:
        (unknown, listed) = (await client.get("/calls")).json()["calls"]
        whole = (await client.get(f"/calls/{uuid(1)}")).json()["call"]
    names = {"cost_usd", "cost", "currency"}
    for call in (listed, whole):
        assert {name: call[name] for name in names & set(call)} == told
    assert (unknown["cost_usd"], unknown.get("cost")) == (None, None)


BAD = [
    ("status=open", "query.status"),
    ("direction=both", "query.direction"),
    ("limit=0", "query.limit"),
    ("limit=201", "query.limit"),
    ("limit=x", "query.limit"),
    ("since=yesterday", "query.since"),
    ("since=0", "query.since"),
    ("since=2026-01-02T08:00:00", "query.since"),  # whose hours?
    ("since=2026-01-02T08:00:00Z&until=2026-01-01T08:00:00Z", "query.until"),
    ("after=nothing", "query.after"),
    ("after=2026-01-02T08:00:00Z~'; DROP TABLE voice_calls; --", "query.after"),
    ("digits=%25", "query.digits"),
    ("live=maybe", "query.live"),
    ("trunk=", "query.trunk"),
    ("trunk=a%00b", "query.trunk"),
    (f"trunk={'x' * 256}", "query.trunk"),
    ("form=%2B250788000001", "query.form"),  # nobody's field: else all calls were the answer
]


@pytest.mark.parametrize(("query", "where"), BAD)
async def test_what_does_not_fit_is_named_and_not_repeated(database: str, query: str, where: str) -> None:
    async with reading(database) as client:
        told = await client.get(f"/calls?{query}")
    assert (told.status_code, told.headers["Content-Type"]) == (422, "application/problem+json")
    assert where in [each["where"] for each in told.json()["errors"]]
    assert "250788000001" not in told.text


async def test_a_call_is_found_by_each_of_its_ids_and_its_links_are_signed(database: str) -> None:
    consent = UUID(int=99)
    await write(
        database,
        created(1, sip_session_id="a/b@192.0.2.1", twilio_call_sid="CA1"),
        Event(uuid(11), uuid(1), "answered", at(2), {}),
        Transcript(uuid(12), uuid(1), 0, "caller", HTML, t=at(3)),
        ConsentAnswered(consent, uuid(1), at(2), "Do you agree?", True, "voice"),
        RecordingKept(consent, f"file:///secret/place/2026-11-22/{uuid(1)}_{consent}.wav"),
    )
    async with reading(database) as client:
        stories = [
            (await client.get(f"/calls/{key}")).json()
            for key in (uuid(1), "a/b@192.0.2.1", "a%2Fb@192.0.2.1", "CA1")
        ]
        assert [story["call"]["id"] for story in stories] == [str(uuid(1))] * 4
        (recording,) = stories[0]["recordings"]
        assert recording["url"].startswith(f"https://x.example/recordings/{consent}?expires=")
        assert recording["expires_at"].endswith("Z")
        assert "/secret/place" not in json.dumps(stories[0])
        assert [entry["what"] for entry in stories[0]["timeline"]] == ["answered", "answer", "said"]


UNKNOWN = [
    "CA2",
    str(UUID(int=500)),
    "'; DROP TABLE public.voice_calls; --",
    HTML,
    "%00",
    "%2e%2e/%2e%2e/etc/passwd",
    "x" * 255,
    "\N{SNOWMAN}",
]


@pytest.mark.parametrize("key", UNKNOWN)
async def test_a_call_that_there_is_not(database: str, key: str) -> None:
    await some_calls(database)
    async with reading(database) as client:
        told = await client.get(f"/calls/{key}")
        assert told.status_code == 404
        assert told.headers["Content-Type"] == "application/problem+json"
        assert "no call" in told.json()["detail"]
        assert len(await ids(client)) == 5


async def test_live_calls_are_as_the_readers_expect_them(database: str) -> None:
    await write(
        database,
        created(1, from_e164=ANN, started_at=datetime.now(UTC), country="RW"),
        Transcript(uuid(12), uuid(1), 0, "assistant", "Muraho", t=datetime.now(UTC)),
        created(2),
        CallEnded(uuid(2), at(9), 0, "no_answer", "caller_cancelled"),
    )
    async with reading(database, path_prefix="") as client:
        told = (await client.get("/analytics/live-calls")).json()
    (call,) = told["calls"]
    assert set(told) == {"calls", "generatedAt"}
    assert set(call) == {
        "callSid", "tenantId", "leadName", "leadPhone", "agentRegion", "startedAt", "lastMediaAt", "status",
        "direction", "warmTransferQueue", "optOutDetected", "transcriptPreview", "durationSeconds",
    }  # fmt: skip
    assert (call["leadPhone"], call["status"], call["transcriptPreview"]) == (
        ANN,
        "active",
        "assistant: Muraho",
    )
    assert "" not in call.values()


async def test_without_the_database_it_is_503_and_says_when_to_come_again() -> None:
    async with reading("postgresql://sipua@127.0.0.1:9/none") as client:
        told = await client.get("/calls")
    assert (told.status_code, told.headers["Retry-After"]) == (503, "5")
    assert "127.0.0.1" not in told.text


FOREIGN = st.text(max_size=60) | st.sampled_from(
    [
        "' OR 1=1 --",
        '"; DROP TABLE public.voice_calls; --',
        HTML,
        "{{7*7}}",
        "%s",
        "$1",
        "\\",
        "+250788123456",
    ]
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.dictionaries(
        st.sampled_from(
            ["status", "trunk", "provider", "channel", "language", "from", "to", "digits", "since", "after"]
        ),
        FOREIGN,
        max_size=4,
    ),
    key=FOREIGN,
)
async def test_no_text_in_any_field_does_more_than_be_compared(
    many: httpx.AsyncClient, query: dict[str, str], key: str
) -> None:
    told = await many.get("/calls", params=query)
    assert told.status_code in (200, 422)
    if told.status_code == 200 and any(query.values()):
        assert told.json()["calls"] == []
    one = await many.get(f"/calls/{quote(key, safe='')}")
    assert one.status_code in (200, 404, 422)
    assert all(each.headers["Content-Type"].endswith("json") for each in (told, one))
    assert len((await many.get("/calls")).json()["calls"]) == 5


@pytest.fixture
async def many(database: str) -> AsyncIterator[httpx.AsyncClient]:
    await some_calls(database)
    async with reading(database) as client:
        yield client
