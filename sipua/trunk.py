"""Trunk files: ``conf/trunks/NAME.toml``, one trunk each, ``schema = 1``. Unknown keys are an error.

A trunk says who may call us (``inbound_acl``), what is negotiated with it and where its calls go. The trunk issue
adds registration, fail-over and security keys to this model.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError, field_validator

from rtp.codec import CODECS
from sipua.errors import ConfigError
from sipua.settings import describe, read_toml


class Trunk(BaseModel):
    """One trunk, validated and frozen. The docstring of a field is its line in docs/settings.md."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    schema_version: Literal[1] = Field(alias="schema")
    """Version of these key names."""
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    """Name on rows, metrics and the command line; unique in the folder."""
    provider: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    """Whose it is; twilio and mtn have a column for their call id."""
    kind: Literal["static"] = "static"
    """static = known by address, no registration."""
    enabled: bool = True
    """Whether it is used."""
    priority: int = Field(default=10, ge=0, le=65535)
    """Order among the trunks for outbound calls."""
    direction: Literal["both", "inbound", "outbound"] = "both"
    """Which calls it carries."""
    domain: str = ""
    """Where a number without a host is dialled."""
    transport: Literal["udp"] = "udp"
    """SIP transport."""
    inbound_acl: tuple[IPvAnyNetwork, ...] = ()
    """Networks (CIDR) that may call in; the most precise one of all trunks decides, a stranger is answered 403."""
    codecs: Annotated[tuple[str, ...], Field(min_length=1)] = ("PCMU", "PCMA")
    """What may be negotiated; of several that are offered the caller's first wins."""
    ptime: Literal[20] = 20
    """Milliseconds per RTP packet."""
    dtmf: Literal["rfc4733"] = "rfc4733"
    """How keys travel."""
    rtp_timeout_s: float = Field(default=20.0, ge=1.0, le=3600.0)
    """No RTP for so long, while not on hold, ends the call."""
    max_call_s: float = Field(default=3600.0, ge=1.0, le=86_400.0)
    """Longest call."""

    @field_validator("codecs")
    @classmethod
    def _known_codecs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in CODECS]
        if unknown:
            raise ValueError(f"unknown codec {', '.join(unknown)}; allowed: {', '.join(CODECS)}")
        if len(set(value)) < len(value):
            raise ValueError("a codec is named twice")
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
    trunks: dict[str, tuple[Trunk, Path]] = {}
    for file in sorted((conf_dir / "trunks").glob("*.toml")):
        trunk = load_trunk(file)
        if trunk.name in trunks:
            raise ConfigError(f"{file}: name = {trunk.name!r} is already used by {trunks[trunk.name][1]}")
        trunks[trunk.name] = trunk, file
    return tuple(trunk for trunk, _ in trunks.values())


def load_trunk(file: Path) -> Trunk:
    """One trunk file."""
    try:
        return Trunk.model_validate(read_toml(file))
    except ValidationError as error:
        text = describe(error, file=file, prefix=None)
        if any(fault["type"] == "extra_forbidden" for fault in error.errors()):
            names = [field.alias or key for key, field in Trunk.model_fields.items()]
            text += f"\nallowed keys: {', '.join(names)}"
        raise ConfigError(text) from None
