"""What was measured of a call's media, both ways, as plain values. No I/O and no clock.

What nothing was measured of is None: a call without a packet has no quality, and a peer that sends no RTCP reports no
loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rtp.events import RemoteReport
from rtp.playout import PlayoutCounters
from rtp.quality import Quality


@dataclass(frozen=True, slots=True)
class FarEnd:
    """How the far end received us, by its last report (RFC 3550 §6.4.1). ``rtt_ms`` None: it saw none of ours."""

    lost: int  # packets since the beginning
    lost_percent: float
    jitter_ms: float
    rtt_ms: float | None

    @classmethod
    def of(cls, report: RemoteReport, sent: int, before: FarEnd | None) -> FarEnd:
        """``sent`` is how many packets had left when the report came; a round trip once known stays so."""
        lost = max(0, report.lost)  # duplicates can make it negative
        rtt_ms = report.rtt_ms
        if rtt_ms is None and before is not None:
            rtt_ms = before.rtt_ms
        percent = min(100.0, 100 * lost / sent) if sent else 0.0
        rounded = None if rtt_ms is None else round(rtt_ms, 1)
        return cls(lost, round(percent, 2), round(report.jitter_ms, 3), rounded)


@dataclass(frozen=True, slots=True)
class PlayoutFigures:
    """What became of the agent's speech; ``frames`` by kind, ``dropped_s`` by why."""

    frames: Mapping[str, int] = field(default_factory=dict)
    underruns: int = 0
    dropped_s: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, counted: PlayoutCounters, bytes_per_s: int) -> PlayoutFigures:
        dropped = {
            "interrupted": counted.flushed_bytes,
            "late": counted.after_flush_bytes,
            "overflow": counted.overflow_bytes,
        }
        return cls(
            {"spoken": counted.frames, "padded": counted.padded, "faded": counted.faded},
            counted.underruns,
            {why: round(size / bytes_per_s, 3) for why, size in dropped.items()},
        )


NOTHING_SAID = PlayoutFigures()


@dataclass(frozen=True, slots=True)
class MediaFigures:
    """Packets both ways, what the receive buffer did, and how good that was.

    ``lost`` never came; the buffer's ``lost`` is what it gave up, whether that came late or never. ``quality`` is of
    what we heard, ``far_end`` what the other side says of us.
    """

    sent: int = 0
    received: int = 0
    lost: int = 0
    late: int = 0
    jitter_ms: float | None = None
    concealed_frames: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)  # by kind
    buffer: Mapping[str, float | None] = field(default_factory=dict)  # as ``rtp.uplink.Uplink.statistics``
    quality: Quality | None = None
    far_end: FarEnd | None = None
    playout: PlayoutFigures = NOTHING_SAID

    def as_dict(self) -> dict[str, Any]:
        """For rows and JSON: nested, rounded, ``dropped`` as a sum."""
        document = asdict(self) | {"dropped": sum(self.dropped.values())}
        if self.quality is not None:
            document["quality"] = {name: round(value, 2) for name, value in document["quality"].items()}
        return document
