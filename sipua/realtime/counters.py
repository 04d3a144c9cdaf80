"""What one session counted: plain numbers for metrics, written by the core and the client, read by anyone."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """``events`` has one entry per known wire type; a peer cannot make it grow with types of its own."""

    events: dict[str, int] = field(default_factory=dict)
    bytes_received: int = 0
    bytes_sent: int = 0
    appends_sent: int = 0
    appends_dropped: int = 0
    controls_sent: int = 0
    unknown: int = 0
    invalid: int = 0
    late_audio_dropped: int = 0
    duplicate_audio_dropped: int = 0
    event_queue_overflows: int = 0
    waiting: int = 0  # messages that the connection has not taken
