"""Tools by name. A typed one is a class of ours with a pydantic model; one of somebody else's brings a JSON schema.

Names are unique: of two with the same name the first stays, and who adds the second is told. ``replace`` puts in what a
server offers now, in the place of what it offered before: for the calls that begin then.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

from sipua.errors import ConfigError
from sipua.tools.context import ToolContext
from sipua.tools.schema import Arguments, schema_arguments, schema_of, typed_arguments

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # as the Realtime API has it
OWN_SERVER = "sipua"
TOOLS_MAX = 128  # of all; a model is slowed down long before

Result = Mapping[str, Any]


class TypedTool(Protocol):
    """A tool of ours. ``description`` says when to use it, for a model that listens and speaks."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def Arguments(self) -> type[BaseModel]: ...  # noqa: N802 (a class)
    @property
    def timeout_s(self) -> float: ...

    async def run(self, arguments: Any, context: ToolContext) -> Result:
        """``arguments`` is an instance of ``Arguments``. ToolError for what the model can mend or must say."""


@dataclass(frozen=True, slots=True)
class Tool:
    """What the box runs. ``check`` raises ToolError; ``server`` stands in the ledger."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    timeout_s: float
    check: Callable[[Arguments], Any] = field(repr=False)
    run: Callable[[Any, ToolContext], Awaitable[Result]] = field(repr=False)
    server: str = OWN_SERVER

    @property
    def wire(self) -> dict[str, Any]:
        """As ``session.update`` has it."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
        }


def typed(tool: TypedTool) -> Tool:
    model = tool.Arguments
    return Tool(
        tool.name,
        tool.description,
        schema_of(model),
        tool.timeout_s,
        lambda given: typed_arguments(model, given),
        tool.run,
    )


def by_schema(
    name: str,
    description: str,
    parameters: Mapping[str, Any],
    timeout_s: float,
    run: Callable[[Arguments, ToolContext], Awaitable[Result]],
    server: str,
    *,
    is_strangers: bool = False,
) -> Tool:
    """A tool of somebody else's; ``parameters`` are a checked JSON schema. ``is_strangers``: and so are they."""
    return Tool(
        name,
        description,
        parameters,
        timeout_s,
        lambda given: schema_arguments(parameters, given, is_strangers=is_strangers),
        run,
        server,
    )


class Offer(Protocol):
    """What one call is offered."""

    @property
    def approvals(self) -> Mapping[str, tuple[str, ...]]: ...
    def find(self, name: str) -> Tool | None:
        """The tool that a model has named."""

    def wire(self) -> tuple[Mapping[str, Any], ...]:
        """``tools`` of a session that is opened now."""


class Registry:
    """``off`` are names that the operator does not want offered; ``base`` is offered too, and its names are taken."""

    def __init__(self, off: Collection[str] = (), base: Registry | None = None) -> None:
        self._off = frozenset(off)
        self._base = base
        self._by_server: dict[str, dict[str, Tool]] = {}
        self._remote: list[Mapping[str, Any]] = []
        self.approvals: dict[str, tuple[str, ...]] = {}

    def add(self, *tools: TypedTool) -> None:
        """Tools of ours. ConfigError for a name that is taken: both are in the code or in files of the operator."""
        for tool in tools:
            self._add(typed(tool))

    def add_foreign(self, tool: Tool) -> None:
        """As ``add``."""
        self._add(tool)

    def add_remote(self, definition: Mapping[str, Any], approved: tuple[str, ...] = ()) -> None:
        """A server whose tools the voice service calls by itself (``type: mcp``).

        Where it asks before, it may call the ``approved`` ones; ``*`` is all.
        """
        self._remote.append(definition)
        self.approvals[definition["server_label"]] = approved

    def replace(self, server: str, tools: Iterable[Tool]) -> list[str]:
        """What a server offers now; gives what was left out, and why."""
        self._by_server[server] = {}  # its old names are free
        left_out: list[str] = []
        for tool in tools:
            fault = self._fault(tool.name)
            if fault:
                left_out.append(f"{tool.name[:64]}: {fault}")
            else:
                self._by_server[server][tool.name] = tool
        return left_out

    @property
    def remote(self) -> Sequence[Mapping[str, Any]]:
        """Servers that the voice service calls, as sessions have them."""
        return self._remote

    def offered(self) -> dict[str, Tool]:
        """By name."""
        return (self._base.offered() if self._base is not None else {}) | {
            name: tool
            for tools in self._by_server.values()
            for name, tool in tools.items()
            if name not in self._off
        }

    def find(self, name: str) -> Tool | None:
        """The tool that a model has named."""
        return self.offered().get(name)

    def wire(self) -> tuple[Mapping[str, Any], ...]:
        """``tools`` of a session that is opened now."""
        return (*(tool.wire for tool in self.offered().values()), *self._remote)

    def _add(self, tool: Tool) -> None:
        fault = self._fault(tool.name)
        if fault:
            raise ConfigError(f"tool {tool.name!r}: {fault}")
        self._by_server.setdefault(tool.server, {})[tool.name] = tool

    def _fault(self, name: str) -> str:
        if not NAME.fullmatch(name):
            return "not a name; allowed: 1 to 64 letters, digits, _ and -"
        taken = self._taken()
        if name in taken:
            return f"there is one of this name already, of {taken[name]}"
        return f"more than {TOOLS_MAX} tools" if len(taken) >= TOOLS_MAX else ""

    def _taken(self) -> dict[str, str]:
        """Names, and whose they are."""
        own = {each: server for server, tools in self._by_server.items() for each in tools}
        return own | (self._base._taken() if self._base is not None else {})


class Selection:
    """``Offer`` of what a registry has now, without some ``tools`` and ``servers``."""

    def __init__(self, registry: Registry, tools: Collection[str], servers: Collection[str]) -> None:
        self._registry = registry
        self._tools = tools
        self._servers = servers

    @property
    def approvals(self) -> Mapping[str, tuple[str, ...]]:
        return {
            label: names for label, names in self._registry.approvals.items() if label not in self._servers
        }

    def find(self, name: str) -> Tool | None:
        return self._offered().get(name)

    def wire(self) -> tuple[Mapping[str, Any], ...]:
        remote = (each for each in self._registry.remote if each["server_label"] not in self._servers)
        return (*(tool.wire for tool in self._offered().values()), *remote)

    def _offered(self) -> dict[str, Tool]:
        return {
            name: tool
            for name, tool in self._registry.offered().items()
            if name not in self._tools and tool.server not in self._servers
        }
