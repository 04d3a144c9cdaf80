"""The keys of ``[tracing]``."""

from __future__ import annotations

from pydantic import Field, field_validator

from sipua.safe_url import check_url
from sipua.section import Section


class TracingSettings(Section):
    """A trace of each call, to a receiver of OpenTelemetry's protocol over HTTP. Needs the extra "otel"."""

    endpoint: str = ""
    """Where traces go, such as http://127.0.0.1:4318/v1/traces; empty = nowhere."""
    sample: float = Field(default=1.0, ge=0.0, le=1.0)
    """The share of calls that are traced."""
    headers_file: str = ""
    """A file of headers for the receiver, `Name: value` a line, such as Authorization."""

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value:
            check_url(value, "endpoint")
        return value
