"""Model Context Protocol servers of our own: started or reached by the official SDK, listed into the registry.

A server that dies or does not answer is tried again with back-off for as long as we run; meanwhile its tools stay on
the list and answer with an error, as models have been told of them. Each life of a connection is a task of its own: the
SDK fails in groups of exceptions from several libraries, and none of them is any business of a call's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import CONNECTION_CLOSED, CallToolResult, TextContent
from mcp_types import Tool as Listed
from pydantic import SecretStr

from sipua.errors import ConfigError
from sipua.tools.context import ToolContext
from sipua.tools.files import McpServer
from sipua.tools.registry import Registry, Result, Tool, by_schema
from sipua.tools.schema import Arguments, ToolError, checked_schema

log = logging.getLogger(__name__)

CHECK_S = 10.0  # between two looks at whether it still answers, and what it offers
BACKOFF_S = 0.5  # doubled
BACKOFF_MAX_S = 60.0
PAGES_MAX = 16
DESCRIPTION_MAX_CHARS = 1024
ERROR_MAX_CHARS = 300

DOWN = "the service that does this is out of order for the moment: say so, or do without it"


class Server:
    """One of them. ``run`` returns only when it is cancelled."""

    def __init__(
        self, spec: McpServer, secret: SecretStr | None, registry: Registry, *, check_s: float = CHECK_S
    ) -> None:
        self.spec = spec
        self.listed = asyncio.Event()  # its tools are known
        self._secret = secret
        self._registry = registry
        self._check_s = check_s
        self._client: Client | None = None
        self._broken = asyncio.Event()
        self._was_up = False  # in the life that is, or was the last

    async def run(self) -> None:
        backoff_s, told = BACKOFF_S, ""
        while True:
            why = await self._one_life()
            if self._was_up:
                backoff_s = BACKOFF_S
                log.warning("mcp %s: connection lost: %s", self.spec.name, why)
            elif why != told:
                log.warning("mcp %s: not available: %s", self.spec.name, why)
            told = why
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    async def _one_life(self) -> str:
        """Why it ended. A program has been told to go, and made to, when this returns or is cancelled."""
        life = asyncio.create_task(self._live(), name=f"mcp {self.spec.name}")
        try:
            await asyncio.wait({life})
        finally:
            self._client = None
            life.cancel()
            await asyncio.wait({life})
        return "cancelled" if life.cancelled() else _reason(life.exception())

    async def _live(self) -> None:
        """From the connection to its loss, which returns or raises whatever the SDK does."""
        self._was_up = False
        self._broken.clear()
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self.spec.start_timeout_s):
                client = await stack.enter_async_context(await self._connection(stack))
                await self._list(client)
            self._client, self._was_up = client, True
            self.listed.set()
            log.info("mcp %s: %s", self.spec.name, ", ".join(self._names()) or "no tools")
            while not self._broken.is_set():
                try:
                    async with asyncio.timeout(self._check_s):
                        await self._broken.wait()
                except TimeoutError:
                    async with asyncio.timeout(self.spec.timeout_s):
                        await self._list(client)

    async def _connection(self, stack: AsyncExitStack) -> Client:
        spec = self.spec
        if spec.command:
            secret = {spec.secret_env: self._secret.get_secret_value()} if self._secret is not None else {}
            program, *arguments = spec.command
            parameters = StdioServerParameters(
                command=program, args=arguments, env=spec.env | secret, cwd=spec.cwd or None
            )
            return Client(parameters, cache=None)
        token = {"Authorization": f"Bearer {self._secret.get_secret_value()}"} if self._secret else None
        http = await stack.enter_async_context(create_mcp_http_client(token))
        return Client(streamable_http_client(spec.url, http_client=http), cache=None)

    async def _list(self, client: Client) -> None:
        """What it offers now, into the registry."""
        found: list[Listed] = []
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page = await client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if not cursor:
                break
        wanted = [each for each in found if not self.spec.tools or each.name in self.spec.tools]
        left_out = self._registry.replace(self.spec.name, filter(None, map(self._tool, wanted)))
        for name in set(self.spec.tools) - {each.name for each in found}:
            left_out.append(f"{name}: it does not offer it")
        if left_out and not self._was_up:
            log.warning("mcp %s: left out: %s", self.spec.name, "; ".join(left_out))

    def _names(self) -> list[str]:
        return [name for name, tool in self._registry.offered().items() if tool.server == self.spec.name]

    def _tool(self, listed: Listed) -> Tool | None:
        try:
            schema = checked_schema(listed.input_schema, f"mcp {self.spec.name}: {listed.name[:64]}")
        except ConfigError as error:
            log.warning("%s", error)
            return None

        async def run(arguments: Arguments, context: ToolContext) -> Result:
            return await self._call(listed.name, arguments)

        description = (listed.description or listed.title or listed.name)[:DESCRIPTION_MAX_CHARS]
        return by_schema(
            listed.name, description, schema, self.spec.timeout_s, run, self.spec.name, is_strangers=True
        )

    async def _call(self, name: str, arguments: Arguments) -> Result:
        client = self._client
        if client is None:
            raise ToolError(DOWN)
        try:
            answer = await client.call_tool(name, dict(arguments))
        except MCPError as error:
            if error.error.code != CONNECTION_CLOSED:
                raise ToolError(error.error.message[:ERROR_MAX_CHARS]) from None
            self._broken.set()
            raise ToolError(DOWN) from None
        return result_of(answer)


def result_of(answer: CallToolResult) -> Result:
    """What the model reads of a result: its structure where it has one, else its text."""
    texts = [part.text if isinstance(part, TextContent) else f"({part.type})" for part in answer.content]
    text = "\n".join(texts)
    if answer.is_error:
        raise ToolError(text[:ERROR_MAX_CHARS] or "the tool failed")
    structured: Any = answer.structured_content
    if isinstance(structured, Mapping):
        return structured
    return {"result": text if structured is None else structured}


def _reason(error: BaseException | None) -> str:
    """The first of a group is what happened; the others follow from it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is None:
        return "it went away"
    return str(error)[:ERROR_MAX_CHARS] or type(error).__name__


@asynccontextmanager
async def servers_running(
    specs: tuple[tuple[McpServer, SecretStr | None], ...], registry: Registry, *, check_s: float = CHECK_S
) -> AsyncIterator[list[Server]]:
    """All of them; entered once each has listed its tools or had its time to."""
    servers = [Server(spec, secret, registry, check_s=check_s) for spec, secret in specs]
    tasks = [asyncio.create_task(each.run(), name=f"mcp {each.spec.name}") for each in servers]
    try:
        await asyncio.gather(*(_listed(each) for each in servers))
        yield servers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listed(server: Server) -> None:
    try:
        async with asyncio.timeout(server.spec.start_timeout_s):
            await server.listed.wait()
    except TimeoutError:
        log.warning(
            "mcp %s: no list of tools within %g s; calls begin without them",
            server.spec.name,
            server.spec.start_timeout_s,
        )
