"""Tools of others: their files, and whether what stands behind them answers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from pathlib import Path

from pydantic import SecretStr

from sipua.checks.reached import reached as connected
from sipua.checks.report import Check
from sipua.errors import ConfigError
from sipua.settings import Settings
from sipua.tools.files import McpServer, ToolFiles, load_tool_files
from sipua.tools.registry import Registry


async def tools(folder: Path, settings: Settings, trunks: Collection[str]) -> list[Check]:
    """None if there is no file of one. MCP servers are started, HTTP services only connected to."""
    try:
        files = load_tool_files(folder)
    except ConfigError as error:
        return [Check("tools", "fail", str(error), "mend the file, or set enabled = false", True)]
    if files == ToolFiles():
        return []
    off = ", ".join(sorted(settings.tools.names_off))
    names = [tool.name for group in (files.http, files.servers, files.remote) for tool, _ in group]
    names += [tool.name for tool in files.own]
    found = Check("tools", "ok", ", ".join(names) + (f"; off: {off}" if off else ""))
    strangers = [f"{name} ({trunk})" for name, trunk in files.trunks_named() if trunk not in trunks]
    if strangers:
        todo = "mend `trunks` in its file: on no call is it offered by that name"
        found = Check("tools", "warn", f"no such trunk: {', '.join(strangers)}", todo)
    reached = await asyncio.gather(*(connected(f"tools {tool.name}", tool.url) for tool, _ in files.http))
    return [found, *reached, *await _servers(files.servers)]


async def _servers(specs: Iterable[tuple[McpServer, SecretStr | None]]) -> list[Check]:
    specs = tuple(specs)
    if not specs:
        return []
    from sipua.tools.mcp import servers_running  # 0.8 s of processor time, for those who need it

    registry = Registry()
    async with servers_running(specs, registry) as servers:
        return [_listed(each.spec, registry, is_listed=each.listed.is_set()) for each in servers]


def _listed(spec: McpServer, registry: Registry, *, is_listed: bool) -> Check:
    name = f"tools {spec.name}"
    if not is_listed:
        where = spec.url or spec.command[0]
        detail = f"{where}: no list of tools within {spec.start_timeout_s:g} s"
        return Check(name, "fail", detail, "start it by hand and look at what it says")
    offered = [tool for tool, each in registry.offered().items() if each.server == spec.name]
    missing = [tool for tool in spec.tools if tool not in offered]
    if missing or not offered:
        todo = "mend tools in its file; a name that is taken cannot be offered twice"
        return Check(name, "warn", f"not offered: {', '.join(missing) or 'anything'}", todo)
    return Check(name, "ok", ", ".join(offered))
