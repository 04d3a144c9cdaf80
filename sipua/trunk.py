"""Trunk files: ``conf/trunks/NAME.toml``, one trunk each, ``schema = 1``. Unknown keys are an error.

A trunk says who may call us (``inbound_acl``), what is negotiated with it and where its calls go. The trunk issue
adds registration, fail-over and security keys to this model.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError, field_validator

from rtp.codec import CODECS
from sipua.errors import ConfigError
from sipua.settings import describe


class Trunk(BaseModel):
    """One trunk, validated and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)

    schema_version: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    provider: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    kind: Literal["static"] = "static"
    enabled: bool = True
    priority: int = Field(default=10, ge=0, le=65535)
    direction: Literal["both", "inbound", "outbound"] = "both"
    domain: str = ""
    transport: Literal["udp"] = "udp"
    inbound_acl: tuple[IPvAnyNetwork, ...] = ()
    codecs: Annotated[tuple[str, ...], Field(min_length=1)] = ("PCMU", "PCMA")
    ptime: Literal[20] = 20
    dtmf: Literal["rfc4733"] = "rfc4733"
    rtp_timeout_s: float = Field(default=20.0, ge=1.0, le=3600.0)
    max_call_s: float = Field(default=3600.0, ge=1.0, le=86_400.0)

    @field_validator("codecs")
    @classmethod
    def _known_codecs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in CODECS]
        if unknown:
            raise ValueError(f"unknown codec {', '.join(unknown)}; allowed: {', '.join(CODECS)}")
        return value

    def admits(self, address: str) -> int:
        """Length of the longest ACL prefix that holds ``address``; -1 if none (or the trunk takes no calls)."""
        if not self.enabled or self.direction == "outbound":
            return -1
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return -1
        return max((net.prefixlen for net in self.inbound_acl if ip in net), default=-1)


def find_inbound(trunks: Sequence[Trunk], address: str) -> Trunk | None:
    """The trunk whose ACL names the source most precisely; the first file of equals; None for a stranger."""
    best: Trunk | None = None
    longest = -1
    for trunk in trunks:
        length = trunk.admits(address)
        if length > longest:
            best, longest = trunk, length
    return best


def load_trunks(conf_dir: Path) -> tuple[Trunk, ...]:
    """Every ``conf_dir/trunks/*.toml`` in name order. Raises ConfigError naming file, key and what is allowed."""
    trunks: list[Trunk] = []
    for file in sorted((conf_dir / "trunks").glob("*.toml")):
        trunk = load_trunk(file)
        twin = next((t for t in trunks if t.name == trunk.name), None)
        if twin is not None:
            raise ConfigError(f"{file}: name = {trunk.name!r} is already used by another file of this folder")
        trunks.append(trunk)
    return tuple(trunks)


def load_trunk(file: Path) -> Trunk:
    """One trunk file."""
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    try:
        return Trunk.model_validate(data)
    except ValidationError as error:
        text = describe(error, file=file, prefix=None)
        if any(fault["type"] == "extra_forbidden" for fault in error.errors()):
            names = [field.alias or key for key, field in Trunk.model_fields.items()]
            text += f"\nallowed keys: {', '.join(names)}"
        raise ConfigError(text) from None
