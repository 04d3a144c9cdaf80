"""``tools/*.toml`` of the configuration folder: tools of others, and where they are. One file each.

``kind = "http"``: one tool, forwarded. ``kind = "mcp"``: a server of ours (a command, or a URL), whose tools we call.
``kind = "remote-mcp"``: a server that the voice service calls by itself. ``kind = "own"``: where a tool of ours is
offered. A secret is named, never written here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from sipua.config_file import check_signing_secret, describe, read_secret, read_toml
from sipua.errors import ConfigError
from sipua.safe_url import check_url
from sipua.section import Section
from sipua.tools.registry import OWN_SERVER
from sipua.tools.schema import checked_schema

FOLDER = "tools"
FILES_MAX = 64

ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Description = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1024)]


# Those that the code brings (held against docs/tools.md).
OWN_TOOLS = (
    "book_transport", "forget", "hang_up", "record_consent", "remember", "request_callback", "search_services",
    "send_whatsapp", "set_language", "transfer_to_human", "wrap_up",
)  # fmt: skip


class _Place(Section):
    enabled: bool = True
    """false: as if the file were not there."""
    trunks: tuple[str, ...] = ()
    """Names of the trunks on whose calls it is offered; empty: all. A chat has none."""
    numbers: tuple[str, ...] = ()
    """Numbers of ours, in E.164, on whose calls it is offered (dialled, or presented by us); empty: all."""

    @field_validator("numbers")
    @classmethod
    def _e164(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for number in value:
            if not re.fullmatch(r"\+[1-9][0-9]{5,14}", number):
                raise ValueError(f'{number!r}: allowed: E.164, such as "+250788000001"')
        return value

    def is_offered(self, trunk: str, number: str | None) -> bool:
        """On calls by that trunk, to (or from) that number of ours."""
        return (not self.trunks or trunk in self.trunks) and (not self.numbers or number in self.numbers)


class OwnTool(_Place):
    """Where one of our tools is offered."""

    kind: Literal["own"]
    name: str

    @field_validator("name")
    @classmethod
    def _ours(cls, value: str) -> str:
        if value not in OWN_TOOLS:
            raise ValueError(f"{value!r} is no tool of ours; allowed: {', '.join(OWN_TOOLS)}")
        return value


class _File(_Place):
    secret_env: str = Field(default="", pattern=r"^[A-Za-z0-9_]*$")
    """The environment name that holds the secret."""
    secret_file: str = ""
    """Or the file that does."""

    @model_validator(mode="after")
    def _one_secret(self) -> _File:
        if self.secret_env and self.secret_file:
            raise ValueError("secret_env and secret_file: one of them")
        return self

    @property
    def has_secret(self) -> bool:
        return bool(self.secret_env or self.secret_file)


class HttpTool(_File):
    """A tool behind a URL: a signed POST with its arguments, answered by JSON."""

    kind: Literal["http"]
    name: ToolName
    description: Description
    """For the model: what it does, and when to use it."""
    parameters: dict[str, Any] = Field(default={})
    """JSON schema of the arguments, as a table."""
    url: str
    """https; http only on this machine or in a private network."""
    timeout_s: float = Field(default=8.0, ge=0.5, le=60.0)
    """The model is told after so long; the caller waits."""

    @model_validator(mode="after")
    def _signed(self) -> HttpTool:
        check_url(self.url)
        if not self.has_secret:
            raise ValueError("secret_env or secret_file: requests are signed")
        return self


class McpServer(_File):
    """A Model Context Protocol server whose tools we call."""

    kind: Literal["mcp"]
    name: Label
    command: tuple[str, ...] = ()
    """A program and its arguments; started, watched and restarted by us (stdio)."""
    env: dict[str, str] = Field(default={})
    """For the program; the secret is added under the name of secret_env."""
    cwd: str = ""
    """Its working directory."""
    url: str = ""
    """Or a server that runs already (streamable HTTP); the secret is its Bearer token."""
    tools: tuple[str, ...] = ()
    """Those of its tools that are offered; empty: all."""
    timeout_s: float = Field(default=10.0, ge=0.5, le=60.0)
    """Of one call."""
    start_timeout_s: float = Field(default=10.0, ge=0.5, le=60.0)
    """So long `serve` waits for its list of tools before it takes calls without them."""

    @model_validator(mode="after")
    def _one_way(self) -> McpServer:
        if self.name == OWN_SERVER:
            raise ValueError(f"name = {self.name!r}: our own tools have it in the ledger")
        if bool(self.command) == bool(self.url):
            raise ValueError("command or url: one of them")
        if self.url:
            check_url(self.url)
        if self.url and (self.env or self.cwd):
            raise ValueError("env and cwd belong to a command")
        if self.command and self.secret_file:
            raise ValueError("secret_file does not belong to a command: use secret_env")
        return self


class RemoteMcp(_File):
    """A Model Context Protocol server that the voice service calls; it must be reachable from there."""

    kind: Literal["remote-mcp"]
    name: Label
    description: str = Field(default="", max_length=1024)
    """For the model."""
    url: str
    """https, as the voice service reaches it; the secret is its OAuth access token."""
    tools: tuple[str, ...] = ()
    """Those of its tools that may be called; empty: all."""
    approval: Literal["never", "approve", "refuse"] = "never"
    """never: called without asking us; approve: we are asked, and say yes; refuse: we say no."""

    @model_validator(mode="after")
    def _reachable(self) -> RemoteMcp:
        check_url(self.url)
        return self

    @property
    def approved(self) -> tuple[str, ...]:
        """What may be called where we are asked; ``*`` is all."""
        return (self.tools or ("*",)) if self.approval == "approve" else ()

    def wire(self, secret: SecretStr | None) -> dict[str, Any]:
        """As ``session.update`` has it."""
        definition: dict[str, Any] = {
            "type": "mcp",
            "server_label": self.name,
            "server_url": self.url,
            "require_approval": "never" if self.approval == "never" else "always",
        }
        if self.description:
            definition["server_description"] = self.description
        if self.tools:
            definition["allowed_tools"] = list(self.tools)
        if secret is not None:
            definition["authorization"] = secret.get_secret_value()
        return definition


AnyTool = HttpTool | McpServer | RemoteMcp | OwnTool
_KINDS: Mapping[str, type[AnyTool]] = {
    "http": HttpTool,
    "mcp": McpServer,
    "remote-mcp": RemoteMcp,
    "own": OwnTool,
}


@dataclass(frozen=True, slots=True)
class ToolFiles:
    """What is enabled, with its secret."""

    http: tuple[tuple[HttpTool, SecretStr], ...] = ()
    servers: tuple[tuple[McpServer, SecretStr | None], ...] = ()
    remote: tuple[tuple[RemoteMcp, SecretStr | None], ...] = ()
    own: tuple[OwnTool, ...] = ()

    def trunks_named(self) -> list[tuple[str, str]]:
        """Tool or server, and a trunk that its file names."""
        groups = (self.http, self.servers, self.remote)
        places: list[AnyTool] = [*(each for group in groups for each, _ in group), *self.own]
        return [(each.name, trunk) for each in places for trunk in each.trunks]

    def left_out(self, trunk: str, number: str | None) -> tuple[frozenset[str], frozenset[str]]:
        """Tools and servers that a call by that trunk, with that number of ours, is not offered."""
        tools: list[OwnTool | HttpTool] = [*self.own, *(tool for tool, _ in self.http)]
        servers: list[McpServer | RemoteMcp] = [
            *(server for server, _ in self.servers),
            *(server for server, _ in self.remote),
        ]
        return _elsewhere(tools, trunk, number), _elsewhere(servers, trunk, number)


def _elsewhere(
    places: Sequence[OwnTool | HttpTool | McpServer | RemoteMcp], trunk: str, number: str | None
) -> frozenset[str]:
    return frozenset(each.name for each in places if not each.is_offered(trunk, number))


NO_TOOL_FILES = ToolFiles()


def load_tool_files(conf_dir: Path) -> ToolFiles:
    """Raises ConfigError naming file, key, value and what is allowed."""
    http: list[tuple[HttpTool, SecretStr]] = []
    servers: list[tuple[McpServer, SecretStr | None]] = []
    remote: list[tuple[RemoteMcp, SecretStr | None]] = []
    own: list[OwnTool] = []
    files = sorted((conf_dir / FOLDER).glob("*.toml"))
    if len(files) > FILES_MAX:
        raise ConfigError(f"{conf_dir / FOLDER}: {len(files)} files; allowed: {FILES_MAX}")
    owners: dict[str, Path] = {}
    for file in files:
        tool = _read(file)
        if not tool.enabled:
            continue
        if tool.name in owners:
            raise ConfigError(f"{file}: name = {tool.name!r}: {owners[tool.name]} has it already")
        owners[tool.name] = file
        if isinstance(tool, OwnTool):
            own.append(tool)
            continue
        key = "secret_file" if tool.secret_file else "secret_env"
        secret = read_secret(f"{file}: {key}", tool.secret_env, tool.secret_file) if tool.has_secret else None
        match tool:
            case HttpTool():
                assert secret is not None
                http.append((tool, check_signing_secret(f"{file}: {key}", secret)))
            case McpServer():
                servers.append((tool, secret))
            case RemoteMcp():
                remote.append((tool, secret))
    return ToolFiles(tuple(http), tuple(servers), tuple(remote), tuple(own))


def _read(file: Path) -> AnyTool:
    data = read_toml(file)
    if "kind" not in data:
        raise ConfigError(f"{file}: the key 'kind' is missing; allowed: {', '.join(_KINDS)}")
    model = next((model for kind, model in _KINDS.items() if kind == data["kind"]), None)
    if model is None:
        raise ConfigError(f"{file}: kind = {data['kind']!r}: allowed: {', '.join(_KINDS)}")
    try:
        tool = model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(describe(error, file=file, model=model)) from None
    if isinstance(tool, HttpTool):
        schema = checked_schema(tool.parameters, f"{file}: parameters")
        return tool.model_copy(update={"parameters": schema})
    return tool
