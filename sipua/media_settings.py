"""The keys of ``[rtp]`` and ``[keys]``: the sockets and the sound of calls, and what callers press."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rtp.ports import QUIET_S
from rtp.reorder import DEFAULT_MAX_WAIT_MS
from rtp.source import RELATCH_WINDOW_S
from sipua.section import Section

Port = Annotated[int, Field(ge=0, le=65535)]


class RtpSettings(Section):
    """Media."""

    bind: str = ""
    """Address of the RTP sockets; empty = that of SIP."""
    port_min: Port = 16000  # below Linux's ephemeral range (32768…), which would steal ports
    """First port; two a call. Both ports 0 = any free pair."""
    port_max: Port = 16999
    """Last port."""
    max_wait_ms: int = Field(default=round(DEFAULT_MAX_WAIT_MS), ge=0, le=1000)
    """Longest wait for a missing packet; how long is really waited is learnt from each call's line."""
    comfort_noise: bool = False
    """Faint noise (-60 dBm0) towards the phone while the agent says nothing, instead of digital silence."""
    hear_comfort_noise: bool = False
    """A phone's comfort noise (RFC 3389) reaches the voice service as noise of that level, instead of silence."""
    relatch_window_s: float = Field(default=RELATCH_WINDOW_S, ge=0, le=60)
    """So long after it was taken the peer may move its RTP source without a word of SIP; then only after silence."""
    port_quiet_s: float = Field(default=QUIET_S, ge=0, le=300)
    """So long after a call its port pair is not used; with no other left, calls get 503 with Retry-After."""

    @field_validator("bind")
    @classmethod
    def _address(cls, value: str) -> str:
        if value:
            ipaddress.ip_address(value)
        return value

    @model_validator(mode="after")
    def _ordered(self) -> RtpSettings:
        if (self.port_min == 0) != (self.port_max == 0):
            raise ValueError(
                f"port_min {self.port_min} and port_max {self.port_max}: both are 0 (any free port) or neither"
            )
        if self.port_min and self.port_max <= self.port_min:
            raise ValueError(
                f"port_max {self.port_max} leaves no RTP/RTCP pair above port_min {self.port_min}"
            )
        return self


class KeySettings(Section):
    """Keys that the caller presses: the voice service is told of them as text, entry by entry."""

    timeout_s: float = Field(default=2.5, ge=0.5, le=30.0)
    """An entry is complete when no key has followed for so long."""
    end: Literal["", "#", "*"] = "#"
    """Key that completes it at once; empty = none."""
    most: int = Field(default=32, ge=1, le=64)
    """So many keys complete it too."""
    interrupt: bool = False
    """Whether a key silences the agent, as the caller's voice does."""
    ledger: Literal["count", "keys"] = "count"
    """What the transcript shows: how many, or which; they may be the number of a card."""
