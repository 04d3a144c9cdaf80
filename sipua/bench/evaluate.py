"""What was written down on both sides of the agent, matched by the code it carried. No I/O, no clock.

Times are seconds; a thing that never arrived is counted and not measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sipua.bench.code import find_cells
from sipua.bench.grid import NoGridError, TickGrid


@dataclass(frozen=True, slots=True)
class Heard:
    """One RTP packet as the caller got it."""

    at: float
    timestamp: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """One ``input_audio_buffer.append`` as the voice service got it, its audio decoded."""

    at: float
    audio: bytes


@dataclass(frozen=True, slots=True)
class Uplink:
    """Per frame: RTP handed to the kernel → append received."""

    seconds: list[float]
    lost: int


@dataclass(frozen=True, slots=True)
class Downlink:
    """Per item: first delta sent → first RTP received, the part of it that was waiting for the tick, and the rest."""

    seconds: list[float]
    tick_wait: list[float]
    own: list[float]
    lost: int


def uplink(sent: Mapping[int, float], appends: Iterable[Appended], *, item: int) -> Uplink:
    """``sent``: frame of ``item`` → when. A frame has arrived with the append that holds its end."""
    arrived: dict[int, float] = {}
    for append in appends:
        for cell in find_cells(append.audio):
            if cell.item == item and cell.is_last:
                arrived.setdefault(cell.frame, append.at)
    seconds = [arrived[frame] - at for frame, at in sent.items() if frame in arrived]
    return Uplink(seconds, len(sent) - len(seconds))


def first_heard(packets: Iterable[Heard]) -> dict[int, float]:
    """Item → when the first packet with any of its sound arrived."""
    found: dict[int, float] = {}
    for packet in packets:
        for cell in find_cells(packet.payload):
            found.setdefault(cell.item, packet.at)
    return found


def downlink(sent: Mapping[int, float], packets: Sequence[Heard]) -> Downlink:
    """``sent``: item → when its first delta was handed to the kernel. All packets of the call are the grid."""
    grid = TickGrid([(packet.at, packet.timestamp) for packet in packets])
    heard = first_heard(packets)
    result = Downlink([], [], [], 0)
    lost = 0
    for item, at in sent.items():
        try:
            wait = grid.wait(at, heard[item])
        except (KeyError, NoGridError):
            lost += 1
            continue
        result.seconds.append(heard[item] - at)
        result.tick_wait.append(wait)
        result.own.append(heard[item] - at - wait)
    return Downlink(result.seconds, result.tick_wait, result.own, lost)
