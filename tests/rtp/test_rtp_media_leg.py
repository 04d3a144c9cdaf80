"""One call's media leg on loopback: what its owner is told, and what happens when the owner fails."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from rtp.codec import CODECS
from rtp.dtmf import TelephoneEvent
from rtp.pacer import Pacer
from rtp.packet import (
    RtcpReceiverInfo,
    build_rtp,
    ntp_timestamp,
    parse_rtp,
    receiver_report,
    sdes_cname,
)
from rtp.ports import PortAllocator
from rtp.tones import RATE, ToneDetector, tones_of
from sipua.media import MediaLeg, MediaRules
from sipua.media_figures import MediaFigures
from sipua.media_ports import MediaPorts
from sipua.sip_events import MediaDescription, SrtpKeys
from tests.rfc3711 import Direction

HOST = "127.0.0.1"


class Line:
    """A media leg, and the phone's socket that is signalled to it."""

    def __init__(self, phone: socket.socket, *, hears_tones: bool = False) -> None:
        self.phone = phone
        ports = PortAllocator(0, 0)
        sockets = ports.open_pair(HOST)
        self.address: tuple[str, int] = sockets[0].getsockname()[:2]
        self.leg = MediaLeg(sockets, MediaPorts(ports), Pacer(), CODECS["PCMU"], hears_tones=hears_tones)
        self._seq = 0

    def configure(
        self,
        *,
        events_tx: int = 101,
        events_rx: int = 101,
        direction: str = "sendrecv",
        srtp: SrtpKeys | None = None,
    ) -> None:
        remote = self.phone.getsockname()
        self.leg.configure(
            MediaDescription("PCMU", 0, 0, events_tx, events_rx, remote, ("", 0), direction, srtp)
        )

    def say(
        self, payload: bytes = b"s" * 160, *, payload_type: int = 0, by: socket.socket | None = None
    ) -> None:
        self._seq += 1
        data = build_rtp(payload_type, False, self._seq, self._seq * 160, 7, payload)
        (by or self.phone).sendto(data, self.address)


@contextmanager
def line(*, hears_tones: bool = False) -> Iterator[Line]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind((HOST, 0))
        phone.settimeout(5)
        made = Line(phone, hears_tones=hears_tones)
        try:
            yield made
        finally:
            made.leg.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # the leg has nothing to wait for
            await asyncio.sleep(0.001)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def wrapped() -> None:
        await main()

    asyncio.run(wrapped())


def test_a_receiver_that_fails_breaks_the_leg_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        calls: list[bytes] = []

        def fail(payload: bytes) -> None:
            calls.append(payload)
            raise ZeroDivisionError("a bug of the uplink's")

        with line() as call:
            call.configure()
            call.leg.start(on_audio=fail)
            for n in range(10):
                call.say()
                await until(lambda n=n: call.leg.figures().received == n + 1)  # type: ignore[misc]
            assert isinstance(call.leg.broken, ZeroDivisionError)
            assert len(calls) == 1

    run(main)
    assert [record.name for record in caplog.records if record.levelno >= logging.ERROR] == ["sipua.media"]


def test_what_is_heard_and_really_sent_is_recorded_but_no_music_on_hold() -> None:
    async def main() -> None:
        heard: list[bytes] = []

        class Tape:
            def __init__(self) -> None:
                self.heard_at: list[tuple[float, bytes, bool]] = []
                self.sent_at: list[tuple[float, bytes]] = []

            def heard(self, now: float, payload: bytes, *, made_up: bool) -> None:
                self.heard_at.append((now, payload, made_up))

            def sent(self, now: float, payload: bytes) -> None:
                self.sent_at.append((now, payload))

        async def said(word: bytes) -> None:
            before = len(heard)
            call.say(word * 160)
            await until(lambda: len(heard) > before)

        with line() as call:
            call.configure()
            call.leg.start(on_audio=heard.append)
            tape = Tape()
            await said(b"a")
            call.leg.record(tape)
            began = time.monotonic()
            await said(b"b")
            call.leg.playout.append("item", b"x" * 160)
            call.leg.playout.end_item("item")
            call.leg.tick(7.0)
            call.leg.tick(7.02)
            call.configure(direction="recvonly")
            await said(b"c")
            call.leg.playout.append("item", b"y" * 160)
            call.leg.tick(7.04)
            call.configure()
            await said(b"d")
            call.leg.record(None)
            await said(b"e")
            call.leg.tick(7.06)
            assert [(payload[:1], made_up) for _, payload, made_up in tape.heard_at] == [
                (b"b", False),
                (b"d", False),
            ]
            assert all(began <= now <= time.monotonic() for now, _, _ in tape.heard_at)
            assert tape.sent_at == [(7.0, b"x" * 160), (7.02, b""), (7.04, b"")]

    run(main)


