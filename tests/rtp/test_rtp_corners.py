"""What a trunk can show a listener (RFC 3550, 3551, 3389), each as packets of a call and what is heard of it.

A row changes two seconds of G.711 in packets of 20 ms. Whatever it is, the listener's clock must stay true: the sound
is as long as the time that passed, and only what was lost is made up.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from rtp.codec import CODECS
from rtp.events import AudioFrame, SsrcChanged, StreamConfig, StreamEvent
from rtp.packet import parse_rtp
from rtp.stream import RtpStream

PCMU, PCMA, G722 = CODECS["PCMU"], CODECS["PCMA"], CODECS["G722"]
PHONE = ("192.0.2.1", 4000)
CONFIG = StreamConfig(PCMU, 0, 101, PHONE, also=((0, PCMU), (8, PCMA), (9, G722)))
COUNT = 100


@dataclass(frozen=True)
class Packet:
    """One datagram; ``head`` is the first byte's low six bits (padding, extension, CSRC count)."""

    at_ms: float
    seq: int
    ts: int
    payload: bytes = b"\x90" * 160
    pt: int = 0
    ssrc: int = 7
    head: int = 0
    between: bytes = b""  # CSRC list and header extension

    def data(self) -> bytes:
        fixed = struct.pack(
            "!BBHII", 0x80 | self.head, self.pt, self.seq & 0xFFFF, self.ts & 0xFFFFFFFF, self.ssrc
        )
        return fixed + self.between + self.payload


Change = Callable[[list[Packet]], list[Packet]]


def each(change: Callable[[int, Packet], Packet]) -> Change:
    """Changes packet by packet."""
    return lambda packets: [change(n, packet) for n, packet in enumerate(packets)]


