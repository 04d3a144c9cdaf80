"""The coded signal: G.711 bytes that say which item and which frame they are, to be found again behind the agent.

A frame is 20 ms, ten equal cells of 16 bytes (2 ms). A cell holds 16 nibbles, one a byte as 0xE0–0xEF: a legal code of
both laws that is never silence (0xFF, 0xD5).

    sync 3 | item 4 | frame 4 | cell 1 | checksum 4        nibbles, most significant first

Each cell stands for itself, so that a cut item is known to 2 ms and sound that lost its frame borders is still read.
The agent passes G.711 through bit for bit; whatever decodes and encodes it again destroys the code. No I/O, no clock.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

FRAME_BYTES = 160  # 20 ms of G.711
CELL_BYTES = 16
CELLS = FRAME_BYTES // CELL_BYTES
MAX_NUMBER = 0xFFFF  # of items and of frames

_HIGH = 0xE0
_SYNC = bytes((0xEA, 0xE5, 0xEC))


@dataclass(frozen=True, slots=True)
class Code:
    """What a whole frame says."""

    item: int
    frame: int


@dataclass(frozen=True, slots=True)
class Cell:
    """What 2 ms say; ``offset`` is where in the searched bytes it begins."""

    item: int
    frame: int
    index: int
    offset: int

    @property
    def is_last(self) -> bool:
        """The frame ends with this cell."""
        return self.index == CELLS - 1


def encode_frame(item: int, frame: int) -> bytes:
    """The 160 bytes of one frame. ValueError for a number that does not fit."""
    for name, number in (("item", item), ("frame", frame)):
        if not 0 <= number <= MAX_NUMBER:
            raise ValueError(f"{name} {number}: allowed 0..{MAX_NUMBER}")
    return b"".join(_cell(item, frame, index) for index in range(CELLS))


def encode_item(item: int, frames: int) -> bytes:
    """The whole item, ``frames`` of 20 ms."""
    return b"".join(encode_frame(item, frame) for frame in range(frames))


def decode_frame(payload: bytes) -> Code | None:
    """The code of a frame that is whole and untouched, None for anything else."""
    cell = _read(payload, 0)
    if cell is None or payload != encode_frame(cell.item, cell.frame):
        return None
    return Code(cell.item, cell.frame)


def find_cells(data: bytes) -> Iterator[Cell]:
    """All intact cells wherever they begin, in order."""
    at = data.find(_SYNC)
    while at >= 0:
        cell = _read(data, at)
        if cell is not None:
            yield cell
        at = data.find(_SYNC, at + (1 if cell is None else CELL_BYTES))


def _cell(item: int, frame: int, index: int) -> bytes:
    value = item << 20 | frame << 4 | index
    nibbles = f"{value:09x}{_checksum(value):04x}"
    return _SYNC + bytes(_HIGH | int(nibble, 16) for nibble in nibbles)


def _read(data: bytes, at: int) -> Cell | None:
    cell = data[at : at + CELL_BYTES]
    if len(cell) < CELL_BYTES or cell[:3] != _SYNC or any(byte & 0xF0 != _HIGH for byte in cell):
        return None
    number = 0
    for byte in cell[3:]:
        number = number << 4 | byte & 0xF
    value, checksum = number >> 16, number & 0xFFFF
    index = value & 0xF
    if checksum != _checksum(value) or index >= CELLS:
        return None
    return Cell(value >> 20, value >> 4 & MAX_NUMBER, index, at)


def _checksum(value: int) -> int:
    return zlib.crc32(value.to_bytes(5, "big")) & 0xFFFF
