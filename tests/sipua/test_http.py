"""Health and metrics over a real server, and the names of the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Response
from prometheus_client.parser import text_string_to_metric_families

from sipua.clock import SystemClock
from sipua.errors import LocalError
from sipua.http import bind_tcp, running
from sipua.metrics import Metrics
from sipua.web.guard import Guard, Role
from sipua.web.health import health_router
from sipua.web.site import build_site
from tests.web.serving import PLENTY, a_guard, bearer, serving

Check = Callable[[], Awaitable[str]]


def metrics() -> Metrics:
    return Metrics(node="n1", worker=2, instance="i", version="0.1")


async def well() -> str:
    return ""


async def ill() -> str:
    return "connection refused"


async def hanging() -> str:
    await asyncio.Event().wait()
    return ""


async def slow_to_cancel() -> str:
    """As psycopg on a server that hangs."""
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.Event().wait()
    return ""


def health(
    checks: Mapping[str, Check],
    refresh: Callable[[], None] = lambda: None,
    guard: Guard | None = None,
    *,
    is_open: bool = True,
) -> APIRouter:
    return health_router(
        metrics(), checks, refresh, guard or a_guard(), is_open=is_open, check_timeout_s=0.05
    )


async def get(
    path: str, checks: Mapping[str, Check], refresh: Callable[[], None] = lambda: None
) -> httpx.Response:
    async with serving([health(checks, refresh)]) as client:
        return await client.get(path)


def an_app() -> FastAPI:
    return build_site(a_guard(), SystemClock(), routers=[health({})], rate=PLENTY)


async def test_alive_says_nothing_about_the_parts() -> None:
    answer = await get("/healthz", {"database": ill})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("checks", "code", "parts"),
    [
        ({}, 200, {}),
        ({"sip": well, "database": well}, 200, {"sip": "ok", "database": "ok"}),
        ({"sip": well, "database": ill}, 503, {"sip": "ok", "database": "connection refused"}),
        (
            {"sip": hanging, "database": slow_to_cancel, "voice": well},
            503,
            {"sip": "no answer within 0.05 s", "database": "no answer within 0.05 s", "voice": "ok"},
        ),
    ],
    ids=["no parts", "all well", "one ill", "two hanging"],
)
async def test_ready_names_each_part(checks: Mapping[str, Check], code: int, parts: dict[str, str]) -> None:
    answer = await get("/readyz", checks)
    assert answer.status_code == code
    assert answer.json() == {"status": "ready" if code == 200 else "not ready", "checks": parts}


async def test_a_scrape_is_fresh_and_in_prometheus_format() -> None:
    asked = []
    answer = await get("/metrics", {}, lambda: asked.append(1))
    assert asked == [1]
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    (info,) = families["sipua_process_info"].samples
    assert info.labels == {"node": "n1", "worker": "2", "instance": "i", "version": "0.1"}
    assert all(name.startswith(("sipua_", "process_")) for name in families)


WHO = [
    pytest.param(False, True, {}, 401, False, id="without a token"),
    pytest.param(False, True, bearer(Role.READ), 200, True, id="who may read"),
    pytest.param(False, True, bearer(Role.OPERATE), 200, True, id="who may operate"),
    pytest.param(False, True, bearer(Role.INGEST), 403, False, id="who may only ingest"),
    pytest.param(False, False, bearer(Role.READ), 404, False, id="without a file of tokens"),
    pytest.param(True, False, {}, 200, True, id="open to all"),
]


@pytest.mark.parametrize(("is_open", "has_tokens", "headers", "code", "details"), WHO)
async def test_figures_and_parts_are_for_who_may_read(
    is_open: bool, has_tokens: bool, headers: dict[str, str], code: int, details: bool
) -> None:
    guard = a_guard() if has_tokens else a_guard(None)
    async with serving([health({"database": ill}, guard=guard, is_open=is_open)], guard=guard) as client:
        assert (await client.get("/metrics", headers=headers)).status_code == code
        ready = await client.get("/readyz", headers=headers)
        assert (ready.status_code, "checks" in ready.json()) == (503, details)
        assert (await client.get("/healthz")).status_code == 200


async def test_who_takes_no_answer_is_not_waited_for() -> None:
    router = APIRouter()

    @router.get("/much")
    async def much() -> Response:
        return Response(b"x" * (32 << 20))

    app = build_site(a_guard(), SystemClock(), routers=[router], rate=PLENTY)
    async with running(app, bind_tcp("127.0.0.1", 0, "HTTP"), take_timeout_s=0.1) as (host, port):
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        writer.write(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(100)
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()  # takes nothing more
        async with asyncio.timeout(2):
            with contextlib.suppress(ConnectionError):
                while not writer.is_closing():
                    writer.write(b"x")  # which a connection that was given up refuses
                    await asyncio.sleep(0.01)
        assert writer.is_closing()
        writer.close()


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/x", 404), ("POST", "/healthz", 405)])
async def test_nothing_else_is_served(method: str, path: str, code: int) -> None:
    app = an_app()
    async with (
        running(app, bind_tcp("127.0.0.1", 0, "HTTP")) as (host, port),
        httpx.AsyncClient() as client,
    ):
        assert (await client.request(method, f"http://{host}:{port}{path}")).status_code == code


async def test_the_port_is_free_again_though_a_client_is_still_connected() -> None:
    app = an_app()
    async with httpx.AsyncClient() as client:
        async with running(app, bind_tcp("127.0.0.1", 0, "HTTP")) as (host, port):
            assert (await client.get(f"http://{host}:{port}/healthz")).status_code == 200
        bind_tcp(host, port, "HTTP").close()


async def test_who_does_not_end_a_request_is_not_waited_for() -> None:
    app = an_app()
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with running(app, bind_tcp("127.0.0.1", 0, "HTTP"), head_timeout_s=0.1) as (host, port):
        for before in (b"", whole):  # also as a second request
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(before + whole[:-4])
            async with asyncio.timeout(2):
                told = await reader.read()  # to its end
            assert told.count(b"200 OK") == bool(before)
            writer.close()
        reader, writer = await asyncio.open_connection(host, port)
        for _ in range(3):  # who only takes his time is served
            writer.write(whole)
            async with asyncio.timeout(2):
                assert b"200 OK" in await reader.readuntil(b"}")
        writer.close()


async def test_connections_are_bounded() -> None:
    app = an_app()
    async with running(app, bind_tcp("127.0.0.1", 0, "HTTP"), connections_max=2) as (host, port):
        held = [await asyncio.open_connection(host, port) for _ in range(2)]
        reader, writer = await asyncio.open_connection(host, port)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(2):
                assert await reader.read() == b""
        for _, each in [*held, (reader, writer)]:
            each.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_named(host: str) -> None:
    with bind_tcp(host, 0, "HTTP") as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(
            LocalError, match=f"^HTTP cannot listen on tcp {host}:{port}: Address already in use$"
        ):
            bind_tcp(host, port, "HTTP")


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(LocalError, match=r"192\.0\.2\.1:0: Cannot assign requested address"):
        bind_tcp("192.0.2.1", 0, "HTTP")


def test_a_server_socket_is_not_inherited() -> None:
    with bind_tcp("127.0.0.1", 0, "HTTP") as sock:
        assert sock.family is socket.AF_INET
        assert not sock.get_inheritable()


def test_two_processes_in_one_share_no_metric() -> None:
    first, second = metrics(), metrics()
    first.calls_active.inc()
    assert b"sipua_calls_active 1.0" in first.render()
    assert b"sipua_calls_active 0.0" in second.render()
