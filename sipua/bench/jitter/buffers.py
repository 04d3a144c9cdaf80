"""Receivers of other projects, as far as their waiting goes: models after their sources, and aiortc's real class.

A playout buffer releases each packet at its time, so the wait it imposes is playout time minus arrival time. Delays
are relative to the quickest packet of the recent past, as all of these measure them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket

from rtp.traces import Trace, TracePacket
from sipua.bench.jitter.outcome import Outcome, Times, first_arrivals

NETEQ_WINDOW_S = 2.0
NETEQ_START_MS = 80.0
NETEQ_QUANTILE = 0.95
NETEQ_FORGET = 0.983  # per packet
NETEQ_BUCKET_MS = 20.0
NETEQ_BUCKETS = 100
NETEQ_STRETCH = 0.35  # of real time, what accelerate and preemptive expand can gain at most
ASTERISK_HISTORY = 500
ASTERISK_DROPPED = 0.03
ASTERISK_EXTRA_MS = 40.0
ASTERISK_STEP_MS = 20.0
AIORTC_CAPACITY = 16
AIORTC_PREFETCH = 4
MAX_AHEAD = 100  # packets that are looked at beyond a missing one


def fixed(delay_ms: float) -> Callable[[Trace], Outcome]:
    """A playout at ``delay_ms`` after the quickest packet would have come."""

    def play(trace: Trace) -> Outcome:
        sent = np.array([packet.sent_s for packet in trace.packets])
        arrived = first_arrivals(trace)
        playout = sent + np.nanmin(arrived - sent) + delay_ms / 1000
        return Outcome(np.where(arrived <= playout, playout, np.nan), arrived)

    return play


class _Recent:
    """Delay relative to the quickest packet of the last ``window_s``."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._transits: deque[tuple[float, float]] = deque()  # (time, transit), transits rising

    def relative_ms(self, now: float, transit: float) -> float:
        while self._transits and self._transits[-1][1] >= transit:
            self._transits.pop()
        self._transits.append((now, transit))
        while self._transits[0][0] < now - self._window_s:
            self._transits.popleft()
        return (transit - self._transits[0][1]) * 1000

    @property
    def base(self) -> float:
        return self._transits[0][1]


def neteq(trace: Trace) -> Outcome:
    """WebRTC: a histogram with forgetting of relative delays, its 95 % quantile, time-stretching towards it.

    An empty buffer is expanded until the next packet comes, which is then played late and not dropped.
    """
    histogram = np.zeros(NETEQ_BUCKETS)
    recent = _Recent(NETEQ_WINDOW_S)
    target_ms = NETEQ_START_MS

    def learn(packet: TracePacket, at: float) -> None:
        nonlocal target_ms
        bucket = int(recent.relative_ms(at, at - packet.sent_s) / NETEQ_BUCKET_MS)
        histogram[:] *= NETEQ_FORGET
        histogram[min(bucket, NETEQ_BUCKETS - 1)] += 1 - NETEQ_FORGET
        reached = np.cumsum(histogram) >= NETEQ_QUANTILE * histogram.sum()
        target_ms = (int(np.argmax(reached)) + 1) * NETEQ_BUCKET_MS

    return _adaptive(trace, learn, lambda: target_ms, recent, NETEQ_STRETCH, expands=True)


def asterisk_adaptive(trace: Trace) -> Outcome:
    """Asterisk: the last 500 delays without the top 3 %, and 40 ms; it grows and shrinks by a frame at a time."""
    history: deque[float] = deque(maxlen=ASTERISK_HISTORY)
    recent = _Recent(ASTERISK_HISTORY * 0.02)
    target_ms = ASTERISK_EXTRA_MS

    def learn(packet: TracePacket, at: float) -> None:
        nonlocal target_ms
        history.append(at - packet.sent_s)
        recent.relative_ms(at, at - packet.sent_s)
        ordered = sorted(history)
        kept = ordered[max(0, int(len(ordered) * (1 - ASTERISK_DROPPED)) - 1)]
        target_ms = (kept - ordered[0]) * 1000 + ASTERISK_EXTRA_MS

    return _adaptive(trace, learn, lambda: target_ms, recent, ASTERISK_STEP_MS / 80, expands=False)


def _adaptive(
    trace: Trace,
    learn: Callable[[TracePacket, float], None],
    target_ms: Callable[[], float],
    recent: _Recent,
    stretch: float,
    *,
    expands: bool,
) -> Outcome:
    """Playout in order; its delay moves towards the target by at most ``stretch`` of the time that passes."""
    arrived = first_arrivals(trace)
    handed_over: Times = np.full(len(arrived), np.nan)
    arrivals = trace.arrivals()
    position = 0
    delay: float | None = None  # of the playout against the sending
    for index, packet in enumerate(trace.packets):
        duration = packet.samples / 8000
        horizon = packet.sent_s if delay is None else packet.sent_s + delay
        while position < len(arrivals) and (arrivals[position][0] <= horizon or delay is None):
            at, number = arrivals[position]
            learn(trace.packets[number], at)
            position += 1
            if delay is None:
                delay = at - trace.packets[number].sent_s + target_ms() / 1000
        assert delay is not None
        wanted = recent.base + target_ms() / 1000
        delay += float(np.clip(wanted - delay, -stretch * duration, stretch * duration))
        playout = packet.sent_s + delay
        if arrived[index] <= playout:
            handed_over[index] = playout
        elif (
            expands
            and not np.isnan(arrived[index])
            and not np.any(arrived[index + 1 : index + MAX_AHEAD] <= arrived[index])
        ):
            handed_over[index] = arrived[index]  # nothing newer is there: it is stretched until this comes
            delay = arrived[index] - packet.sent_s
    return Outcome(handed_over, arrived)


def aiortc(trace: Trace) -> Outcome:
    """aiortc's JitterBuffer as its audio receiver makes it: a packet leaves when four newer ones are there."""
    buffer = JitterBuffer(capacity=AIORTC_CAPACITY, prefetch=AIORTC_PREFETCH)
    arrived = first_arrivals(trace)
    handed_over: Times = np.full(len(arrived), np.nan)
    for at, index in trace.arrivals():
        packet = trace.packets[index]
        rtp = RtpPacket(
            payload_type=0,
            sequence_number=packet.sequence_number,
            timestamp=packet.timestamp,
            ssrc=packet.ssrc,
            payload=index.to_bytes(4),
        )
        rtp._data = rtp.payload  # type: ignore[attr-defined]
        _, frame = buffer.add(rtp)
        if frame is not None:
            handed_over[int.from_bytes(frame.data)] = at
    return Outcome(handed_over, arrived)