def test_a_digit_receiver_that_fails_breaks_the_leg_too() -> None:
    async def main() -> None:
        def fail(digit: str) -> None:
            raise KeyError(digit)

        with line() as call:
            call.configure()
            call.leg.start(on_audio=lambda payload: None, on_digit=fail)
            call.say(TelephoneEvent(5, True, 10, 800).serialize(), payload_type=101)
            await until(lambda: isinstance(call.leg.broken, KeyError))

    run(main)


def test_a_source_that_moves_is_logged_and_the_first_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        with line() as call, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((HOST, 0))
            heard: list[bytes] = []
            call.configure()
            call.leg.start(on_audio=heard.append)
            call.say(by=other)
            call.say(by=other)
            await until(lambda: len(heard) == 2)
            assert "now comes from" not in caplog.text
            call.say()  # the signalled address wins
            await until(lambda: len(heard) == 3)
            came_from = f"{HOST}:{call.phone.getsockname()[1]}"
            assert f"< RTP on port {call.address[1]} now comes from {came_from}" in caplog.text

    run(main)


@pytest.mark.parametrize("held", [False, True], ids=["talking", "after hold"])
def test_digits_are_heard_with_our_number_and_sent_with_the_peers(held: bool) -> None:
    async def main() -> None:
        with line() as call:
            digits: list[str] = []
            call.configure(events_tx=96, events_rx=101)
            if held:  # an inactive stream is described by its direction only
                call.leg.configure(MediaDescription("", 0, 0, -1, -1, ("", 0), ("", 0), "inactive"))
                call.configure(events_tx=96, events_rx=101)
            call.leg.start(on_audio=lambda payload: None, on_digit=digits.append)
            call.say(TelephoneEvent(5, True, 10, 800).serialize(), payload_type=101)
            await until(lambda: digits == ["5"])
            call.leg.send_digits("1")
            call.leg.tick(0.0)
            assert parse_rtp(call.phone.recv(1500)).payload_type == 96

    run(main)


def test_keys_travel_as_tones_both_ways() -> None:
    async def main() -> None:
        with line(hears_tones=True) as call:
            digits: list[str] = []
            heard: list[bytes] = []
            call.configure(events_tx=-1, events_rx=-1)
            call.leg.start(on_audio=heard.append, on_digit=digits.append)
            tones = CODECS["PCMU"].encode(tones_of("5#", RATE, duration_ms=120, pause_ms=80))
            for begin in range(0, len(tones), 160):
                call.say(tones[begin : begin + 160])
            await until(lambda: digits == ["5", "#"])
            assert heard[1:6] == [b"\xff" * 160] * 5
            call.leg.send_digits("1")
            sent = b""
            for tick in range(10):
                call.leg.tick(tick * 0.02)
                sent += parse_rtp(call.phone.recv(1500)).payload
            assert [each.digit for each in ToneDetector().receive(CODECS["PCMU"].decode(sent))] == ["1"]

    run(main)


def test_srtp_holds_through_hold_and_nothing_plain_is_heard() -> None:
    async def main() -> None:
        with line() as call:
            heard: list[bytes] = []
            assert call.leg.srtp_suite == ""
            keys = SrtpKeys("AES_CM_128_HMAC_SHA1_80", bytes(range(30)), bytes(range(30, 60)))
            call.configure(srtp=keys)
            call.leg.configure(MediaDescription("", 0, 0, -1, -1, ("", 0), ("", 0), "inactive"))
            assert call.leg.srtp_suite == keys.suite
            call.configure(srtp=keys)
            call.leg.start(on_audio=heard.append)
            call.say(b"p" * 160)
            theirs = Direction.of(keys.suite, keys.remote)
            call.phone.sendto(theirs.protect(build_rtp(0, False, 9, 9 * 160, 7, b"s" * 160), 0), call.address)
            await until(lambda: heard == [b"s" * 160])
            assert call.leg.figures().dropped == {"srtp_forged": 1}
            call.leg.tick(0.0)
            ours = Direction.of(keys.suite, keys.local).unprotect(call.phone.recv(1500), 0)
            assert parse_rtp(ours).payload_type == 0

    run(main)


