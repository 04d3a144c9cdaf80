"""Digits as RFC 4733 telephone events, in and out.

In: one key press is many packets with the same timestamp and a growing duration; its last packet is sent
three times with the end bit. The timestamp is the identity: the marker bit is not needed (trunks forget it),
and end packets are duplicates by rule. A press whose end packets were all lost is reported when the next one
begins or after a pause. A press longer than 0xFFFF samples continues as a new segment (§2.5.1.3); senders that know
nothing of segments let the duration stand or wrap, and that is one press too.

Out: one packet per tick while the key is down, three times the last one, then a pause in which audio flows.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass

from .errors import PacketError

DIGITS = "0123456789*#ABCD"  # events 0–15, RFC 4733 §3.2
EVENT_PAYLOAD = struct.Struct("!BBH")
END_BIT = 0x80
END_PACKETS = 3  # RFC 4733 §2.5.1.4
SEGMENT_MAX = 0xFFFF  # timestamp units, RFC 4733 §2.5.1.3
SEGMENT_SLACK = 800  # some end a segment at the last packet before or the first beyond, up to 100 ms away
LOST_END_S = 0.3  # no packet of a press for so long: its end was lost
MEMORY_S = 1.0  # an ended press is known for so long; players of recorded digits reuse timestamps


def keys_of(digits: str) -> str:
    """In capitals. Raises ValueError for a character that is no key, or none at all."""
    unknown = sorted(set(digits.upper()) - set(DIGITS))
    if unknown or not digits:
        raise ValueError(f"digits must be of {DIGITS}, not {''.join(unknown) or 'empty'!r}")
    return digits.upper()


@dataclass(frozen=True, slots=True)
class TelephoneEvent:
    """The payload of RFC 4733 §2.3; ``duration`` in timestamp units, ``volume`` in −dBm0."""

    event: int
    end: bool
    volume: int
    duration: int

    @classmethod
    def parse(cls, payload: bytes) -> TelephoneEvent:
        """Raises PacketError (``bad_event``) below 4 bytes; what follows them is ignored."""
        if len(payload) < EVENT_PAYLOAD.size:
            raise PacketError("bad_event", f"telephone event of {len(payload)} bytes, it has 4")
        event, flags, duration = EVENT_PAYLOAD.unpack_from(payload)
        return cls(event, bool(flags & END_BIT), flags & 0x3F, duration)

    def serialize(self) -> bytes:
        """The four bytes on the wire."""
        return EVENT_PAYLOAD.pack(self.event, self.end << 7 | self.volume, self.duration)


@dataclass(frozen=True, slots=True)
class Digit:
    """One key press."""

    digit: str
    duration_ms: int


class DtmfReceiver:
    """Key presses from telephone-event packets; ``now`` in seconds."""

    __slots__ = (
        "_clock_rate",
        "_done",
        "_duration",
        "_event",
        "_last",
        "_segments",
        "_start",
        "duplicates",
        "unknown",
    )

    def __init__(self, clock_rate: int = 8000) -> None:
        self.duplicates = 0  # packets of a press that had been reported
        self.unknown = 0  # packets of events that are no digit (flash hook, tones)
        self._clock_rate = clock_rate
        self._event: int | None = None
        self._start = 0
        self._segments: deque[int] = deque(maxlen=2)  # timestamps of the last ones
        self._duration = 0
        self._last = 0.0
        self._done: deque[tuple[int, int, float]] = deque(maxlen=16)  # timestamp, event, last seen

    def receive(self, payload: bytes, timestamp: int, now: float) -> list[Digit]:
        """Take one packet; returns the presses that are complete with it. Raises PacketError."""
        report = TelephoneEvent.parse(payload)
        if report.event >= len(DIGITS):
            self.unknown += 1
            return []
        digits = self.expire(now)
        if self._was_reported(timestamp, report.event, now):
            self.duplicates += 1
            return digits
        if self._event is not None and not self._continues(report, timestamp):
            digits += self._finish(now)
        if self._event is None:
            self._event = report.event
            self._start = timestamp
            self._segments.append(timestamp)
            self._duration = 0
        elapsed = (timestamp - self._start) & 0xFFFFFFFF
        self._duration = max(self._duration, elapsed + report.duration)
        self._last = now
        if report.end:
            digits += self._finish(now)
        return digits

    def _continues(self, report: TelephoneEvent, timestamp: int) -> bool:
        if report.event != self._event:
            return False
        if timestamp in self._segments:
            return True
        ahead = (timestamp - self._segments[-1]) & 0xFFFFFFFF
        if abs(ahead - SEGMENT_MAX) > SEGMENT_SLACK:
            return False
        self._segments.append(timestamp)
        return True

    def _was_reported(self, timestamp: int, event: int, now: float) -> bool:
        for index, (known, known_event, seen) in enumerate(self._done):
            if known == timestamp and known_event == event and now - seen < MEMORY_S:
                self._done[index] = (known, known_event, now)
                return True
        return False

    def _finish(self, now: float) -> list[Digit]:
        event = self._event
        if event is None:
            return []
        self._done += [(segment, event, now) for segment in self._segments]
        self._segments.clear()
        self._event = None
        return [Digit(DIGITS[event], self._duration * 1000 // self._clock_rate)]

    def deadline(self) -> float | None:
        """When ``expire`` must be called next, if nothing comes before."""
        return None if self._event is None else self._last + LOST_END_S

    def expire(self, now: float) -> list[Digit]:
        """The press whose end never came, once it is clear."""
        deadline = self.deadline()
        return self._finish(now) if deadline is not None and now >= deadline else []


@dataclass(frozen=True, slots=True)
class EventPacket:
    """What the pacer sends in place of audio in one tick."""

    payload: bytes
    marker: bool
    timestamp: int


class DtmfSender:
    """Plays ``digits`` tick by tick. ``is_done`` once the last pause is over."""

    __slots__ = (
        "_digits",
        "_event",
        "_pause",
        "_pause_ticks",
        "_press_ticks",
        "_start",
        "_step",
        "_tick",
        "volume",
    )

    def __init__(
        self,
        digits: str,
        *,
        duration_ms: int = 120,
        pause_ms: int = 80,
        ptime_ms: int = 20,
        clock_rate: int = 8000,
        volume: int = 10,
    ) -> None:
        """Raises ValueError for a character that is no digit or a press longer than one segment."""
        keys = keys_of(digits)
        self._step = clock_rate * ptime_ms // 1000
        self._press_ticks = max(1, -(-duration_ms // ptime_ms))
        self._pause_ticks = max(1, -(-pause_ms // ptime_ms))
        if self._press_ticks * self._step > SEGMENT_MAX:
            raise ValueError(
                f"duration_ms must be at most {SEGMENT_MAX * 1000 // clock_rate}, not {duration_ms}"
            )
        self._digits = deque(DIGITS.index(key) for key in keys)
        self.volume = volume
        self._event: int | None = None
        self._start = 0
        self._tick = 0
        self._pause = 0

    @property
    def is_done(self) -> bool:
        """Every digit and pause has been played."""
        return self._event is None and not self._digits and not self._pause

    def next_packet(self, timestamp: int) -> EventPacket | None:
        """The packet of the tick whose RTP clock stands at ``timestamp``; None in a pause, for audio."""
        if self._pause:
            self._pause -= 1
            return None
        if self._event is None:
            if not self._digits:
                return None
            self._event = self._digits.popleft()
            self._start = timestamp
            self._tick = 0
        self._tick += 1
        ends = self._tick - self._press_ticks + 1  # 1 for the first packet with the end bit
        duration = min(self._tick, self._press_ticks) * self._step
        report = TelephoneEvent(self._event, ends >= 1, self.volume, duration)
        if ends >= END_PACKETS:
            self._event = None
            self._pause = self._pause_ticks
        return EventPacket(report.serialize(), self._tick == 1, self._start)
