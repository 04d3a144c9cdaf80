"""The kernel's filter on real sockets: who passes, that it follows whom the stream trusts, what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from rtp import gate
from rtp.codec import CODECS
from rtp.events import AudioFrame, SourceLatched, StreamConfig, StreamEvent
from rtp.packet import build_rtp
from rtp.ports import PortAllocator
from rtp.source import Guests
from rtp.stream import RtpStream
from rtp.transport import SHUT_OUT_AFTER, MediaTransport

HOST, ELSEWHERE, STRANGER = "127.0.0.1", "127.0.0.2", "127.0.0.66"
SSRC = 0x89ABCDEF

if not hasattr(socket, "SO_BINDTODEVICE"):  # pragma: no cover
    pytest.skip("the filter is Linux's", allow_module_level=True)


@contextlib.contextmanager
def udp(host: str, *, family: int = socket.AF_INET) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.setblocking(False)
        yield sock


def waiting(sock: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(2048))
    return found


def rtp(seq: int, *, ssrc: int = SSRC, payload: bytes = b"s" * 160) -> bytes:
    return build_rtp(0, False, seq, seq * 160, ssrc, payload)


def test_of_ipv4_the_named_addresses_and_the_ssrc_pass() -> None:
    with (
        udp(HOST) as ours,
        udp(HOST) as phone,
        udp(HOST) as neighbour,
        udp(ELSEWHERE) as other,
        udp(STRANGER) as bad,
    ):
        guests = Guests((phone.getsockname(), (ELSEWHERE, 0)), SSRC)
        assert gate.shut(ours, guests)
        for number, sock in enumerate((phone, neighbour, other, bad)):
            sock.sendto(bytes([number]), ours.getsockname())
            sock.sendto(rtp(number), ours.getsockname())
            sock.sendto(rtp(number, ssrc=SSRC + 1), ours.getsockname())
        passed = waiting(ours)
        assert [data for data in passed if len(data) == 1] == [b"\x00", b"\x02"]
        assert [data for data in passed if data[8:12] == rtp(0)[8:12]] == [rtp(number) for number in range(4)]
        assert len(passed) == 2 + 4 + 2
        assert gate.kernel_drops(ours) == 4
        gate.open_again(ours)
        bad.sendto(b"again", ours.getsockname())
        assert waiting(ours) == [b"again"]


@pytest.mark.parametrize(
    ("bind", "family", "phone_at"), [("::1", socket.AF_INET6, "::1"), ("::", socket.AF_INET, HOST)],
    ids=["IPv6", "IPv4 on a socket of both"],
)  # fmt: skip
def test_of_both_families(bind: str, family: int, phone_at: str) -> None:
    with (
        udp(bind, family=socket.AF_INET6) as ours,
        udp(phone_at, family=family) as phone,
        udp(phone_at, family=family) as stranger,
    ):
        to = (phone_at, ours.getsockname()[1])
        phone.sendto(b"who", to)
        _, source = ours.recvfrom(100)
        assert gate.shut(ours, Guests((source[:2],), SSRC))
        for sock in (phone, stranger):
            sock.sendto(b"short", to)
            sock.sendto(rtp(1), to)
        assert waiting(ours) == [b"short", rtp(1), rtp(1)]


def test_what_is_no_address_shuts_nobody_out() -> None:
    with udp(HOST) as ours, udp(HOST) as phone:
        assert not gate.shut(ours, Guests((("phone.invalid", 5),)))
        phone.sendto(b"in", ours.getsockname())
        assert waiting(ours) == [b"in"]


class Call:
    """A stream on real sockets; time is the test's: it reads and ticks when asked."""

    def __init__(self) -> None:
        self.heard: list[StreamEvent] = []
        self.now = 0.0
        self.stream = RtpStream(1)
        sockets = PortAllocator(0, 0).open_pair(HOST)
        self.address: tuple[str, int] = sockets[0].getsockname()
        self.transport = MediaTransport(self.stream, sockets, self.heard.extend, clock=lambda: self.now)

    def configure(self, phone: socket.socket, rtcp: socket.socket | None = None) -> None:
        rtcp_at = None if rtcp is None else rtcp.getsockname()
        self.stream.configure(StreamConfig(CODECS["PCMU"], 0, 101, phone.getsockname(), rtcp_at))

    async def taken(self, *, until: Callable[[], bool]) -> None:
        """Reads until something is so, then one tick."""
        async with asyncio.timeout(10):
            while not until():  # noqa: ASYNC110 - what is dropped is no event
                await asyncio.sleep(0)
        self.transport.tick(self.now)

    async def flooded(self, by: socket.socket) -> None:
        """As many datagrams as shut a stranger out."""
        before = sum(self.stream.dropped.values())
        for _ in range(SHUT_OUT_AFTER):
            by.sendto(b"flood", self.address)
            await asyncio.sleep(0)
        await self.taken(until=lambda: sum(self.stream.dropped.values()) >= before + SHUT_OUT_AFTER)

    def kernel_drops(self) -> int:
        self.transport.count_kernel_drops()
        return self.stream.dropped.get("kernel", 0)

    def sources(self) -> list[tuple[str, int]]:
        return [event.addr for event in self.heard if isinstance(event, SourceLatched)]

    def frames(self) -> int:
        return sum(isinstance(event, AudioFrame) for event in self.heard)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def wrapped() -> None:
        await main()

    asyncio.run(wrapped())


