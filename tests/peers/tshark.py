"""tshark as a judge of captures: RTP, RTCP and telephone events as somebody else reads them.

Where a capture holds the SIP of a call, tshark takes ports and payload types from its SDP.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STREAM = re.compile(
    r"^\s*[\d.]+\s+[\d.]+\s+(?P<source>\S+)\s+(?P<source_port>\d+)\s+(?P<target>\S+)\s+(?P<target_port>\d+)"
    r"\s+(?P<ssrc>0x[0-9A-F]+)\s+\S.*?\s+(?P<packets>\d+)\s+(?P<lost>-?\d+) \([-\d.]+%\)"
    r"\s+[\d.]+\s+[\d.]+\s+(?P<max_gap>[\d.]+)\s+[\d.]+\s+(?P<jitter>[\d.]+)\s+[\d.]+",
    re.M,
)


@dataclass(frozen=True, slots=True)
class Stream:
    """A line of ``-z rtp,streams``. ``lost`` is RFC 3550's: what came twice makes up for what did not come."""

    source: str
    target: str
    target_port: int
    ssrc: int
    packets: int
    lost: int
    longest_gap_ms: float
    mean_jitter_ms: float


def streams(capture: Path) -> list[Stream]:
    """All RTP streams of a capture."""
    return [
        Stream(
            each["source"], each["target"], int(each["target_port"]), int(each["ssrc"], 16), int(each["packets"]),
            int(each["lost"]), float(each["max_gap"]), float(each["jitter"]),
        )
        for each in STREAM.finditer(_tshark(capture, "-q", "-z", "rtp,streams"))
    ]  # fmt: skip


def stream(capture: Path, source: str) -> Stream:
    """The only one from that address."""
    (found,) = [each for each in streams(capture) if each.source == source]
    return found


def fields(capture: Path, condition: str, *names: str, flags: Sequence[str] = ()) -> list[list[str]]:
    """Those fields of every packet that a display filter lets through."""
    chosen = [word for name in names for word in ("-e", name)]
    text = _tshark(capture, *flags, "-Y", condition, "-T", "fields", *chosen)
    return [line.split("\t") for line in text.splitlines()]


def numbers(capture: Path, condition: str, *names: str, flags: Sequence[str] = ()) -> list[list[int]]:
    """The same where all of them are numbers (of several in a packet the first)."""
    rows = fields(capture, condition, *names, flags=flags)
    return [[int(value.split(",")[0], 0) for value in row] for row in rows]


@dataclass(frozen=True, slots=True)
class Event:
    """One packet of a telephone event."""

    sequence: int
    timestamp: int
    is_marked: bool
    event: int
    is_end: bool
    duration: int


def events(capture: Path, port: int, payload_type: int = 101) -> list[Event]:
    """All telephone events that went to a port, of a capture without SDP."""
    names = (
        "rtp.seq",
        "rtp.timestamp",
        "rtp.marker",
        "rtpevent.event_id",
        "rtpevent.end_of_event",
        "rtpevent.duration",
    )
    flags = ("-d", f"udp.port=={port},rtp", "-d", f"rtp.pt=={payload_type},rtpevent")
    return [
        Event(sequence, timestamp, bool(marker), event, bool(end), duration)
        for sequence, timestamp, marker, event, end, duration in numbers(
            capture, "rtpevent", *names, flags=flags
        )
    ]


def _tshark(capture: Path, *flags: str) -> str:
    done = subprocess.run(
        ["tshark", "-r", str(capture), *flags], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
