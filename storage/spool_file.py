"""The bytes of a spool's file: a header and checksummed records. No I/O.

    header  "sipuaspl", format, codec (u16 each), instance (16 bytes), CRC-32 of these
    record  length (u32), sequence (u64), CRC-32 of these and the payload, payload

Integers are big-endian. What a crash or a full disk cut off is at the end: a reader stops there and keeps the rest. A
record that is whole but does not fit its checksum is left out and counted.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from uuid import UUID

from storage.errors import SpoolError

FORMAT = 1
RECORD_MAX = 16 * 2**20  # a length above it is no length

_MAGIC = b"sipuaspl"
_HEAD = struct.Struct(">8sHH16s")
_RECORD = struct.Struct(">IQ")
_CRC = struct.Struct(">I")
HEADER_SIZE = _HEAD.size + _CRC.size
RECORD_SIZE = _RECORD.size + _CRC.size  # and the payload

Record = tuple[int, bytes]  # sequence and payload


@dataclass(slots=True)
class Scanned:
    """What some bytes held. ``taken``: of them; what is behind is torn, or not there yet."""

    records: list[Record] = field(default_factory=list)
    taken: int = 0
    damaged: int = 0
    is_torn: bool = False  # and no more bytes will mend it


def header(instance: UUID, codec: int) -> bytes:
    head = _HEAD.pack(_MAGIC, FORMAT, codec, instance.bytes)
    return head + _CRC.pack(zlib.crc32(head))


def check_header(data: bytes, codec: int, name: str) -> UUID | None:
    """Whose file it is; None if it was cut off before it had a header. Raises SpoolError that names the file."""
    if len(data) < HEADER_SIZE:
        return None
    magic, form, coded, instance = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise SpoolError(f"{name} is no spool of sipua: move it away")
    if (form, coded) != (FORMAT, codec):
        raise SpoolError(
            f"{name} is a spool of another version of sipua (format {form}.{coded}, this one reads {FORMAT}.{codec}): "
            "start the version that wrote it once, or move it away"
        )
    if _CRC.unpack_from(data, _HEAD.size)[0] != zlib.crc32(data[: _HEAD.size]):
        raise SpoolError(f"{name} has a damaged header: move it away")
    return UUID(bytes=instance)


def record(seq: int, payload: bytes) -> bytes:
    """Its payload is not longer than ``RECORD_MAX``."""
    head = _RECORD.pack(len(payload), seq)
    return head + _CRC.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def scan(data: bytes, after: int, *, is_end: bool) -> Scanned:
    """The records with a sequence above ``after``. ``is_end``: the file has no more than this."""
    found, at = Scanned(), 0
    while len(data) - at >= RECORD_SIZE:
        length, seq = _RECORD.unpack_from(data, at)
        end = at + RECORD_SIZE + length
        if length > RECORD_MAX:
            found.is_torn = True
            break
        if end > len(data):
            break
        payload = data[at + RECORD_SIZE : end]
        if _CRC.unpack_from(data, at + _RECORD.size)[0] != zlib.crc32(
            payload, zlib.crc32(data[at : at + _RECORD.size])
        ):
            found.damaged += 1
        elif seq > after:
            found.records.append((seq, payload))
        at = end
    found.taken = at
    found.is_torn = found.is_torn or (is_end and at < len(data))
    return found