def test_a_flood_is_shut_out_and_a_rebound_phone_still_gets_in() -> None:
    async def main() -> None:
        call = Call()
        with udp(HOST) as phone, udp(HOST) as rebound, udp(STRANGER) as stranger:
            call.configure(phone)
            phone.sendto(rtp(1), call.address)
            await call.taken(until=lambda: call.frames() == 1)
            assert call.kernel_drops() == 0
            await call.flooded(stranger)
            stranger.sendto(b"flood", call.address)
            assert call.kernel_drops() == 1
            call.now = 10.0  # the window is over, the phone has been silent
            rebound.sendto(rtp(2), call.address)
            await call.taken(until=lambda: call.frames() == 2)
            assert call.sources() == [phone.getsockname(), rebound.getsockname()]
            rebound.sendto(b"not RTP, of the new source", call.address)  # the gate has followed
            await call.taken(until=lambda: call.stream.dropped.get("bad_version") == 1)
            stranger.sendto(b"flood", call.address)
            assert call.kernel_drops() == 2
        call.transport.close()
        assert call.stream.dropped["kernel"] == 2

    run(main)


def test_a_re_invite_opens_the_gate_for_the_new_address_and_for_nat() -> None:
    async def main() -> None:
        call = Call()
        with (
            udp(HOST) as phone,
            udp(ELSEWHERE) as signalled,
            udp(ELSEWHERE) as nat,
            udp(STRANGER) as stranger,
        ):
            call.configure(phone)
            phone.sendto(rtp(1), call.address)
            await call.taken(until=lambda: call.frames() == 1)
            await call.flooded(stranger)
            call.configure(signalled)
            call.transport.tick(0.02)
            for seq in (7, 8):  # from neither address, with a new SSRC
                nat.sendto(rtp(seq, ssrc=5), call.address)
            await call.taken(until=lambda: call.frames() == 3)
            assert call.sources()[-1] == nat.getsockname()
            await call.flooded(stranger)
            before = call.kernel_drops()
            stranger.sendto(b"flood", call.address)
            assert call.kernel_drops() == before + 1
        call.transport.close()

    run(main)


def test_the_port_of_rtcp_is_shut_too_but_for_the_medias_host() -> None:
    async def main() -> None:
        call = Call()
        with udp(HOST) as phone, udp(HOST) as reports, udp(STRANGER) as stranger:
            call.configure(phone)
            phone.sendto(rtp(1), call.address)
            await call.taken(until=lambda: call.frames() == 1)
            await call.flooded(stranger)
            stranger.sendto(b"flood", (HOST, call.address[1] + 1))
            assert call.kernel_drops() == 1
            reports.sendto(b"\x80\xc9", (HOST, call.address[1] + 1))
            await call.taken(until=lambda: call.stream.dropped.get("rtcp_truncated") == 1)
        call.transport.close()

    run(main)


def test_a_stranger_who_was_quicker_cannot_shut_the_phone_out_by_a_flood() -> None:
    async def main() -> None:
        call = Call()
        with (
            udp(ELSEWHERE) as signalled,
            udp(ELSEWHERE) as phone,
            udp(STRANGER) as quicker,
            udp(STRANGER) as flood,
        ):
            call.configure(signalled)
            for seq in (1, 2):
                quicker.sendto(rtp(seq), call.address)
            await call.taken(until=lambda: call.frames() == 2)
            await call.flooded(flood)
            flood.sendto(b"flood", call.address)
            assert call.kernel_drops() == 1
            phone.sendto(rtp(9, ssrc=5), call.address)  # another port of its host, as NAT gives it
            await call.taken(until=lambda: call.frames() == 3)
            assert call.sources()[-1] == phone.getsockname()
        call.transport.close()

    run(main)


def test_reports_from_a_host_of_their_own_are_no_strangers() -> None:
    async def main() -> None:
        call = Call()
        with udp(HOST) as phone, udp(ELSEWHERE) as reports, udp(STRANGER) as stranger:
            call.configure(phone, reports)
            phone.sendto(rtp(1), call.address)
            await call.taken(until=lambda: call.frames() == 1)
            dropped = call.stream.dropped
            for _ in range(SHUT_OUT_AFTER):  # what is no report about us is no event
                reports.sendto(b"\x80\xc9", (HOST, call.address[1] + 1))
                await asyncio.sleep(0)
            await call.taken(until=lambda: dropped.get("rtcp_truncated") == SHUT_OUT_AFTER)
            stranger.sendto(b"a stray one", call.address)
            await call.taken(until=lambda: sum(dropped.values()) == SHUT_OUT_AFTER + 1)
            assert call.kernel_drops() == 0
            await call.flooded(stranger)
            reports.sendto(b"\x80\xc9", (HOST, call.address[1] + 1))
            await call.taken(until=lambda: dropped.get("rtcp_truncated") == SHUT_OUT_AFTER + 1)
        call.transport.close()

    run(main)


def test_the_packets_of_the_peer_itself_shut_nobody_out() -> None:
    async def main() -> None:
        call = Call()
        with udp(HOST) as phone, udp(STRANGER) as stranger:
            call.configure(phone)
            phone.sendto(rtp(1), call.address)
            await call.taken(until=lambda: call.frames() == 1)
            await call.flooded(phone)
            stranger.sendto(b"a stray one", call.address)
            dropped = call.stream.dropped
            await call.taken(until=lambda: sum(dropped.values()) == SHUT_OUT_AFTER + 1)
            assert call.kernel_drops() == 0
        call.transport.close()

    run(main)
