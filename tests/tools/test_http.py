"""Forwarded tools against a real HTTP server: signed, bounded, repeated only where the connection failed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sipua.clock import SystemClock
from sipua.http import bind_tcp, running
from sipua.tools.files import HttpTool
from sipua.tools.http import ANSWER_MAX_BYTES, UNREACHABLE, UNREADABLE, HttpTools
from sipua.tools.registry import Registry
from tests.sipua.test_ledger import OPENING
from tests.tools.calls import Desk

SECRET = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
SCHEMA = {"type": "object", "properties": {"seats": {"type": "integer"}}, "required": ["seats"]}


class Service:
    """The operator's service: it keeps what came, and answers as it is told."""

    def __init__(self, answer: Callable[[], Response]) -> None:
        self.answer = answer
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.app = Starlette(routes=[Route("/book", self._book, methods=["POST"])])

    async def _book(self, request: Request) -> Response:
        self.requests.append((dict(request.headers), await request.body()))
        return self.answer()


def spec(url: str, **more: Any) -> HttpTool:
    return HttpTool(
        kind="http", name="book", description="Books.", parameters=SCHEMA, url=url, secret_env="X", **more
    )


@asynccontextmanager
async def forwarded(url: str, **more: Any) -> AsyncIterator[Desk]:
    async with HttpTools(SystemClock()) as tools:
        registry = Registry()
        registry.add_foreign(tools.tool(spec(url, **more), SECRET))
        yield Desk(registry)


@asynccontextmanager
async def served(answer: Callable[[], Response], **more: Any) -> AsyncIterator[tuple[Desk, Service]]:
    service = Service(answer)
    async with (
        running(service.app, bind_tcp("127.0.0.1", 0, "HTTP")) as (host, port),
        forwarded(f"http://{host}:{port}/book", **more) as desk,
    ):
        yield desk, service


async def test_a_request_is_signed_and_says_whose_call_it_is() -> None:
    async with served(lambda: JSONResponse({"reference": "A1"})) as (desk, service):
        assert await desk.use("book", {"seats": 2}) == {"reference": "A1"}
    ((headers, body),) = service.requests
    # the judge is another implementation of Standard Webhooks, which also checks the time
    client = openai.OpenAI(api_key="x", webhook_secret=SECRET)
    client.webhooks.verify_signature(body, headers)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.verify_signature(body.replace(b"2", b"3", 1), headers)
    (called,) = desk.called
    assert headers["idempotency-key"] == headers["webhook-id"] == str(called.id)
    assert called.server is not None
    assert called.server.startswith("http://127.0.0.1:")
    assert json.loads(body) == {
        "id": str(called.id),
        "tool": "book",
        "arguments": {"seats": 2},
        "call": {
            "id": str(OPENING.id),
            "direction": "inbound",
            "caller": OPENING.from_number,
            "called": OPENING.to_number,
            "trunk": "loopback",
            "country": "RW",
            "locale": "rw",
        },
    }


ANSWERS: list[tuple[Callable[[], Response], dict[str, Any]]] = [
    (lambda: Response(status_code=204), {}),
    (lambda: JSONResponse([1]), {"result": [1]}),
    (lambda: JSONResponse({"error": "no seats left"}, 409), {"error": "answered 409: no seats left"}),
    (lambda: JSONResponse({"error": "x" * 900}, 500), {"error": "answered 500: " + "x" * 300}),
    (lambda: Response("<html>", 502), {"error": "answered 502: do without it"}),
    (lambda: RedirectResponse("http://127.0.0.1:9/"), {"error": "answered 307: do without it"}),
    (lambda: Response("<html>"), {"error": UNREADABLE}),
    (lambda: Response(b"[" * 60_000), {"error": UNREADABLE}),
    (lambda: Response(b'{"name": "\\ud83d"}'), {"error": UNREADABLE}),  # half a character: no call may end by it
    (lambda: Response(b'{"error": "\\ud83d"}', 500), {"error": "answered 500: do without it"}),
    (lambda: Response(b"\x1f", headers={"Content-Encoding": "gzip"}), {"error": UNREADABLE}),
    (lambda: Response(b" " * (ANSWER_MAX_BYTES + 1)), {"error": "too long"}),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "told"), ANSWERS, ids=range(len(ANSWERS)))
async def test_what_the_model_reads_of_an_answer(
    answer: Callable[[], Response], told: dict[str, Any]
) -> None:
    async with served(answer) as (desk, service):
        got = await desk.use("book", {"seats": 2})
    assert len(service.requests) == 1  # an answer is an answer
    assert got.keys() == told.keys()
    assert got == told or told["error"] in got["error"]


async def test_unfit_arguments_do_not_leave_the_house() -> None:
    async with served(lambda: Response()) as (desk, service):
        assert "'seats' is a required property" in (await desk.use("book", {}))["error"]
    assert service.requests == []


class Breaking:
    """A server that breaks the first connections after the request, then answers."""

    def __init__(self, broken: int) -> None:
        self.left = broken
        self.ids: list[str] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
        await reader.readexactly(int({k.lower(): v for k, v in fields.items()}["content-length"]))
        self.ids.append(next(v for k, v in fields.items() if k.lower() == "idempotency-key"))
        if self.left:
            self.left -= 1
            writer.transport.abort()
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            writer.close()


@pytest.mark.parametrize(("broken", "told", "attempts"), [(1, {}, 2), (9, {"error": UNREACHABLE}, 3)])
async def test_a_broken_connection_is_tried_again_with_the_same_id(
    broken: int, told: dict[str, str], attempts: int
) -> None:
    peer = Breaking(broken)
    async with await asyncio.start_server(peer.talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with forwarded(f"http://127.0.0.1:{port}/") as desk:
            assert await desk.use("book", {"seats": 1}) == told
    assert len(peer.ids) == attempts
    assert len(set(peer.ids)) == 1


async def test_nobody_listens() -> None:
    with bind_tcp("127.0.0.1", 0, "HTTP") as taken:  # bound, and nobody accepts: refused at once
        port = taken.getsockname()[1]
    async with forwarded(f"http://127.0.0.1:{port}/") as desk:
        assert await desk.use("book", {"seats": 1}) == {"error": UNREACHABLE}


async def test_a_service_that_hangs_costs_the_call_its_time_limit_only() -> None:
    given_up = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side gives up
        writer.close()
        await writer.wait_closed()
        given_up.set()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with forwarded(f"http://127.0.0.1:{port}/", timeout_s=0.5) as desk:
            error = (await desk.use("book", {"seats": 1}))["error"]
        await given_up.wait()
    assert error in (UNREACHABLE, "no result within 0.5 s: do without it, or say that it takes longer")
