"""The tools that are others', into the registry, and what they need for as long as we run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sipua.ports import Clock
from sipua.tools.files import ToolFiles
from sipua.tools.http import HttpTools
from sipua.tools.registry import Registry


@asynccontextmanager
async def foreign_tools(files: ToolFiles, registry: Registry, clock: Clock) -> AsyncIterator[None]:
    """ConfigError for a name that is taken."""
    async with AsyncExitStack() as stack:
        if files.http:
            http = await stack.enter_async_context(HttpTools(clock))
            for tool, secret in files.http:
                registry.add_foreign(http.tool(tool, secret.get_secret_value()))
        for remote, token in files.remote:
            registry.add_remote(remote.wire(token), remote.approved)
        if files.servers:
            from sipua.tools.mcp import servers_running  # 0.8 s of processor time, for those who need it

            await stack.enter_async_context(servers_running(files.servers, registry))
        yield
