"""Bodies that are long, slow or no JSON, too many requests at once or from one address: on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict

from sipua.web.body import BODY_MAX_BYTES, read_body, read_json
from sipua.web.guard import Principal, Role
from sipua.web.limits import Rate
from tests.waiting import eventually
from tests.web.serving import a_guard, bearer, serving

OPERATE = bearer(Role.OPERATE)
JSON = {"Content-Type": "application/json"}


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    to: str
    often: int = 1


def routes(held: asyncio.Event | None = None) -> tuple[APIRouter, list[object]]:
    guard = a_guard()
    router = APIRouter()
    came: list[object] = []

    @router.post("/json")
    async def json(request: Request, who: Principal = Depends(guard.requires(Role.OPERATE))) -> None:
        came.append(await read_json(request, Wanted))

    @router.post("/large")
    async def large(request: Request) -> None:
        came.append(len(await read_body(request, 1 << 20)))

    @router.get("/held")
    async def hold() -> None:
        assert held is not None
        came.append("held")
        await held.wait()

    return router, came


BODIES = [
    pytest.param(b'{"to": "x"}', JSON, 200, "", id="what fits"),
    pytest.param(
        b'{"to": "x"}', {"Content-Type": "application/json; charset=utf-8"}, 200, "", id="with a charset"
    ),
    pytest.param(b'{"to": "x"}', {"Content-Type": "text/plain"}, 415, "application/json", id="another type"),
    pytest.param(b'{"to": "x"}', {}, 415, "application/json", id="no type"),
    pytest.param(b"", JSON, 400, "Invalid JSON", id="empty"),
    pytest.param(b'{"to": "x"', JSON, 400, "Invalid JSON", id="cut off"),
    pytest.param(b'{"to": "\xff"}', JSON, 400, "Invalid JSON", id="no UTF-8"),
    pytest.param(b"[" * 60_000, JSON, 400, "Invalid JSON", id="deep"),
    pytest.param(b'["to"]', JSON, 422, "body: Input should be an object", id="no object"),
    pytest.param(b'{"often": 2}', JSON, 422, "body.to: Field required", id="something is missing"),
    pytest.param(
        b'{"to": "x", "often": "2"}', JSON, 422, "body.often: Input should be a valid integer", id="text"
    ),
    pytest.param(b'{"to": "x", "often": true}', JSON, 422, "body.often", id="a flag"),
    pytest.param(
        b'{"to": "x", "ofen": 2}', JSON, 422, "body.ofen: there is no such name", id="a key of nobody"
    ),
    pytest.param(
        b'{"to": "secret-value", "often": {}}', JSON, 422, "body.often", id="what was sent is not repeated"
    ),
    pytest.param(
        b" " * (BODY_MAX_BYTES + 1), JSON, 413, f"the {BODY_MAX_BYTES} bytes allowed", id="too long"
    ),
    pytest.param(bytes(10 << 20), JSON, 413, f"the {BODY_MAX_BYTES} bytes allowed", id="10 MB"),
]


@pytest.mark.parametrize(("body", "headers", "code", "why"), BODIES)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "in chunks"])
async def test_a_body_is_taken_whole_or_not_at_all(
    body: bytes, headers: dict[str, str], code: int, why: str, is_chunked: bool
) -> None:
    router, came = routes()

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 65536):
            yield body[at : at + 65536]

    async with serving([router]) as client:
        told = await client.post("/json", content=chunks() if is_chunked else body, headers=headers | OPERATE)
    assert (told.status_code, why in told.text) == (code, True)
    assert "secret-value" not in told.text
    assert came == ([Wanted(to="x")] if code == 200 else [])


async def test_who_may_not_is_told_before_the_body_is_looked_at() -> None:
    router, _ = routes()
    async with serving([router]) as client:
        told = await client.post("/json", content=b"[", headers=JSON | bearer(Role.READ))
        assert told.status_code == 403
        assert (await client.post("/json", content=bytes(10 << 20), headers=JSON)).status_code == 401


async def test_a_route_may_take_more_and_still_not_all() -> None:
    router, came = routes()
    async with serving([router]) as client:
        assert (await client.post("/large", content=bytes(1 << 20))).status_code == 200
        assert (await client.post("/large", content=bytes((1 << 20) + 1))).status_code == 413
    assert came == [1 << 20]


def address(client: httpx.AsyncClient) -> tuple[str, int]:
    assert client.base_url.port is not None
    return client.base_url.host, client.base_url.port


async def test_a_slow_body_is_given_up() -> None:
    router, came = routes()
    async with serving([router], body_timeout_s=0.1) as client:
        reader, writer = await asyncio.open_connection(*address(client))
        writer.write(b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + bytes(50))
        async with asyncio.timeout(5):
            told = await reader.read()  # to the end: the connection is closed
        writer.close()
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"within 0.1 s" in told
    assert came == []


PROXIED = {"trusted_proxies": ["127.0.0.1"]}


def by(number: int) -> dict[str, str]:
    """The header with which a proxy tells one of several addresses."""
    return {"X-Forwarded-For": f"192.0.2.{number}"}


async def test_only_so_many_requests_are_open_at_once_and_health_is_not_counted() -> None:
    held = asyncio.Event()
    router, came = routes(held)
    async with serving([router], at_once=2, server=PROXIED) as client, asyncio.TaskGroup() as group:
        waiting = [group.create_task(client.get("/held", headers=by(number))) for number in range(2)]
        await asyncio.to_thread(eventually, lambda: len(came) == 2, "two requests are open")
        told = await client.get("/held", headers=by(2))
        assert (told.status_code, told.headers["Retry-After"]) == (503, "1")
        held.set()
        assert [(await each).status_code for each in waiting] == [200, 200]
        assert (await client.get("/held")).status_code == 200


async def test_one_address_leaves_room_for_the_others() -> None:
    held = asyncio.Event()
    router, came = routes(held)
    async with serving([router], at_once=8, server=PROXIED) as client, asyncio.TaskGroup() as group:
        waiting = [group.create_task(client.get("/held", headers=by(1))) for _ in range(2)]
        await asyncio.to_thread(eventually, lambda: len(came) == 2, "two requests are open")
        told = await client.get("/held", headers=by(1))
        assert (told.status_code, told.headers["Retry-After"]) == (429, "1")
        waiting.append(group.create_task(client.get("/held", headers=by(2))))
        await asyncio.to_thread(eventually, lambda: len(came) == 3, "another's is open too")
        held.set()
        assert [(await each).status_code for each in waiting] == [200, 200, 200]
        assert (await client.get("/held", headers=by(1))).status_code == 200


async def test_looks_at_readiness_that_take_long_keep_nobody_out() -> None:
    router, held, came = APIRouter(), asyncio.Event(), asyncio.Event()

    @router.get("/readyz")
    async def readyz() -> None:
        came.set()
        await held.wait()

    async with serving([router], at_once=1) as client, asyncio.TaskGroup() as group:
        group.create_task(client.get("/readyz"))
        await came.wait()
        assert (await client.get("/none")).status_code == 404
        held.set()


async def test_one_address_has_a_rate() -> None:
    router, _ = routes()
    async with serving([router], rate=Rate(0.001, 2)) as client:
        codes = [(await client.get("/none")).status_code for _ in range(3)]
        assert codes == [404, 404, 429]


@pytest.mark.parametrize(("trusted", "codes"), [(["127.0.0.1"], [404, 404]), ([], [404, 429])])
async def test_only_a_trusted_proxy_tells_whose_request_it_is(trusted: list[str], codes: list[int]) -> None:
    router, _ = routes()
    async with serving([router], rate=Rate(0.001, 1), server={"trusted_proxies": trusted}) as client:
        told: list[httpx.Response] = [
            await client.get("/none", headers={"X-Forwarded-For": f"192.0.2.{number}"}) for number in (1, 2)
        ]
    assert [each.status_code for each in told] == codes


async def test_a_bug_is_a_problem_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    router = APIRouter()

    @router.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError("secret-value")

    async with serving([router]) as client:
        told = await client.get("/bug")
    assert (told.status_code, told.headers["Content-Type"]) == (500, "application/problem+json")
    assert "secret-value" not in told.text
    assert "ZeroDivisionError" in caplog.text
