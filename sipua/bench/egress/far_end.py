"""The telephones: real sockets that speak and note when each packet came, by the kernel's time of its arrival.

So it does not matter when this process reads. It does before it speaks, and is not woken by packets: on loopback the
agent would pay for each waking (up to 3 µs a packet). All speak at once: one by one they would wake the agent for every
packet, which costs more (docs/decisions.md). What is noted is bounded by the length of the run.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from rtp.codec import CODECS
from rtp.packet import build_rtp
from rtp.wav import read_wav
from sipua.bench.code import find_cells
from sipua.line.capture import Capture, udp_packet
from sipua.resources import shipped_speech

ADDRESS = "127.0.0.1"
SPEECH = "question_en.wav"
PAUSE_S = 2.0  # between two utterances: time for an answer
PTIME_S = 0.020
FRAME_BYTES = 160
HEADER_BYTES = 12  # of RTP, as the agent sends it
DATAGRAM_BYTES = 2048
SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)  # Linux; Python names it from 3.14 on
TIMESPEC = struct.Struct("@qq")

Arrival = tuple[float, int]  # seconds of the wall clock; the coded item, 0 for other sound


def main(pipe: Connection) -> None:
    FarEnd(pipe).run()


class FarEnd:
    """Asked ``open`` (a number), ``talk`` (the agent's ports) or ``arrivals`` (and into which file), which forgets."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._phones: list[socket.socket] = []
        self._heard: dict[socket.socket, list[tuple[float, bytes]]] = {}
        self._ports: Sequence[int] = ()
        self._sound = _sound()
        self._sent = 0
        self._due = 0.0

    def run(self) -> None:
        """Until the pipe is closed."""
        while True:
            wait_s = max(0.0, self._due - time.monotonic()) if self._ports else None
            if self._pipe.poll(wait_s):
                self._answer(*self._pipe.recv())
            if self._ports and time.monotonic() >= self._due:
                self._due += PTIME_S
                self._hear()
                self._speak()

    def _answer(self, question: str, argument: object = None) -> None:
        if question == "open" and isinstance(argument, int):
            self._close()
            self._phones = [_phone() for _ in range(argument)]
            self._pipe.send([phone.getsockname() for phone in self._phones])
        elif question == "talk" and isinstance(argument, list):
            self._ports, self._due = argument, time.monotonic()
            self._pipe.send(None)
        else:
            if isinstance(argument, Path):
                self._capture(argument)
            self._pipe.send(
                [[(at, _item(data[HEADER_BYTES:])) for at, data in self._heard[p]] for p in self._phones]
            )
            for noted in self._heard.values():
                noted.clear()

    def _close(self) -> None:
        self._ports = ()
        for phone in self._phones:
            phone.close()
        self._heard.clear()

    def _hear(self) -> None:
        for phone in self._phones:
            noted = self._heard.setdefault(phone, [])
            with contextlib.suppress(OSError):  # there is no more, or an ICMP error of an earlier packet
                while True:
                    data, ancillary, _, _ = phone.recvmsg(DATAGRAM_BYTES, socket.CMSG_SPACE(TIMESPEC.size))
                    if len(data) > HEADER_BYTES and ancillary and not 192 <= data[1] <= 223:
                        seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
                        noted.append((seconds + nanoseconds / 1e9, data))

    def _capture(self, path: Path) -> None:
        with Capture(path) as capture:
            for phone, port in zip(self._phones, self._ports, strict=True):
                for at, data in self._heard.get(phone, []):
                    capture.add(udp_packet(port, phone.getsockname()[1], data), at)

    def _speak(self) -> None:
        self._sent += 1
        for number, (phone, port) in enumerate(zip(self._phones, self._ports, strict=True)):
            frame = self._sent + number * len(self._sound) // len(self._phones)  # they do not speak in chorus
            payload = self._sound[frame % len(self._sound)]
            packet = build_rtp(0, False, self._sent & 0xFFFF, self._sent * FRAME_BYTES, number + 1, payload)
            with contextlib.suppress(OSError):
                phone.sendto(packet, (ADDRESS, port))


def _phone() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind((ADDRESS, 0))
    return sock


def _sound() -> list[bytes]:
    """An utterance and a pause, in frames."""
    codec = CODECS["PCMU"]
    speech = codec.encode(read_wav(shipped_speech(SPEECH), codec.sample_rate))
    speech += codec.silence * codec.frame_bytes(round(PAUSE_S * 1000))
    return [speech[at : at + FRAME_BYTES] for at in range(0, len(speech) - FRAME_BYTES, FRAME_BYTES)]


def _item(payload: bytes) -> int:
    return next((cell.item for cell in find_cells(payload)), 0)
