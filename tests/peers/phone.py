"""The media side of a peer, written for the tests: shares no code with the agent but the G.711 tables and
the shape of a key.

It sends a packet every 20 ms from the port that its SDP names and keeps every packet it gets.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from rtp.codec import Codec, codec_by_name
from rtp.dtmf import TelephoneEvent
from rtp.g711 import Pcm
from rtp.packet import build_rtp

FRAME = 160  # samples of 20 ms
LOUD_RMS = 100.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One RTP packet, with the time it came."""

    at: float
    source: tuple[str, int]
    payload_type: int
    sequence: int
    timestamp: int
    payload: bytes
    datagram: bytes


class Phone:
    """Sends ``sound`` once (8 kHz samples), silence before and after; ``mute`` makes it send nothing.

    Of every ``lose_every`` packets the last is lost on the way.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", codec: str = "PCMU", mute: bool = False, lose_every: int = 0
    ) -> None:
        self.host = host
        self.codec: Codec = codec_by_name(codec)
        self.mute = mute
        self.lose_every = lose_every
        self.heard: list[Heard] = []
        self.said: list[tuple[float, int, bytes]] = []  # when a frame went out, its timestamp, and the frame
        self.sent = 0
        self.target: tuple[str, int] | None = None  # learnt from the first packet, as a phone's is from SDP
        self._socket = self._bound()
        self.port: int = self._socket.getsockname()[1]
        self._sound = b""
        self._key: tuple[int, int, int] | None = None  # event, its timestamp, packets so far
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._listen, name="phone-in"),
            threading.Thread(target=self._speak, name="phone-out"),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _bound(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((self.host, 0))
        sock.settimeout(0.05)
        return sock

    def move(self) -> None:
        """To another port, as a NAT that has forgotten the first one makes it; the stream goes on."""
        before, self._socket = self._socket, self._bound()
        self.port = self._socket.getsockname()[1]
        before.close()

    def say(self, sound: Pcm) -> None:
        self._sound = self.codec.encode(sound)

    def press_between(self, event: int) -> None:
        """A key of 120 ms in the stream of its sound, which goes on behind it."""
        self._key = event, -1, 0

    def send(self, datagram: bytes) -> None:
        """Anything at all, from the media port."""
        assert self.target is not None
        self._socket.sendto(datagram, self.target)

    def press(self, key: int) -> None:
        """RFC 4733: the end of an event, three times."""
        for sequence in (1, 2, 3):
            event = TelephoneEvent(key, True, 10, 800).serialize()
            self.send(build_rtp(101, sequence == 1, sequence, 160, 7, event))

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                data, source = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            except OSError:
                continue  # an ICMP error of an earlier packet
            if len(data) < 12 or 192 <= data[1] <= 223:
                continue
            _, second, sequence, timestamp, _ = struct.unpack_from("!BBHII", data)
            self.target = source[:2]
            packet = Heard(time.monotonic(), source[:2], second & 0x7F, sequence, timestamp, data[12:], data)
            self.heard.append(packet)

    def _speak(self) -> None:
        sequence, timestamp, due = 1, 0, time.monotonic()
        while not self._stop.is_set():
            due += 0.02
            time.sleep(max(0.0, due - time.monotonic()))
            if self.target is None or self.mute:
                continue
            if self._key is not None:
                self._send_key(sequence, timestamp)
                sequence, timestamp = (sequence + 1) & 0xFFFF, (timestamp + FRAME) & 0xFFFFFFFF
                continue
            frame = self._next_frame()
            head = struct.pack("!BBHII", 0x80, self.codec.payload_type, sequence, timestamp, 0x1234)
            if not self.lose_every or sequence % self.lose_every:
                with contextlib.suppress(OSError):
                    self._socket.sendto(head + frame, self.target)
                    self.said.append((time.monotonic(), timestamp, frame))
                    self.sent += 1
            sequence, timestamp = (sequence + 1) & 0xFFFF, (timestamp + FRAME) & 0xFFFFFFFF

    def _send_key(self, sequence: int, now: int) -> None:
        """Six packets and two repetitions of the end (RFC 4733 section 2.5.1)."""
        assert self._key is not None
        assert self.target is not None
        event, began, sent = self._key
        began = now if began < 0 else began
        head = struct.pack("!BBHII", 0x80, 101 | (0x80 if not sent else 0), sequence, began, 0x1234)
        end, duration = (0x80 if sent >= 5 else 0), min(sent + 1, 6) * FRAME
        self._socket.sendto(head + struct.pack("!BBH", event, end | 10, duration), self.target)
        self._key = (event, began, sent + 1) if sent < 7 else None

    def _next_frame(self) -> bytes:
        frame, self._sound = self._sound[:FRAME], self._sound[FRAME:]
        return frame + self.codec.silence * (FRAME - len(frame))

    # ---- judging ---------------------------------------------------------------------------------------------

    def audio(self) -> np.ndarray:
        """All that was heard, in order of arrival, as samples."""
        codecs = {0: codec_by_name("PCMU"), 8: codec_by_name("PCMA")}
        parts = [codecs[p.payload_type].decode(p.payload) for p in self.heard if p.payload_type in codecs]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def lost_frames(self) -> int:
        """Of 20 ms, missing on the clock of the stream that was heard, from its first packet to its last."""
        stamps = sorted(packet.timestamp for packet in self.heard)
        return (stamps[-1] - stamps[0]) // 160 + 1 - len(stamps)

    def is_hearing_sound(self) -> bool:
        """Whether anything but silence has come."""
        audio = self.audio().astype(np.float64)
        return bool(audio.size and np.sqrt(np.mean(audio**2)) > LOUD_RMS)

    def payload_types(self) -> list[int]:
        """In the order of their first appearance, repeated when one comes back."""
        order: list[int] = []
        for packet in self.heard:
            if not order or order[-1] != packet.payload_type:
                order.append(packet.payload_type)
        return order

    def longest_silence_s(self) -> float:
        """The longest time without any packet."""
        times = [packet.at for packet in self.heard]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)