@pytest.mark.parametrize(("max_wait_ms", "waited_ms"), [(0, 2), (30, 30), (200, 60)])
def test_the_wait_for_a_missing_packet_is_bounded_by_the_owner(max_wait_ms: float, waited_ms: float) -> None:
    """The first gap of a call; 60 ms are what is expected of a line that nothing is known of."""

    async def wait() -> None:
        ports = PortAllocator(0, 0)
        rules = MediaRules(max_wait_ms=max_wait_ms)
        leg = MediaLeg(ports.open_pair(HOST), MediaPorts(ports), Pacer(), CODECS["PCMU"], rules)
        try:
            leg.configure(MediaDescription("PCMU", 0, 0, 101, 101, (HOST, 4000), ("", 0), "sendrecv"))
            for number in (1, 3):
                data = build_rtp(0, False, number, number * 160, 7, bytes(160))
                leg._stream.receive_rtp(data, (HOST, 4000), 5.0)
            assert leg._stream.deadline() == pytest.approx(5.0 + waited_ms / 1000)
        finally:
            leg.close()

    run(wait)


def test_a_leg_tells_what_its_buffer_did_and_how_good_the_line_was() -> None:
    async def main() -> None:
        with line() as call:
            call.configure()
            call.leg.start(on_audio=lambda payload: None)
            nothing = call.leg.figures()
            assert (nothing.received, nothing.jitter_ms, nothing.quality, nothing.far_end) == (
                0,
                None,
                None,
                None,
            )
            assert nothing.buffer["delay_ms_p50"] is None
            address = call.phone.getsockname()
            for number in range(1, 101):
                if number % 10:
                    data = build_rtp(0, False, number, number * 160, 7, bytes(160))
                    call.leg._stream.receive_rtp(data, address, number * 0.02)
                call.leg._stream.on_timer(number * 0.02)
            figures = call.leg.figures()
            counted = {
                name: figures.buffer[name] for name in ("put", "get", "lost", "late", "dup", "overflow")
            }
            assert counted == {"put": 90, "get": 90, "lost": 9, "late": 0, "dup": 0, "overflow": 0}
            assert figures.buffer["delay_ms_p99"] == 0
            assert figures.quality is not None
            assert figures.quality.loss_percent == pytest.approx(100 * 9 / 99)
            # by hand: 95 · Ppl / (Ppl + 25.1), and what 20 ms of delay cost
            assert figures.quality.r == pytest.approx(93.2 - 95 * 9.09 / 34.19, abs=0.8)
            assert figures.as_dict()["quality"]["mos"] == round(figures.quality.mos, 2)

    run(main)


def test_a_leg_tells_what_the_far_end_reports_of_it() -> None:
    async def main() -> None:
        with line() as call:
            call.configure()
            call.leg.start(on_audio=lambda payload: None)
            for tick in range(100):
                call.leg.tick(tick * 0.02)
            stream, address = call.leg._stream, call.phone.getsockname()
            lsr = ntp_timestamp(1.0) >> 16 & 0xFFFFFFFF

            def reported(lost: int, lsr: int, dlsr: int) -> MediaFigures:
                block = RtcpReceiverInfo(stream.ssrc, 0, lost, 100, 80, lsr, dlsr)
                report = receiver_report(9, [block]) + sdes_cname(9, "phone")
                call.leg._on_events(stream.receive_rtcp(report, address, 1.1))
                return call.leg.figures()

            far_end = reported(5, lsr, 65536 // 20).far_end  # 50 of the 100 ms it had kept our report
            assert far_end is not None
            assert (far_end.lost, far_end.lost_percent, far_end.jitter_ms) == (5, 5.0, 10.0)
            assert far_end.rtt_ms == pytest.approx(50, abs=0.1)
            data = build_rtp(0, False, 1, 160, 7, bytes(160))
            stream.receive_rtp(data, address, 1.2)
            heard = call.leg.figures().quality
            assert heard is not None
            assert heard.delay_ms == pytest.approx(
                25, abs=21
            )  # half of it, and a packet once its length is known
            later = reported(-2, 0, 0).far_end  # duplicates, and a report that saw none of ours
            assert later is not None
            assert (later.lost, later.rtt_ms) == (0, far_end.rtt_ms)

    run(main)
