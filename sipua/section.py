"""What every table of a settings file is."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _known_zone(name: str) -> str:
    try:
        if name:
            ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # a path, a folder, none of its names
        raise ValueError("there is no such time zone; allowed: names such as Africa/Kigali") from None
    return name


Milliseconds = Annotated[int, Field(ge=0, le=60_000)]
ZoneName = Annotated[str, AfterValidator(_known_zone)]  # "": not said


class Section(BaseModel):
    """A table of the file: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
