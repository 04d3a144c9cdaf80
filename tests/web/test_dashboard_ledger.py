"""What the dashboard's page is given of the ledger: masked, bounded, on the day of the zone. A real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from sipua.currency import CurrencySettings
from sipua.ports import Moment
from sipua.sip_message import mask_number
from sipua.web import dashboard_view as view
from sipua.web.dashboard_ledger import ledger_router
from sipua.web.dashboard_sessions import HEADER
from sipua.web.guard import Role
from sipua.web.links import Links
from sipua.web.recordings import RecordingLinks
from storage.reading import ReadPool
from tests.web.serving import HandClock, a_guard, bearer, serving

KIGALI = ZoneInfo("Africa/Kigali")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NUMBER = "+250788123456"
OURS = {HEADER: "1"}


def insert(database: str, **values: Any) -> UUID:
    id = uuid4()
    row = {
        "id": id, "direction": "inbound", "from_e164": NUMBER, "to_e164": "+250788000000", "status": "completed",
        "channel": "voice", "started_at": NOON, "ended_at": NOON + timedelta(seconds=90), "duration_seconds": 90,
        "metadata": Jsonb({"usage": {"cost_usd": 0.5}, "from_uri": f"sip:{NUMBER}@192.0.2.1"}),
    } | values  # fmt: skip
    names, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    with psycopg.connect(database) as connection:
        connection.execute(f"INSERT INTO voice_calls ({names}) VALUES ({places})".encode(), row)
    return id


@asynccontextmanager
async def a_site(database: str, currency: CurrencySettings | None = None) -> AsyncIterator[httpx.AsyncClient]:
    clock = HandClock(Moment(0.0, NOON))
    guard = a_guard(clock=clock)
    links = RecordingLinks(Links("", key=b"k"), clock)
    async with ReadPool(database) as pool:
        router = ledger_router(guard, pool, links, clock, KIGALI, currency or CurrencySettings())
        async with serving([router], guard=guard, clock=clock) as client:
            yield client


async def test_numbers_are_masked_wherever_a_page_is_given_them(database: str) -> None:
    id = insert(database)
    async with a_site(database) as client:
        for path in ("/dashboard/calls", f"/dashboard/calls/{id}", "/dashboard/calls?digits=3456"):
            told = await client.get(path, headers=bearer(Role.OPERATE))
            assert told.status_code == 200
            assert NUMBER not in told.text
            assert mask_number(NUMBER) in told.text


NUMBERS = [
    pytest.param(Role.OPERATE, 200, id="operate"),
    pytest.param(Role.READ, 403, id="read"),
    pytest.param(Role.INGEST, 403, id="ingest"),
]


@pytest.mark.parametrize(("role", "code"), NUMBERS)
async def test_who_may_have_the_numbers(
    database: str, role: Role, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    id = insert(database)
    caplog.set_level("INFO")
    async with a_site(database) as client:
        told = await client.post(f"/dashboard/calls/{id}/numbers", headers=bearer(role) | OURS)
        assert (told.status_code, told.json().get("from")) == (code, NUMBER if code == 200 else None)
        nobody = await client.post(f"/dashboard/calls/{uuid4()}/numbers", headers=bearer(Role.OPERATE) | OURS)
        assert nobody.status_code == 404
    assert any("numbers shown to operate" in line for line in caplog.messages) is (code == 200)
    assert NUMBER not in caplog.text


async def test_a_day_of_the_filter_is_one_of_the_zone(database: str) -> None:
    late = insert(database, started_at=datetime(2026, 1, 2, 21, 59, tzinfo=UTC))  # 23:59 there
    insert(database, started_at=datetime(2026, 1, 2, 22, 0, tzinfo=UTC))  # the next day
    insert(database, started_at=datetime(2026, 1, 1, 21, 59, tzinfo=UTC))  # the day before
    async with a_site(database) as client:
        told = await client.get(
            "/dashboard/calls?from_day=2026-01-02&to_day=2026-01-02", headers=bearer(Role.READ)
        )
    assert [call["id"] for call in told.json()["calls"]] == [str(late)]


BAD = [
    "status=gone", "direction=up", "digits=12", "digits=%2B25", "digits=' OR 1=1", "from_day=yesterday",
    "from_day=2026-01-03&to_day=2026-01-01", "to_day=9999-12-31", "after=x", "limit=0", "limit=100000", "other=1",
    "trunk=%00", "trunk=" + "x" * 65,
]  # fmt: skip


@pytest.mark.parametrize("query", BAD)
async def test_a_filter_that_is_none_is_told_so(database: str, query: str) -> None:
    async with a_site(database) as client:
        told = await client.get(f"/dashboard/calls?{query}", headers=bearer(Role.READ))
    assert (told.status_code, told.headers["Content-Type"]) == (422, "application/problem+json")


async def test_pages_follow_each_other_without_a_gap(database: str) -> None:
    ids = [str(insert(database, started_at=NOON - timedelta(minutes=n))) for n in range(5)]
    found: list[str] = []
    async with a_site(database) as client:
        after: str | None = ""
        while after is not None:
            page = (
                await client.get(
                    "/dashboard/calls", params={"limit": 2, "after": after}, headers=bearer(Role.READ)
                )
            ).json()
            found += [call["id"] for call in page["calls"]]
            after = page["next"]
    assert found == ids


async def test_what_a_day_has_cost_in_both_currencies(database: str) -> None:
    insert(database)
    insert(database, started_at=NOON - timedelta(days=1))
    async with a_site(database, CurrencySettings(code="RWF", per_usd=1450.0)) as client:
        told = (await client.get("/dashboard/costs?days=2", headers=bearer(Role.READ))).json()
    assert (told["zone"], told["currency"]) == ("Africa/Kigali", "RWF")
    assert [(day["day"], day["calls"], day["cost_usd"], day["cost"]) for day in told["days"]] == [
        ("2026-01-02", 1, 0.5, 725.0),
        ("2026-01-01", 1, 0.5, 725.0),
    ]


METADATA = [
    pytest.param({}, id="nothing"),
    pytest.param({"usage": "free"}, id="usage is a text"),
    pytest.param({"usage": {"cost_usd": True}}, id="a cost that is none"),
    pytest.param({"quality": {"points": "x", "turns": {"at_s": 1}}}, id="series that are none"),
    pytest.param({"quality": {"points": [1, {"at_s": "x"}, None]}}, id="points that are none"),
    pytest.param({"rtp": []}, id="media that is none"),
]


@pytest.mark.parametrize("metadata", METADATA)
async def test_metadata_of_others_breaks_no_page(database: str, metadata: dict[str, Any]) -> None:
    id = insert(database, metadata=Jsonb(metadata))
    async with a_site(database) as client:
        told = await client.get(f"/dashboard/calls/{id}", headers=bearer(Role.READ))
    assert told.status_code == 200
    story = told.json()
    assert (story["call"]["cost_usd"], story["points"], story["turns"]) == (None, [], [])


def test_what_counts_down_by_itself_is_no_news_of_a_trunk() -> None:
    registration = {"account": "a", "state": "registered", "expires_in_s": 55, "next_in_s": 40}
    shown = view.trunk({"trunk": "t", "registrations": [registration]})
    assert shown == {"trunk": "t", "registrations": [{"account": "a", "state": "registered"}]}
