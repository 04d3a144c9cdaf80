"""Puts packets back in order: hands on at once what is in order, waits only for a gap.

A machine listener needs no isochronous sound, so there is no play-out delay: a packet that continues the
sequence leaves in the call that brought it. A packet beyond a gap is held until the missing one comes or is given
up; then a ``Gap`` stands for it. How long a gap is waited for: as long as the recent past says that it pays
(``patience``), not longer than the latest arrivals of the recent past were late (``arrival``), and at most
``max_wait_ms``. The gap's ``samples`` come from the timestamps on both sides, so the listener's clock stays true
whatever the ptime.

A silent stretch without loss (DTX, telephone events) is a ``Gap`` with ``packets == 0``.

A timestamp step is believed if it is no longer than the time that really passed (plus a margin); else the
sender's clock was reset and the packets known to be lost count, to the same bound, or else the time that passed:
numbers alone cannot make sound of seconds that never were, nor many of them together more than ``CREDIT_S``. A
sequence jump is believed when the next packet continues it (RFC 3550 A.1). No I/O and no clock: ``now`` is an argument
in seconds. A change of SSRC is the caller's to see: it calls ``restart``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .arrival import ArrivalDelay, DelayHistogram
from .codec import Codec
from .patience import GapPatience

MAX_DROPOUT = 3000  # packets ahead, RFC 3550 A.1
MAX_MISORDER = 100  # packets behind, RFC 3550 A.1
HISTORY = 128  # sequence numbers whose fate is known, to tell a duplicate from a late packet
STEP_MARGIN_S = 1.0  # how much longer than the time that passed a gap may be
DEFAULT_MAX_WAIT_MS = 200.0  # a bound; what is really waited is learnt
CREDIT_S = 5.0  # how much longer than all the time that passed all sound may be
CREDIT_RATE = 1.001  # of the time that passes: a sender's clock may be fast
KNOWN_AFTER_S = 1.0  # of arrivals: from then on their delays bound the wait
LATEST_MARGIN_S = 0.005
LEAST_WAIT_S = 0.002  # packets swapped back to back, in a switch or a network card


class Frame:
    """One packet in its place; ``sequence`` is extended beyond 16 bits, ``samples`` 0 if it has no audio."""

    __slots__ = ("arrival", "codec", "marker", "payload", "samples", "sequence", "timestamp")

    def __init__(
        self,
        sequence: int,
        timestamp: int,
        payload: bytes,
        marker: bool,
        samples: int,
        arrival: float,
        codec: Codec | None = None,
    ) -> None:
        self.sequence = sequence
        self.timestamp = timestamp
        self.payload = payload
        self.marker = marker
        self.samples = samples
        self.arrival = arrival
        self.codec = codec  # of the payload, where it has to be converted once it is in order

    def __repr__(self) -> str:
        return f"Frame({self.sequence}, ts={self.timestamp}, samples={self.samples})"


@dataclass(frozen=True, slots=True)
class Gap:
    """``samples`` of sound are missing here; ``packets`` were lost (0: the sender was silent)."""

    samples: int
    packets: int


@dataclass(slots=True)
class ReorderCounters:
    """Named as re_jbuf.h names them. Each arrival is one of: in order or held (``put``), dup, late."""

    put: int = 0  # accepted
    get: int = 0  # handed on
    ooo: int = 0  # accepted although a later one had come before
    dup: int = 0  # had been there already
    late: int = 0  # its gap had been given up
    lost: int = 0  # given up, whether it came late or never
    gaps: int = 0  # runs of lost packets
    overflow: int = 0  # gaps given up early because the buffer was full
    flush: int = 0  # frames handed on by a restart, whatever was missing
    restarts: int = 0  # sequence jumps believed, and restarts asked for


class ReorderBuffer:
    """The receive buffer of one source."""

    __slots__ = (
        "_anchor_arrival",
        "_anchor_timestamp",
        "_arrival",
        "_clock_rate",
        "_credit_s",
        "_deadline",
        "_frame_samples",
        "_given_up",
        "_held",
        "_highest",
        "_history",
        "_missed_since",
        "_next",
        "_patience",
        "_suspect",
        "added_delay",
        "capacity",
        "counters",
    )

    def __init__(
        self, max_wait_ms: float = DEFAULT_MAX_WAIT_MS, capacity: int = 64, clock_rate: int = 8000
    ) -> None:
        self.capacity = capacity
        self.counters = ReorderCounters()
        self.added_delay = DelayHistogram()  # from arrival to handing on
        self._clock_rate = clock_rate
        self._arrival = ArrivalDelay(clock_rate)
        self._patience = GapPatience(max_wait_ms)
        self._held: dict[int, Frame] = {}
        self._anchor_arrival: float | None = None  # of the last sound handed on
        self._frame_samples = 0
        self._credit_s = CREDIT_S  # of sound that time may still become
        self._forget()

    def _forget(self) -> None:
        self._next: int | None = None  # extended sequence number that would be in order
        self._highest = 0
        self._history = 0  # bit d-1 is set if sequence next-d was handed on
        self._anchor_timestamp: int | None = None  # where the next sample should be
        self._deadline: float | None = None
        self._missed_since = 0.0
        self._given_up: dict[int, float] = {}  # lost sequence → when it was missed
        self._suspect: Frame | None = None

    def __len__(self) -> int:
        """Packets held behind a gap."""
        return len(self._held)

    @property
    def network_delay(self) -> DelayHistogram:
        """How much later than the quickest of the recent past packets came."""
        return self._arrival.histogram

    @property
    def packet_ms(self) -> float:
        """How much sound the last packet had."""
        return self._frame_samples * 1000 / self._clock_rate

    def deadline(self) -> float | None:
        """When ``expire`` must be called next, if nothing comes before: it alone gives up a gap for its time."""
        return self._deadline

    def put(
        self,
        sequence_number: int,
        timestamp: int,
        payload: bytes,
        now: float,
        *,
        marker: bool = False,
        samples: int | None = None,
        codec: Codec | None = None,
    ) -> list[Frame | Gap]:
        """Take one packet (16-bit sequence, 32-bit timestamp), return what is in order now.

        ``samples`` defaults to one per payload byte; 0 marks a packet that only fills its place in the
        sequence (telephone event, comfort noise).
        """
        expected = self._next
        if expected is None:
            expected = sequence_number
            self._next = self._highest = expected
        ahead = ((sequence_number - expected + 0x8000) & 0xFFFF) - 0x8000
        samples = len(payload) if samples is None else samples
        frame = Frame(expected + ahead, timestamp, payload, marker, samples, now, codec)
        if ahead > MAX_DROPOUT or ahead < -MAX_MISORDER:
            return self._jump(frame)
        self._suspect = None
        if ahead < 0:
            self._come_too_late(frame, -ahead)
            return []
        counters = self.counters
        if ahead == 0 and not self._held:
            counters.put += 1
            self._highest = frame.sequence
            if frame.samples:
                self._arrival.add(timestamp, now)
            out: list[Frame | Gap] = []
            self._hand_on(frame, 0, out, now)
            return out
        return self._hold(frame, now)

    def _come_too_late(self, frame: Frame, behind: int) -> None:
        if self._history >> (behind - 1) & 1:
            self.counters.dup += 1
            return
        self.counters.late += 1
        if frame.samples:
            self._arrival.add(frame.timestamp, frame.arrival)
        missed_since = self._given_up.pop(frame.sequence, None)
        if missed_since is not None:
            self._patience.was_late(frame.arrival - missed_since)

    def _hold(self, frame: Frame, now: float) -> list[Frame | Gap]:
        counters = self.counters
        if frame.sequence in self._held:
            counters.dup += 1
            return []
        counters.put += 1
        if frame.samples:
            self._arrival.add(frame.timestamp, now)
        if frame.sequence < self._highest:
            counters.ooo += 1
            self._patience.came(now - self._missed(frame.sequence))
        else:
            self._highest = frame.sequence
        self._held[frame.sequence] = frame
        out: list[Frame | Gap] = []
        if frame.sequence == self._next:
            self._release_run(out, 0, now)
        elif self._deadline is None:
            self._wait(now)
        while len(self._held) > self.capacity:
            counters.overflow += 1
            self._give_up_gap(out, now)
        return out

    def _missed(self, sequence: int) -> float:
        """When the first packet beyond this one came."""
        return min(held.arrival for held in self._held.values() if held.sequence > sequence)

    def _wait(self, missed_since: float) -> None:
        """A gap is before the packets held: until when it is waited for."""
        self._missed_since = missed_since
        until = missed_since + self._patience.wait_s(self.packet_ms)
        if self._anchor_timestamp is not None and self._arrival.known_for(missed_since) >= KNOWN_AFTER_S:
            assert self._next is not None
            last_missing = (min(self._held) - self._next - 1) * self._frame_samples
            latest = self._arrival.latest(self._anchor_timestamp + last_missing)
            until = min(until, latest + LATEST_MARGIN_S)
        self._deadline = max(until, missed_since + LEAST_WAIT_S)

    def _jump(self, frame: Frame) -> list[Frame | Gap]:
        """Far away: believed, with the packet before, once a second packet continues it."""
        suspect = self._suspect
        if suspect is None or (suspect.sequence + 1 - frame.sequence) & 0xFFFF:
            self._suspect = frame
            return []
        out = self.restart()
        for each in (suspect, frame):
            out += self.put(
                each.sequence & 0xFFFF,
                each.timestamp,
                each.payload,
                each.arrival,
                marker=each.marker,
                samples=each.samples,
                codec=each.codec,
            )
        return out

    def expire(self, now: float) -> list[Frame | Gap]:
        """Give up every gap that has been waited for long enough."""
        out: list[Frame | Gap] = []
        while self._deadline is not None and now >= self._deadline:
            self._give_up_gap(out, now)
        return out

    def restart(self) -> list[Frame | Gap]:
        """Hand on all that is held, gaps marked, and begin anew with the next packet."""
        out: list[Frame | Gap] = []
        self.counters.flush += len(self._held)
        now = max((frame.arrival for frame in self._held.values()), default=0.0)
        while self._held:
            self._give_up_gap(out, now)
        if self._next is not None:
            self.counters.restarts += 1
        self._forget()
        self._arrival.restart()
        return out

    def _give_up_gap(self, out: list[Frame | Gap], now: float) -> None:
        assert self._next is not None
        first = min(self._held)
        missing = first - self._next
        self.counters.lost += missing
        self.counters.gaps += 1
        self._patience.lost()
        for sequence in range(max(self._next, first - HISTORY), first):
            self._given_up[sequence] = self._missed_since
        while len(self._given_up) > HISTORY:
            del self._given_up[next(iter(self._given_up))]
        self._history = self._history << missing if missing < HISTORY else 0
        self._next = first
        self._release_run(out, missing, now)

    def _release_run(self, out: list[Frame | Gap], missing: int, now: float) -> None:
        held = self._held
        while (frame := held.pop(self._next, None)) is not None:  # type: ignore[arg-type]
            self._hand_on(frame, missing, out, now)
            missing = 0
        self._deadline = None
        if held:
            self._wait(min(frame.arrival for frame in held.values()))

    def _hand_on(self, frame: Frame, missing: int, out: list[Frame | Gap], now: float) -> None:
        """Append a frame, and before it the gap that its timestamp shows."""
        samples = frame.samples
        if samples and self._anchor_arrival is not None and frame.arrival > self._anchor_arrival:
            self._credit_s += (frame.arrival - self._anchor_arrival) * CREDIT_RATE
        if missing or (
            samples and frame.timestamp != self._anchor_timestamp
        ):  # else it follows without a seam
            gap = self._gap_samples(frame, missing)
            if gap or missing:
                out.append(Gap(gap, missing))
                self._credit_s -= gap / self._clock_rate
        if samples:
            credit_s = self._credit_s - samples / self._clock_rate
            self._credit_s = (
                credit_s if -CREDIT_S < credit_s < CREDIT_S else math.copysign(CREDIT_S, credit_s)
            )
            self._anchor_timestamp = (frame.timestamp + samples) & 0xFFFFFFFF
            self._anchor_arrival = frame.arrival
            self._frame_samples = samples
        out.append(frame)
        self.added_delay.add(now - frame.arrival)
        self.counters.get += 1
        self._next = frame.sequence + 1
        self._history = (self._history << 1 | 1) & ((1 << HISTORY) - 1)

    def _gap_samples(self, frame: Frame, missing: int) -> int:
        if self._anchor_arrival is None or not frame.samples:  # the next sound's timestamp will show it
            return 0
        elapsed_s = max(
            0.0, frame.arrival - self._anchor_arrival
        )  # a held frame may be older than the anchor
        believable = round(max(0.0, min(elapsed_s + STEP_MARGIN_S, self._credit_s)) * self._clock_rate)
        step = -1
        if self._anchor_timestamp is not None:
            step = ((frame.timestamp - self._anchor_timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        if 0 <= step <= believable:
            return step
        if missing:
            return min(missing * self._frame_samples, believable)
        passed = (
            round(elapsed_s * self._clock_rate) - frame.samples
        )  # another clock: whole packets of the time
        return passed - passed % frame.samples if passed > 0 else 0
