"""Puts packets back in order: hands on at once what is in order, waits only for a gap.

A machine listener needs no isochronous sound, so there is no play-out delay: a packet that continues the
sequence leaves in the call that brought it. A packet beyond a gap is held until the missing one comes or
``max_wait_ms`` after the first packet beyond the gap arrived; then the gap is given up and a ``Gap`` stands
for it. Its ``samples`` come from the timestamps on both sides, so the listener's clock stays true whatever
the ptime. A silent stretch without loss (DTX, telephone events) is a ``Gap`` with ``packets == 0``.

A timestamp step is believed if it is no longer than the time that really passed (plus a margin); else the
sender's clock was reset and the packets known to be lost count, to the same bound: numbers alone cannot make
sound of seconds that never were. A sequence jump is believed when the
next packet continues it (RFC 3550 A.1). No I/O and no clock: ``now`` is an argument in seconds. A change of
SSRC is the caller's to see: it calls ``restart``.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_DROPOUT = 3000  # packets ahead, RFC 3550 A.1
MAX_MISORDER = 100  # packets behind, RFC 3550 A.1
HISTORY = 128  # sequence numbers whose fate is known, to tell a duplicate from a late packet
STEP_MARGIN_S = 1.0  # how much longer than the time that passed a gap may be


class Frame:
    """One packet in its place; ``sequence`` is extended beyond 16 bits, ``samples`` 0 if it has no audio."""

    __slots__ = ("arrival", "marker", "payload", "samples", "sequence", "timestamp")

    def __init__(
        self, sequence: int, timestamp: int, payload: bytes, marker: bool, samples: int, arrival: float
    ) -> None:
        self.sequence = sequence
        self.timestamp = timestamp
        self.payload = payload
        self.marker = marker
        self.samples = samples
        self.arrival = arrival

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
    overflow: int = 0  # gaps given up early because the buffer was full
    flush: int = 0  # frames handed on by a restart, whatever was missing
    restarts: int = 0  # sequence jumps believed, and restarts asked for


class ReorderBuffer:
    """The receive buffer of one source."""

    __slots__ = (
        "_anchor_arrival",
        "_anchor_timestamp",
        "_clock_rate",
        "_deadline",
        "_frame_samples",
        "_held",
        "_highest",
        "_history",
        "_max_wait_s",
        "_next",
        "_suspect",
        "capacity",
        "counters",
    )

    def __init__(self, max_wait_ms: float = 60.0, capacity: int = 64, clock_rate: int = 8000) -> None:
        self.capacity = capacity
        self.counters = ReorderCounters()
        self._max_wait_s = max_wait_ms / 1000
        self._clock_rate = clock_rate
        self._held: dict[int, Frame] = {}
        self._forget()

    def _forget(self) -> None:
        self._next: int | None = None  # extended sequence number that would be in order
        self._highest = 0
        self._history = 0  # bit d-1 is set if sequence next-d was handed on
        self._anchor_timestamp: int | None = None  # where the next sample should be
        self._anchor_arrival = 0.0
        self._frame_samples = 0
        self._deadline: float | None = None
        self._suspect: Frame | None = None

    def __len__(self) -> int:
        """Packets held behind a gap."""
        return len(self._held)

    def deadline(self) -> float | None:
        """When ``expire`` must be called next, if nothing comes before."""
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
        frame = Frame(
            expected + ahead, timestamp, payload, marker, len(payload) if samples is None else samples, now
        )
        if ahead > MAX_DROPOUT or ahead < -MAX_MISORDER:
            return self._jump(frame)
        self._suspect = None
        if ahead < 0:
            if self._history >> (-ahead - 1) & 1:
                self.counters.dup += 1
            else:
                self.counters.late += 1
            return []
        counters = self.counters
        if ahead == 0 and not self._held:
            counters.put += 1
            self._highest = frame.sequence
            out: list[Frame | Gap] = []
            self._hand_on(frame, 0, out)
            return out
        return self._hold(frame, now)

    def _hold(self, frame: Frame, now: float) -> list[Frame | Gap]:
        counters = self.counters
        if frame.sequence in self._held:
            counters.dup += 1
            return []
        counters.put += 1
        if frame.sequence < self._highest:
            counters.ooo += 1
        else:
            self._highest = frame.sequence
        self._held[frame.sequence] = frame
        out: list[Frame | Gap] = []
        if frame.sequence == self._next:
            self._release_run(out)
        elif self._deadline is None:
            self._deadline = now + self._max_wait_s
        while len(self._held) > self.capacity:
            counters.overflow += 1
            self._give_up_gap(out)
        if self._deadline is not None and now >= self._deadline:
            out += self.expire(now)
        return out

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
            )
        return out

    def expire(self, now: float) -> list[Frame | Gap]:
        """Give up every gap that has been waited for long enough."""
        out: list[Frame | Gap] = []
        while self._deadline is not None and now >= self._deadline:
            self._give_up_gap(out)
        return out

    def restart(self) -> list[Frame | Gap]:
        """Hand on all that is held, gaps marked, and begin anew with the next packet."""
        out: list[Frame | Gap] = []
        self.counters.flush += len(self._held)
        while self._held:
            self._give_up_gap(out)
        if self._next is not None:
            self.counters.restarts += 1
        self._forget()
        return out

    def _give_up_gap(self, out: list[Frame | Gap]) -> None:
        assert self._next is not None
        first = min(self._held)
        missing = first - self._next
        self.counters.lost += missing
        self._history = self._history << missing if missing < HISTORY else 0
        self._next = first
        self._release_run(out, missing)

    def _release_run(self, out: list[Frame | Gap], missing: int = 0) -> None:
        held = self._held
        while (frame := held.pop(self._next, None)) is not None:  # type: ignore[arg-type]
            self._hand_on(frame, missing, out)
            missing = 0
        self._deadline = min(frame.arrival for frame in held.values()) + self._max_wait_s if held else None

    def _hand_on(self, frame: Frame, missing: int, out: list[Frame | Gap]) -> None:
        """Append a frame, and before it the gap that its timestamp shows."""
        samples = frame.samples
        if samples or missing:
            gap = self._gap_samples(frame, missing)
            if gap or missing:
                out.append(Gap(gap, missing))
        if samples:
            self._anchor_timestamp = frame.timestamp + samples
            self._anchor_arrival = frame.arrival
            self._frame_samples = samples
        out.append(frame)
        self.counters.get += 1
        self._next = frame.sequence + 1
        self._history = (self._history << 1 | 1) & ((1 << HISTORY) - 1)

    def _gap_samples(self, frame: Frame, missing: int) -> int:
        if self._anchor_timestamp is None:
            return 0
        if not frame.samples:  # the next audio packet's timestamp will show what was missing
            return 0
        step = ((frame.timestamp - self._anchor_timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        elapsed_s = max(
            0.0, frame.arrival - self._anchor_arrival
        )  # a held frame may be older than the anchor
        believable = round((elapsed_s + STEP_MARGIN_S) * self._clock_rate)
        if 0 <= step <= believable:
            return step
        return min(missing * self._frame_samples, believable)
