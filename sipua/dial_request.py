"""A call that somebody asks for, by the control channel or otherwise; faults name the key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, ValidationError

from sipua.config_file import describe
from sipua.errand import PURPOSE
from sipua.errors import ConfigError
from sipua.instructions import MAX_CHARS
from sipua.outbound_settings import MESSAGE_MAX, AskedWay
from sipua.section import Section


class DialRequest(Section):
    """One call to be placed. ``until``: what the answer waits for."""

    to: Annotated[str, Field(min_length=1, max_length=64)]
    caller: Annotated[str, Field(alias="from", max_length=64)] = ""
    trunk: Annotated[str, Field(max_length=64)] = ""
    id: UUID | None = None
    language: Annotated[str, Field(pattern=r"^([a-z]{2})?$")] = ""
    purpose: Annotated[str, Field(max_length=PURPOSE.max_chars)] = ""
    instructions: Annotated[str, Field(max_length=MAX_CHARS)] = ""
    message: Annotated[str, Field(max_length=MESSAGE_MAX)] = ""
    answering_machine: AskedWay = ""
    force: bool = False
    until: Literal["placed", "answered", "ended"] = "answered"


def dial_request(values: Mapping[str, Any]) -> DialRequest:
    """Raises ConfigError naming key, value and what is allowed."""
    try:
        return DialRequest.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(describe(error, file=Path("dial"), prefix=None)) from None
