"""The socket adapter on loopback, on both event loops: bytes, garbage, errors, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
import uvloop

from rtp.codec import CODECS
from rtp.events import AudioFrame, RemoteBye, StreamConfig, StreamEvent
from rtp.pacer import Pacer
from rtp.packet import RtcpByePacket, build_rtp, parse_rtcp
from rtp.ports import PortAllocator
from rtp.stream import RtpStream
from rtp.transport import DRAIN_DATAGRAMS, MediaTransport

HOST = "127.0.0.1"
PCMU = CODECS["PCMU"]
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Leg:
    """A stream with its transport and what it heard."""

    def __init__(self, ports: PortAllocator) -> None:
        self.heard: list[StreamEvent] = []
        self.on_sound: Callable[[], None] = lambda: None
        self._changed = asyncio.Event()
        self.stream = RtpStream()
        sockets = ports.open_pair(HOST)
        self.address: tuple[str, int] = sockets[0].getsockname()
        self.transport = MediaTransport(self.stream, sockets, self._on_events, release=ports.release)

    def _on_events(self, events: list[StreamEvent]) -> None:
        self.heard += events
        self.on_sound()
        self._changed.set()

    def configure(self, remote: tuple[str, int]) -> None:
        self.stream.configure(StreamConfig(PCMU, 0, 101, remote))

    def sound(self) -> bytes:
        return b"".join(e.payload for e in self.heard if isinstance(e, AudioFrame))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def gap(self) -> float:
        """Once two packets are there, one of them behind a gap: when that will be given up."""
        async with asyncio.timeout(10):
            while self.stream.snapshot().packets_received < 2:  # noqa: ASYNC110 - what is held is no event
                await asyncio.sleep(0)
        deadline = self.stream.deadline()
        assert deadline is not None
        return deadline


def stand_still(until: float) -> None:
    """As a process does that got no processor."""
    time.sleep(max(0.0, until - time.monotonic()) + 0.005)


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[], Awaitable[None]]], None]]:
    """Run a coroutine on a loop of each kind and see that no file descriptor stays open."""

    def go(main: Callable[[], Awaitable[None]]) -> None:
        async def wrapped() -> None:
            await main()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(wrapped())

    go(lambda: asyncio.sleep(0))  # uvloop keeps two descriptors of its first loop for the process
    before = len(os.listdir("/proc/self/fd"))
    yield go
    assert len(os.listdir("/proc/self/fd")) == before


Run = Callable[[Callable[[], Awaitable[None]]], None]


def test_two_legs_talk_and_say_goodbye(run: Run) -> None:
    async def main() -> None:
        ports = PortAllocator(0, 0)
        one, two = Leg(ports), Leg(ports)
        one.configure(two.address)
        two.configure(one.address)
        pacer = Pacer()
        said = bytes(range(250)) * 16
        one.stream.playout.append("item", said)
        one.stream.playout.end_item("item")
        pacer.add(one.transport, ptime_ms=2)
        pacer.add(two.transport, ptime_ms=2)
        pacer.start()
        await two.until(lambda: len(two.sound()) >= len(said))
        assert two.sound().startswith(said)
        pacer.stop()
        two.transport.close()
        await one.until(lambda: RemoteBye() in one.heard)
        one.transport.close()
        one.transport.close()
        assert ports.in_use == 0

    run(main)


def test_garbage_and_a_flood_change_nothing_for_the_call(run: Run) -> None:
    async def main() -> None:
        ports = PortAllocator(0, 0)
        leg = Leg(ports)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        ):
            phone.bind((HOST, 0))
            leg.configure(phone.getsockname())
            chance = random.Random(1)
            said = b""
            for seq in range(20):
                phone.sendto(build_rtp(0, False, seq, seq * 160, 5, bytes([seq]) * 160), leg.address)
                said += bytes([seq]) * 160
                await leg.until(lambda said=said: leg.sound() == said)  # type: ignore[misc]
                for _ in range(20):
                    blob = chance.randbytes(chance.randrange(200))
                    stranger.sendto(blob, leg.address)
                    stranger.sendto(blob, (HOST, leg.address[1] + 1))
                stranger.sendto(build_rtp(0, False, seq, 0, 6, b"evil"), leg.address)
            phone.sendto(build_rtp(0, False, 20, 3200, 5, b"last"), leg.address)
            await leg.until(lambda: leg.sound() == said + b"last")
            assert leg.stream.dropped["wrong_source"] >= 1
            assert leg.stream.destination == phone.getsockname()
        leg.transport.close()

    run(main)


def test_a_gap_is_given_up_by_the_timer(run: Run) -> None:
    async def main() -> None:
        leg = Leg(PortAllocator(0, 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.bind((HOST, 0))
            leg.configure(phone.getsockname())
            for seq in (1, 3):
                packet = build_rtp(0, False, seq, seq * 160, 5, b"s" * 160)
                phone.sendto(packet, leg.address)
            await leg.until(lambda: len(leg.sound()) == 480)
            assert leg.stream.uplink.concealed_samples == 160
        leg.transport.close()

    run(main)


def test_what_came_during_a_stall_is_heard_before_the_gap_is_given_up(run: Run) -> None:
    async def main() -> None:
        leg = Leg(PortAllocator(0, 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.bind((HOST, 0))
            leg.configure(phone.getsockname())

            def say(*numbers: int) -> None:
                for seq in numbers:
                    sound = bytes([seq]) * 160
                    phone.sendto(build_rtp(0, False, seq, seq * 160, 5, sound), leg.address)

            say(1, 3)
            deadline = await leg.gap()
            say(4, 5, 2)
            stand_still(deadline)
            await leg.until(lambda: len(leg.sound()) >= 800)
            assert leg.sound() == b"".join(bytes([seq]) * 160 for seq in range(1, 6))
            assert leg.stream.uplink.concealed_samples == 0
        leg.transport.close()

    run(main)


def test_a_flood_does_not_keep_a_timer_busy(run: Run) -> None:
    async def main() -> None:
        leg = Leg(PortAllocator(0, 0))
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        ):
            phone.bind((HOST, 0))
            leg.configure(phone.getsockname())
            for seq in (1, 3):
                phone.sendto(build_rtp(0, False, seq, seq * 160, 5, b"s" * 160), leg.address)
            deadline = await leg.gap()
            for _ in range(DRAIN_DATAGRAMS + 36):
                stranger.sendto(b"flood", leg.address)
            stand_still(deadline)
            seen: list[int] = []
            leg.on_sound = lambda: seen.append(sum(leg.stream.dropped.values()))
            await leg.until(lambda: len(leg.sound()) == 480)
            assert seen[0] <= DRAIN_DATAGRAMS + 1  # asyncio reads one before its timers
        leg.transport.close()

    run(main)


def test_a_peer_that_is_gone_and_bad_addresses_are_counted_not_raised(run: Run) -> None:
    async def main() -> None:
        leg = Leg(PortAllocator(0, 0))
        config = StreamConfig(PCMU, 0, 101, (HOST, 1))
        for remote in ((HOST, 1), (HOST, 70000), ("255.255.255.255", 9), ("not-an-address.invalid", 9)):
            leg.stream.configure(replace(config, remote=remote))
            for tick in range(3):
                leg.transport.tick(tick * 0.02)
        assert leg.transport.send_errors >= 3  # the broadcast; the others have no destination at all
        leg.transport.close()
        leg.transport.tick(1.0)
        leg.transport.send(b"after close")

    run(main)


def test_an_owner_that_raises_does_not_break_the_socket(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        calls = asyncio.Event()

        def fail(events: list[StreamEvent]) -> None:
            calls.set()
            raise ZeroDivisionError("a bug of the owner's")

        stream = RtpStream()
        sockets = PortAllocator(0, 0).open_pair(HOST)
        address = sockets[0].getsockname()
        transport = MediaTransport(stream, sockets, fail)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.bind((HOST, 0))
            stream.configure(StreamConfig(PCMU, 0, 101, phone.getsockname()))
            for seq in range(3):
                calls.clear()
                phone.sendto(build_rtp(0, False, seq, seq * 160, 5, b"s" * 160), address)
                async with asyncio.timeout(10):
                    await calls.wait()
        assert transport.callback_errors == 3
        transport.close()

    run(main)
    assert "a bug of the owner's" in caplog.text


def test_the_bye_goes_to_the_peers_rtcp_port(run: Run) -> None:
    async def main() -> None:
        leg = Leg(PortAllocator(0, 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.bind((HOST, 0))
            phone.settimeout(5)
            host, port = phone.getsockname()
            leg.stream.configure(StreamConfig(PCMU, 0, 101, (host, port - 1), remote_rtcp=(host, port)))
            leg.transport.tick(0.0)  # who never sent anything says no BYE
            leg.transport.close()
            assert isinstance(parse_rtcp(phone.recv(1500))[-1], RtcpByePacket)

    run(main)


def test_a_stream_that_never_had_a_peer_closes_silently(run: Run) -> None:
    async def main() -> None:
        ports = PortAllocator(0, 0)
        leg = Leg(ports)
        leg.transport.close()
        assert ports.in_use == 0
        assert leg.transport.send_errors == 0

    run(main)
