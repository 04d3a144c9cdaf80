"""For how long rows are kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sipua.section import Section

Days = Annotated[int, Field(ge=0, le=36_500)]


class RetentionSettings(Section):
    """Days after which rows are deleted, by table; 0 = they are kept. Recordings: recording.keep_days."""

    at: str = Field(default="03:30", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    """When serve deletes, on the clock of `timezone`; after a night without it ten minutes after the start."""
    voice_calls: Days = 0
    """Calls, by their end; all other rows of a call go with it."""
    transcripts: Days = 0
    """What was said, also in the row of the call."""
    voice_events: Days = 0
    """The history of calls."""
    openai_sessions: Days = 0
    """Voice sessions, with their instructions."""
    mcp_tool_calls: Days = 0
    """Arguments and results of tools."""
    call_consents: Days = 0
    """Answers to the consent question: the proof."""
    call_attempts: Days = 0
    """INVITEs of outbound calls."""
    voice_memories: Days = 0
    """What is remembered of callers, by when they last called."""
    wa_threads: Days = 0
    """WhatsApp threads, by their last message."""
    wa_messages: Days = 0
    """That messages came and went; not what they said, which is kept nowhere."""
    service_requests: Days = 0
    """Orders, whatever became of them."""
    callback_requests: Days = 0
    """Call-back requests, whatever became of them."""
    trunk_changes: Days = 0
    """The history of trunks."""
    drill_runs: Days = 0
    """Results of drills."""
    webhooks: Days = 30
    """Webhooks that came; a sender repeats one for days, and it is known again by its row."""
    processes: Days = 90
    """Processes that have ended, with how far their rows had come; a spool that lay longer may be written twice."""

    def days(self) -> dict[str, int]:
        """Of the tables whose rows go."""
        return {
            name: value
            for name in type(self).model_fields
            if name != "at" and isinstance(value := getattr(self, name), int) and value > 0
        }
