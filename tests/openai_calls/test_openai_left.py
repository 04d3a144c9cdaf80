"""Calls that dead processes left at OpenAI: each is hung up, whatever became of the one before."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sipua.http import bind_tcp, running
from sipua.openai_left import WAITING_MAX, LeftCalls, left_calls
from sipua.realtime.backend import OpenAIBackend


async def test_each_is_hung_up_and_a_refusal_costs_no_other() -> None:
    asked: list[str] = []
    all_asked = asyncio.Event()

    async def hang_up(request: Request) -> Response:
        asked.append(request.path_params["id"])
        if len(asked) == 3:
            all_asked.set()
        return JSONResponse({}, {"gone": 404, "forbidden": 401}.get(asked[-1], 200))

    app = Starlette(routes=[Route("/v1/realtime/calls/{id}/hangup", hang_up, methods=["POST"])])
    async with (
        running(app, bind_tcp("127.0.0.1", 0, "HTTP")) as (host, port),
        left_calls(OpenAIBackend(f"http://{host}:{port}/v1", "sk-test")) as left,
        asyncio.timeout(10),
    ):
        left.take(["gone", "forbidden"])
        left.take(["up"])
        await all_asked.wait()
    assert asked == ["gone", "forbidden", "up"]


async def test_no_more_wait_than_may() -> None:
    left = LeftCalls(OpenAIBackend("http://127.0.0.1:9/v1", "sk-test"))
    left.take([f"rtc_{n}" for n in range(WAITING_MAX + 5)])
    left.take(["rtc_last"])
