"""What crossed one end of the line, as a pcap file that tshark reads."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from sipua.errors import LocalError

MAGIC_NANOSECONDS = 0xA1B23C4D
LINKTYPE_RAW = 101  # packets begin with their IP header
SNAP_LENGTH = 65535
BUFFER = 1 << 20  # written seldom: the carrier must not wait for a disk


class Capture:
    """One file."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("wb", buffering=BUFFER)
        except OSError as error:
            raise LocalError(f"capture {path}: {error.strerror}") from None
        self._file.write(struct.pack("=IHHiIII", MAGIC_NANOSECONDS, 2, 4, 0, 0, SNAP_LENGTH, LINKTYPE_RAW))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, packet: bytes, at_s: float | None = None) -> None:
        """An IP packet that passed at that time of the wall clock, else now."""
        at_ns = time.time_ns() if at_s is None else round(at_s * 1e9)
        seconds, nanoseconds = divmod(at_ns, 1_000_000_000)
        self._file.write(struct.pack("=IIII", seconds, nanoseconds, len(packet), len(packet)) + packet)


def udp_packet(source_port: int, target_port: int, payload: bytes) -> bytes:
    """A datagram between two ports of loopback as an IP packet, for what was read from a socket (no checksums)."""
    length = len(payload) + 8
    here = bytes((127, 0, 0, 1))
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length + 20, 0, 0, 64, 17, 0, here, here)
    return head + struct.pack("!HHHH", source_port, target_port, length, 0) + payload
