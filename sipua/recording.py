"""Both sides of a call on one clock: the caller left, what we really sent right. No I/O, no clock; memory is bounded.

Sound comes in the call's own codec (one byte per tick, ``rtp.codec``) with the time at which it arrived or left, and
goes out as ``Block``s, each a second or more, at their place since the beginning; what lies between blocks was silence
on both sides. A packet's sound stands where a listener at our sockets would have heard it: it begins when it passes.

Our own frames leave on the pacer's grid: after a pause the next one stands where its tick was. The caller's packets
come with jitter, on a clock of the caller's, and what was lost has been made up already, later than it was due: its
sound is laid end to end, and only the least lateness of ``WINDOW_MS`` says that the whole lies wrongly. Then silence
is put in, or sound left out: 20 ms once a minute for a telephone whose clock is 300 ppm off.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtp.codec import Codec

LAG_MS = 2000  # what comes later than this has lost its place
BLOCK_MS = 1000
WINDOW_MS = 2000
SLACK_MS = 20
GRID_MS = 5  # less than the shortest pause of ours; another ptime has another grid
GAP_MS = 1000  # nothing came for so long, and nobody made anything up: the rest follows at its own time
AHEAD_MS = 1000  # who sends faster than time passes is not recorded beyond


@dataclass(frozen=True, slots=True)
class Block:
    """Equally long pieces, ``at`` bytes after the beginning."""

    at: int
    caller: bytes
    agent: bytes


class Recording:
    """From ``began`` on; times are seconds of one clock, the pacer's."""

    def __init__(self, codec: Codec, began: float) -> None:
        self.codec = codec
        self._began = began
        self._bytes_per_ms = codec.frame_bytes(1)
        self._caller = _Track(codec.silence)
        self._agent = _Track(codec.silence)
        self._out = 0  # handed out up to here
        self._window_until = 0
        self._least: int | None = None  # lateness of the caller's sound in this window
        self._surplus = 0  # of the caller's sound, to be left out

    def sent(self, now: float, payload: bytes) -> Block | None:
        """What a tick sent; nothing was silence, or no packet at all. ``now`` is the tick's time."""
        block = self._due(now)
        if not payload:
            return block
        late = self._position(now) - self._agent.end
        if late > self._bytes(GRID_MS):
            self._agent.fill(late)
        self._agent.put(payload[-late:] if late < -self._bytes(SLACK_MS) else payload)
        return block

    def heard(self, now: float, payload: bytes, *, made_up: bool) -> Block | None:
        """Sound of the caller, in order; ``made_up`` for what was lost, or for silence that was not sent."""
        block = self._due(now)
        position = self._position(now)
        late = position - self._caller.end
        if not made_up:
            self._measure(position, late)
        cut = min(self._surplus, len(payload))
        self._surplus -= cut
        if late > -self._bytes(AHEAD_MS):
            self._caller.put(payload[cut:])
        return block

    def finish(self, now: float) -> tuple[Block | None, int]:
        """The rest, and how long the whole is."""
        end = max(self._out, self._position(now))
        return self._take(end), end

    def _due(self, now: float) -> Block | None:
        """What is old enough to be handed out."""
        until = self._position(now) - self._bytes(LAG_MS)
        return self._take(until) if until - self._out >= self._bytes(BLOCK_MS) else None

    def _measure(self, position: int, late: int) -> None:
        """Puts the caller's sound right where all of it has been late or early for a while."""
        if late > self._bytes(GAP_MS) or not self._caller.end:
            self._caller.fill(late)
            self._begin_window(position)
            return
        self._least = late if self._least is None else min(self._least, late)
        if position >= self._window_until:
            least = self._least
            self._begin_window(position)
            if least > self._bytes(SLACK_MS):
                self._caller.fill(least)
            elif least < -self._bytes(SLACK_MS):
                self._surplus = -least

    def _begin_window(self, position: int) -> None:
        self._window_until = position + self._bytes(WINDOW_MS)
        self._least = None
        self._surplus = 0

    def _take(self, until: int) -> Block | None:
        at, self._out = self._out, until
        caller, agent = self._caller.take(until), self._agent.take(until)
        size = max(len(caller), len(agent))
        if not size:
            return None
        silence = self.codec.silence
        return Block(at, caller.ljust(size, silence), agent.ljust(size, silence))

    def _position(self, now: float) -> int:
        return max(0, round((now - self._began) * 1000)) * self._bytes_per_ms

    def _bytes(self, ms: int) -> int:
        return ms * self._bytes_per_ms


class _Track:
    """One side: what has not been handed out yet."""

    __slots__ = ("_begin", "_pending", "_silence")

    def __init__(self, silence: bytes) -> None:
        self._silence = silence
        self._pending = bytearray()
        self._begin = 0

    @property
    def end(self) -> int:
        return self._begin + len(self._pending)

    def put(self, payload: bytes) -> None:
        self._pending += payload

    def fill(self, size: int) -> None:
        self._pending += self._silence * size

    def take(self, until: int) -> bytes:
        size = max(0, until - self._begin)
        taken = bytes(self._pending[:size])
        del self._pending[:size]
        self._begin = max(self._begin, until)
        return taken
