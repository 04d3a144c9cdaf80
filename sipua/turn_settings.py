"""The keys of ``[turns]``."""

from __future__ import annotations

from pydantic import Field

from sipua.idle import IdleRules
from sipua.realtime_settings import VadSettings
from sipua.section import Section
from sipua.turns import TurnRules


class TurnSettings(Section):
    """Whose turn it is to speak."""

    protect_opening: bool = False
    """Whether the first words are said to their end, whatever the caller says meanwhile."""
    pause_ms: int = Field(default=0, ge=0, le=2000)
    """Speech shorter than this only makes the agent pause; 0 = all of it interrupts (above 0: server_vad only)."""
    idle_s: float = Field(default=30.0, ge=0.0, le=600.0)
    """After so much silence since the end of playback the caller is asked whether they are there; 0 = never."""
    idle_prompts: int = Field(default=2, ge=0, le=10)
    """So often; then the agent says goodbye and hangs up."""

    def rules(self, vad: VadSettings) -> TurnRules:
        """Of an interruption."""
        return TurnRules(self.protect_opening, self.pause_ms, vad.prefix_padding_ms, vad.silence_duration_ms)

    @property
    def idle(self) -> IdleRules:
        """Of a caller who says nothing."""
        return IdleRules(self.idle_s, self.idle_prompts)


def fault(turns: TurnSettings, vad: VadSettings) -> str:
    """What contradicts itself; "" if nothing does."""
    if turns.pause_ms and vad.kind != "server_vad":
        return (
            f"turns.pause_ms = {turns.pause_ms}: how long speech was is not known with realtime.vad.kind = "
            f"{vad.kind!r}; allowed: server_vad, or pause_ms = 0"
        )
    return ""
