"""A real MCP server (the SDK's), for stdio and streamable HTTP: ``python -m tests.tools.mcp_server``."""

from __future__ import annotations

import os
import signal

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("maps")


@server.tool(description="How far it is.")
def distance(start: str, end: str, unit: str = "km") -> dict[str, object]:
    return {"from": start, "to": end, "distance": 4.5, "unit": unit}


@server.tool(description="Says something.")
def say(text: str) -> str:
    return f"it says {text}"


@server.tool(description="Fails.")
def fail() -> str:
    raise ToolError("no such street")


@server.tool(description="Dies.")
def die() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


@server.tool(description="Never ends.")
async def wait() -> str:
    await anyio.sleep_forever()
    return ""


@server.tool(description="What the environment has.")
def key() -> str:
    return os.environ.get("MAPS_KEY", "")


if __name__ == "__main__":
    server.run()