def second_half(**changes: object) -> Change:
    return each(lambda n, packet: replace(packet, **changes) if n >= COUNT // 2 else packet)  # type: ignore[arg-type]


def repacked(*sizes: int) -> Change:
    """The same time in packets of other lengths (ms), one after the other."""

    def change(packets: list[Packet]) -> list[Packet]:
        out: list[Packet] = []
        at = 0
        while at < 2000:
            ms = min(sizes[len(out) % len(sizes)], 2000 - at)
            out.append(Packet(at + ms, len(out), at * 8, b"\x90" * ms * 8))
            at += ms
        return out

    return change


def with_pause(packets: list[Packet], quiet: Callable[[int, Packet], Packet | None]) -> list[Packet]:
    """From 0.6 to 1.4 s the phone says nothing; its sequence numbers go on without a hole."""
    out: list[Packet] = []
    for n, packet in enumerate(packets):
        said = packet if not 30 <= n < 70 else quiet(n, packet)
        if said is not None:
            out.append(replace(said, seq=len(out)))
    return out


def noise_every(ms: int, level: int = 60) -> Change:
    """Payload type 13 at the begin of the pause and every ``ms`` (RFC 3389 §4)."""

    def quiet(n: int, packet: Packet) -> Packet | None:
        begins = (n - 30) * 20 % ms == 0
        return replace(packet, pt=13, payload=bytes([level, 5, 9])) if begins else None

    return lambda packets: with_pause(packets, quiet)


@dataclass(frozen=True)
class Heard:
    ms: float = 2000
    lost: int = 0  # packets made up
    dropped: dict[str, int] = field(default_factory=dict)
    sources: int = 1


CORNERS: dict[str, tuple[Change, Heard]] = {
    "as it should be": (each(lambda n, packet: packet), Heard()),
    "one lost": (lambda packets: packets[:40] + packets[41:], Heard(lost=1)),
    "three lost in a row": (lambda packets: packets[:40] + packets[43:], Heard(lost=3)),
    "each twice": (lambda packets: [each for packet in packets for each in (packet, packet)], Heard()),
    "one far too late": (
        lambda packets: [*packets[:40], *packets[41:60], replace(packets[40], at_ms=1190), *packets[60:]],
        Heard(lost=1),
    ),
    "two swapped": (
        lambda packets: [
            *packets[:40], packets[41], replace(packets[40], at_ms=packets[41].at_ms), *packets[42:]
        ],
        Heard(),
    ),
    "sequence wrap": (each(lambda n, packet: replace(packet, seq=65_500 + n)), Heard()),
    "timestamp wrap": (each(lambda n, packet: replace(packet, ts=packet.ts - 4000)), Heard()),
    "timestamp jumps ahead": (each(lambda n, p: replace(p, ts=p.ts + (n >= 50) * 10_000_000)), Heard()),
    "timestamp jumps back": (each(lambda n, p: replace(p, ts=p.ts - (n >= 50) * 10_000_000)), Heard()),
    "sequence restarts": (each(lambda n, p: replace(p, seq=30_000 * (n >= 50) + n)), Heard()),
    "another source from the same address": (
        each(lambda n, p: replace(p, ssrc=9, seq=n + 777, ts=p.ts + 99_999) if n >= 50 else p), Heard(sources=2),
    ),
    "10 ms": (repacked(10), Heard()),
    "30 ms": (repacked(30), Heard()),
    "40 ms": (repacked(40), Heard()),
    "60 ms": (repacked(60), Heard()),
    "another length each": (repacked(10, 60, 20, 40, 30, 20), Heard()),
    "padding": (second_half(head=0x20, payload=b"\x90" * 160 + b"\0\0\0\x04"), Heard()),
    "CSRC": (second_half(head=0x02, between=bytes(8)), Heard()),
    "header extension": (second_half(head=0x10, between=b"\xbe\xde\0\x01" + bytes(4)), Heard()),
    "all three": (
        second_half(
            head=0x31, between=bytes(4) + b"\x10\0\0\x01" + bytes(4), payload=b"\x90" * 160 + b"\0\x02"
        ), Heard(),
    ),
    "A-law from the middle on": (second_half(pt=8, payload=b"\x85" * 160), Heard()),
    "A-law and back, packet by packet": (
        each(lambda n, packet: replace(packet, pt=8, payload=b"\x85" * 160) if n % 2 else packet), Heard(),
    ),
    "G.722 from the middle on": (second_half(pt=9, payload=G722.silence * 160), Heard()),
    "G.729, which nobody spoke of": (
        second_half(pt=18, payload=bytes(20)), Heard(1980, dropped={"wrong_payload_type": 50}),
    ),
    "a pause without a word": (lambda packets: with_pause(packets, lambda n, packet: None), Heard()),
    "a pause with one comfort noise": (noise_every(5000), Heard(dropped={"comfort_noise": 1})),
    "a pause with comfort noise of 100 ms": (noise_every(100), Heard(dropped={"comfort_noise": 8})),
    "a pause with comfort noise of 20 ms": (noise_every(20), Heard(dropped={"comfort_noise": 40})),
    "a comfort noise lost": (
        lambda packets: [p for n, p in enumerate(noise_every(100)(packets)) if n != 33],
        Heard(dropped={"comfort_noise": 7}),
    ),
    "packets without sound": (
        each(lambda n, p: replace(p, payload=b"") if 50 <= n < 55 else p), Heard(dropped={"empty": 5}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("app_codec", [PCMU, PCMA], ids=["session in PCMU", "session in PCMA"])
@pytest.mark.parametrize("corner", CORNERS)
def test_a_corner(corner: str, app_codec: object) -> None:
    change, expected = CORNERS[corner]
    codec = PCMU if app_codec is PCMU else PCMA
    stream = RtpStream(app_codec=codec)
    stream.configure(CONFIG)
    events: list[StreamEvent] = []
    for packet in change([Packet(20 * n + 20, n, 160 * n) for n in range(COUNT)]):
        while (deadline := stream.deadline()) is not None and deadline <= packet.at_ms / 1000:
            events += stream.on_timer(deadline)
        events += stream.receive_rtp(packet.data(), PHONE, packet.at_ms / 1000)
    while (deadline := stream.deadline()) is not None and deadline <= 2.02:
        events += stream.on_timer(deadline)
    sound = [event for event in events if isinstance(event, AudioFrame)]
    assert sum(frame.samples for frame in sound) / 8 == expected.ms
    assert all(len(frame.payload) == frame.samples for frame in sound)
    assert stream.snapshot().concealed_frames == expected.lost
    assert stream.dropped == expected.dropped
    assert sum(isinstance(event, SsrcChanged) for event in events) == expected.sources - 1


def test_laws_that_change_in_mid_call_are_the_same_sound() -> None:
    """µ-law and A-law of one value in turn, to a session in either: nothing of the change is heard."""
    for codec in (PCMU, PCMA):
        stream = RtpStream(app_codec=codec)
        stream.configure(CONFIG)
        sound = b""
        for n in range(20):
            wire = (PCMU, PCMA)[n % 2]
            packet = Packet(0, n, 160 * n, wire.encode(PCMU.decode(b"\x90").repeat(160)), wire.payload_type)
            for event in stream.receive_rtp(packet.data(), PHONE, n * 0.02):
                sound += event.payload if isinstance(event, AudioFrame) else b""
        levels = codec.decode(sound).astype(int)
        assert len(levels) == 3200
        assert levels.max() - levels.min() < 0.05 * abs(levels.mean())


def test_what_we_send_stays_what_was_agreed_while_the_phone_changes() -> None:
    stream = RtpStream()
    stream.configure(CONFIG)
    for n in range(4):
        stream.receive_rtp(Packet(0, n, 160 * n, b"\x85" * 160, 8).data(), PHONE, n * 0.02)
        sent = stream.next_packet(n * 0.02)
        assert sent is not None
        assert parse_rtp(sent).payload_type == 0
