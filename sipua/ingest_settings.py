"""The keys of ``[ingest]``: calls that others hold and tell us of by HTTP (docs/ingest.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sipua.section import Section


class IngestSettings(Section):
    """Calls that others hold and tell us of by HTTP: /openai-realtime and what is below it."""

    provider: Literal["twilio", "mtn"] = "twilio"
    """Whose ids their callSid are."""
    audio: Literal["pcm24", "pcmu", "pcma"] = "pcm24"
    """The sound of their sessions; a browser (WebRTC) brings its own."""
    key_s: int = Field(default=600, ge=120, le=7200)
    """How long a session can be opened with the key that they are given, in seconds."""
