"""The keys of ``[openai_webhook]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sipua.section import Section


class OpenAIWebhookSettings(Section):
    """OpenAI's webhook at /webhooks/openai, and calls that OpenAI's own SIP terminates (docs/openai-calls.md)."""

    secret_file: str = ""
    """A file with its signing secrets (whsec_…), one a line, several while one is changed; empty = no webhook."""
    incoming: Literal["ignore", "reject", "accept"] = "ignore"
    """A call that comes in at OpenAI: left to others, refused, or taken with our agent."""
    reject_code: int = Field(default=603, ge=400, le=699)
    """The SIP status that a refused caller gets."""
    busy_code: int = Field(default=486, ge=400, le=699)
    """The same where all of max_calls are up, or the process is ending."""
    max_calls: int = Field(default=20, ge=1, le=1000)
    """Such calls at once."""
    max_call_s: int = Field(default=3600, ge=1, le=3600)
    """The longest one; OpenAI ends every session after an hour."""
    rejoin_s: float = Field(default=30.0, ge=0.0, le=300.0)
    """So long a lost sideband connection is opened again; then the call is hung up."""
    dedupe_timeout_s: float = Field(default=1.0, ge=0.1, le=5.0)
    """So long the database is asked whether a webhook has been here; then only this process's memory counts."""

    @model_validator(mode="after")
    def _whole(self) -> OpenAIWebhookSettings:
        if self.incoming != "ignore" and not self.secret_file:
            raise ValueError(f"incoming = {self.incoming!r} wants secret_file: calls come by signed webhooks")
        return self
