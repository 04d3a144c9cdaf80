"""Calls that are placed over HTTP: what is asked, what the rules refuse, once for each key; on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from sipua.dial_request import DialRequest
from sipua.dial_rules import OnTheList, OutsideHours, TooOften
from sipua.errors import ConfigError, LocalError
from sipua.switchboard import NoRoute
from sipua.trunks.routing import Rejected, Route
from sipua.web.guard import Guard, Role
from sipua.web.idempotency import Idempotency
from sipua.web.placing import placing_router
from storage.reading import ReadPool
from tests.storage.test_call_reads import created, write
from tests.web.serving import a_guard, bearer, serving

ANN = "+250788123456"
WANTED = {"to": ANN}


@dataclass
class Call:
    key: UUID


@dataclass
class Line:
    """In the place of switchboard and trunks: keeps what is asked, does as it is told."""

    refusal: Exception | None = None
    is_ready: bool = True
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[DialRequest] = field(default_factory=list)
    up: set[UUID] = field(default_factory=set)

    async def place(self, request: DialRequest) -> tuple[Call, None]:
        self.asked.append(request)
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        call = Call(request.id or uuid4())
        self.up.add(call.key)
        return call, None

    def hang_up(self, id: UUID) -> bool:
        return id in self.up

    @asynccontextmanager
    async def serving(self, dsn: str, guard: Guard | None = None) -> AsyncIterator[httpx.AsyncClient]:
        guard = guard or a_guard()
        self.gate.set()
        async with ReadPool(dsn) as pool:
            router = placing_router(guard, pool, lambda: self if self.is_ready else None, self.hang_up)
            async with serving([router], guard=guard) as client:
                client.headers.update(bearer(Role.OPERATE))
                yield client


async def test_a_call_is_placed_as_it_was_asked_and_can_be_ended(database: str) -> None:
    line = Line()
    async with line.serving(database) as client:
        told = await client.post(
            "/calls", json={"to": ANN, "from": "+12025550100", "language": "rw", "force": True}
        )
        (call,) = line.up
        assert (told.status_code, told.json()) == (202, {"call": str(call), "status": "initiated"})
        assert told.headers["Location"] == f"/calls/{call}"
        assert (await client.post(f"/calls/{call}/hangup")).status_code == 202
        assert (await client.post(f"/calls/{uuid4()}/hangup")).status_code == 404
    (asked,) = line.asked
    assert (asked.to, asked.caller, asked.language, asked.force) == (ANN, "+12025550100", "rw", True)


ROUTE = Route("", (), (Rejected("mtn", "", "disabled"),))
REFUSALS = [
    (OnTheList("+250*****3456 is on the do-not-call list"), 403, "do_not_call"),
    (OutsideHours("+250*****3456: opens at 8"), 409, "outside_calling_hours"),
    (TooOften("+250*****3456: called 3 times today"), 409, "too_many_attempts"),
    (NoRoute(ANN, ROUTE), 409, "no_route"),
    (ConfigError("dial: language = 'xx': not offered"), 422, "config"),
    (LocalError("the agent is starting or ending"), 503, "local"),
]


@pytest.mark.parametrize(("refusal", "code", "reason"), REFUSALS, ids=lambda each: str(each))
async def test_a_refusal_says_why_without_the_number(
    database: str, refusal: Exception, code: int, reason: str
) -> None:
    async with Line(refusal).serving(database) as client:
        told = await client.post("/calls", json=WANTED)
    assert (told.status_code, told.json()["reason"]) == (code, reason)
    assert ANN not in told.text
    assert ("Retry-After" in told.headers) is (code == 503)


BAD: list[tuple[Any, str]] = [
    ({}, "body.to"),
    ({"to": ""}, "body.to"),
    ({"to": 250788123456}, "body.to"),  # a number is a text
    ({"to": "x" * 65}, "body.to"),
    (WANTED | {"language": "kinyarwanda"}, "body.language"),
    (WANTED | {"answering_machine": "shout"}, "body.answering_machine"),
    (WANTED | {"force": "yes"}, "body.force"),
    (WANTED | {"purpose": "x" * 100_000}, "413"),
    (WANTED | {"form": ANN}, "body.form"),
    (WANTED | {"until": "ended"}, "until: not to be given"),
    (WANTED | {"id": str(UUID(int=1))}, "id: not to be given"),
    ([WANTED], "body: Input should be an object"),
]


@pytest.mark.parametrize(("wanted", "why"), BAD)
async def test_what_does_not_fit_places_nothing(database: str, wanted: Any, why: str) -> None:
    line = Line()
    async with line.serving(database) as client:
        told = await client.post("/calls", json=wanted)
    assert told.status_code in (413, 422)
    assert why in told.text
    assert ANN not in told.text
    assert line.asked == []


async def test_who_may_only_read_places_and_ends_nothing(database: str) -> None:
    line = Line()
    async with line.serving(database) as client:
        for path in ("/calls", f"/calls/{uuid4()}/hangup"):
            assert (await client.post(path, json=WANTED, headers=bearer(Role.READ))).status_code == 403
    assert line.asked == []


async def test_while_the_agent_starts_it_is_503(database: str) -> None:
    async with Line(is_ready=False).serving(database) as client:
        told = await client.post("/calls", json=WANTED)
    assert (told.status_code, "starting" in told.text) == (503, True)


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_a_key_places_one_call_however_often_and_at_once_it_is_asked(database: str) -> None:
    line = Line()
    async with line.serving(database) as client, asyncio.TaskGroup() as group:
        line.gate.clear()
        asking = [group.create_task(client.post("/calls", json=WANTED, headers=keyed("k"))) for _ in range(8)]
        async with asyncio.timeout(5):
            while not line.asked:  # noqa: ASYNC110 - one of them has come
                await asyncio.sleep(0.01)
        line.gate.set()
        told = [await each for each in asking]
        assert {(each.status_code, each.json()["call"]) for each in told} == {(202, told[0].json()["call"])}
        assert sum("Idempotency-Replayed" in each.headers for each in told) == 7
        other = await client.post("/calls", json={"to": "+250788123457"}, headers=keyed("k"))
        assert (other.status_code, other.json()["reason"]) == (409, "key_used")
        assert (await client.post("/calls", json=WANTED, headers=keyed("another"))).status_code == 202
    assert len(line.asked) == 2


async def test_another_process_knows_the_key_by_the_row_and_anothers_key_is_another(database: str) -> None:
    """Whose the key is counts too."""
    await write(database, replace(created(1), id=Idempotency.id_of("operate", "k")))
    line = Line()
    async with line.serving(database) as client:
        told = await client.post("/calls", json=WANTED, headers=keyed("k"))
        assert (told.status_code, told.headers["Idempotency-Replayed"]) == (202, "true")
        assert line.asked == []
    assert Idempotency.id_of("ann", "k") != Idempotency.id_of("operate", "k")


async def test_a_key_whose_call_was_refused_may_be_used_again(database: str) -> None:
    line = Line(OutsideHours("too early"))
    async with line.serving(database) as client:
        assert (await client.post("/calls", json=WANTED, headers=keyed("k"))).status_code == 409
        line.refusal = None
        assert (await client.post("/calls", json=WANTED, headers=keyed("k"))).status_code == 202
    assert len(line.asked) == 2


async def test_with_a_key_and_no_database_nothing_is_placed() -> None:
    """Who asks for one call and no second is not given one that may be the second."""
    line = Line()
    async with line.serving("postgresql://sipua@127.0.0.1:9/none") as client:
        assert (await client.post("/calls", json=WANTED, headers=keyed("k"))).status_code == 503
        assert line.asked == []
        assert (await client.post("/calls", json=WANTED)).status_code == 202  # calls go on


def test_the_table_of_keys_is_bounded() -> None:
    keys = Idempotency(keys_max=2)
    ids = [keys.id_of("ann", str(number)) for number in range(3)]
    assert [keys.begin(id, "x") for id in ids] == [None, None, None]
    assert keys.begin(ids[0], "y") is None  # forgotten: the ledger knows it
    assert keys.begin(ids[2], "x") is not None
