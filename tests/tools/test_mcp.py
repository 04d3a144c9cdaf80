"""Servers of the official SDK, as a process and over HTTP: listed, called, lost and found again."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pydantic import SecretStr

from sipua.tools.files import McpServer
from sipua.tools.mcp import DOWN, servers_running
from sipua.tools.registry import Registry
from tests.tools.calls import Desk
from tests.tools.mcp_server import server as sdk_server

ROOT = Path(__file__).resolve().parents[2]


def by_command(**more: Any) -> McpServer:
    return McpServer(
        kind="mcp", name="maps", command=(sys.executable, "-m", "tests.tools.mcp_server"), cwd=str(ROOT),
        start_timeout_s=30, **more,
    )  # fmt: skip


@asynccontextmanager
async def over_http() -> AsyncIterator[str]:
    """The same server behind a URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(sdk_server.streamable_http_app(), log_level="warning", lifespan="on", ws="none")
    web = uvicorn.Server(config)
    task = asyncio.create_task(web.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        web.should_exit = True
        await task
        listener.close()


async def test_a_program_is_started_listed_called_and_restarted(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    spec = by_command(tools=("distance", "say", "fail", "die", "wait", "key", "fly"), secret_env="MAPS_KEY")
    # no look at whether it is there within the test: a call that fails tells it
    async with servers_running(((spec, SecretStr("k1")),), registry, check_s=120) as (server,):
        assert "maps: left out: fly: it does not offer it" in caplog.text
        assert list(registry.offered()) == ["distance", "say", "fail", "die", "wait", "key"]
        tool = registry.wire()[0]
        assert (tool["description"], tool["parameters"]["required"]) == ("How far it is.", ["start", "end"])
        desk = Desk(registry)
        assert await desk.use("distance", {"start": "A", "end": "B"}) == {
            "from": "A", "to": "B", "distance": 4.5, "unit": "km",
        }  # fmt: skip
        assert await desk.use("say", {"text": "hm"}) == {"result": "it says hm"}
        assert await desk.use("key") == {"result": "k1"}
        assert "'start' is a required property" in (await desk.use("distance", {"end": "B"}))["error"]
        assert "no such street" in (await desk.use("fail"))["error"]
        slow = registry.find("wait")
        assert slow is not None
        hasty = Registry()
        hasty.add_foreign(replace(slow, timeout_s=0.1))
        assert "no result within 0.1 s" in (await Desk(hasty).use("wait"))["error"]
        server.listed.clear()
        assert await desk.use("die") == {"error": DOWN}
        assert await desk.use("say", {"text": "?"}) == {"error": DOWN}  # on the list, with an error
        await asyncio.wait_for(server.listed.wait(), 30)
        assert await desk.use("say", {"text": "again"}) == {"result": "it says again"}
        assert {called.server for called in desk.called} == {"maps"}


async def test_a_server_behind_a_url_is_called() -> None:
    registry = Registry()
    async with over_http() as url:
        spec = McpServer(kind="mcp", name="maps", url=url, tools=("say",))
        async with servers_running(((spec, SecretStr("t")),), registry):
            assert await Desk(registry).use("say", {"text": "hm"}) == {"result": "it says hm"}


async def test_what_cannot_be_started_does_not_hold_up_the_start(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    spec = McpServer(kind="mcp", name="maps", command=("/does/not/exist",), start_timeout_s=0.5)
    async with servers_running(((spec, None),), registry):
        assert registry.offered() == {}
    assert "maps: not available" in caplog.text
    assert "no list of tools within 0.5 s" in caplog.text
