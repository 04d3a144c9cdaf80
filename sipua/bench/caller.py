"""The caller: a real SIP call, and RTP on sockets of its own so that times are taken at the socket.

Nothing is buffered, ordered or decoded here: what left and what arrived is written down with its time. The recording
is bounded by the length of the run (50 packets a second).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

from rtp.codec import Codec
from rtp.errors import PacketError
from rtp.packet import build_rtp, is_rtcp, parse_rtp
from rtp.ports import PortAllocator
from sipua.bench.evaluate import Heard
from sipua.errors import LocalError
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.sip_events import (
    EndpointFailed,
    LegChanged,
    LegState,
    MediaChanged,
    MediaDescription,
    Refusal,
    SdpPlan,
    SipEvent,
)

ADDRESS = "127.0.0.1"
ANSWER_TIMEOUT_S = 10.0
BYE_TIMEOUT_S = 3.0
DATAGRAM_BYTES = 4096


class BenchCall:
    """An answered call. ``send`` one frame at a time; ``received`` is every RTP datagram with its arrival."""

    def __init__(self, codec: Codec, rtp: socket.socket, rtcp: socket.socket) -> None:
        self.codec = codec
        self.received: list[tuple[float, bytes]] = []
        self.ended = asyncio.Event()
        self.ending = ""
        self._rtp = rtp
        self._rtcp = rtcp
        self._destination: tuple[str, int] | None = None
        self._payload_type = codec.payload_type
        self._ssrc = secrets.randbits(32)
        self._sequence_number = secrets.randbits(16)
        self._timestamp = secrets.randbits(32)
        self._marker = True
        loop = asyncio.get_running_loop()
        loop.add_reader(rtp.fileno(), self._read)
        loop.add_reader(rtcp.fileno(), self._discard)

    @property
    def port(self) -> int:
        """Where we want the agent's RTP."""
        port: int = self._rtp.getsockname()[1]
        return port

    @property
    def has_destination(self) -> bool:
        """An SDP answer has told where ours goes."""
        return self._destination is not None

    def send(self, payload: bytes) -> float:
        """One RTP packet; time.monotonic() just before it was handed to the kernel."""
        assert self._destination is not None, "the call is not answered"
        packet = build_rtp(
            self._payload_type, self._marker, self._sequence_number, self._timestamp, self._ssrc, payload
        )
        self._marker = False
        self._sequence_number = (self._sequence_number + 1) & 0xFFFF
        self._timestamp = (self._timestamp + len(payload)) & 0xFFFFFFFF
        at = time.monotonic()
        with contextlib.suppress(OSError):  # the agent's socket is gone: the end of the call tells
            self._rtp.sendto(packet, self._destination)
        return at

    def heard(self) -> list[Heard]:
        """All RTP packets so far, parsed; anything else is left out."""
        found: list[Heard] = []
        for at, data in self.received:
            with contextlib.suppress(PacketError):
                packet = parse_rtp(data)
                if not is_rtcp(data) and packet.payload_type == self._payload_type:
                    found.append(Heard(at, packet.timestamp, packet.payload))
        return found

    def follow(self, media: MediaDescription) -> None:
        """Where the answer wants the sound."""
        self._destination = media.remote_rtp
        self._payload_type = media.tx_payload_type

    def close(self) -> None:
        """Reads no more."""
        loop = asyncio.get_running_loop()
        for sock in (self._rtp, self._rtcp):
            loop.remove_reader(sock.fileno())
            sock.close()

    def _read(self) -> None:
        at = time.monotonic()
        with contextlib.suppress(OSError):
            self.received.append((at, self._rtp.recv(DATAGRAM_BYTES)))

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            self._rtcp.recv(DATAGRAM_BYTES)


@contextlib.asynccontextmanager
async def placed_call(uri: str, codec: Codec) -> AsyncIterator[BenchCall]:
    """Calls ``uri`` and yields once it is answered; hangs up at the end. LocalError if it is not answered."""
    events: asyncio.Queue[SipEvent] = asyncio.Queue()  # a handful per call
    endpoint = SipEndpoint(
        EndpointConfig(bind=ADDRESS, port=0, codecs=(codec.name,), contact_user="bench"),
        lambda arrival, message: Refusal(480, "a bench takes no calls", None),
        events.put_nowait,
    )
    await endpoint.start()
    try:
        call = BenchCall(codec, *PortAllocator(0, 0).open_pair(ADDRESS))
        try:
            key = uuid4()
            plan = SdpPlan(ADDRESS, call.port, (codec.name,))
            await endpoint.invite(uri, plan, key)
            await _answered(call, events, uri)
            following = asyncio.create_task(_follow(call, events), name="leg")
            try:
                yield call
            finally:
                await _hang_up(endpoint, key, call)
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        finally:
            call.close()
    finally:
        await endpoint.stop()


async def _answered(call: BenchCall, events: asyncio.Queue[SipEvent], uri: str) -> None:
    confirmed = False
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while not (confirmed and call.has_destination):
                event = await events.get()
                _take(call, event)
                if call.ended.is_set():
                    raise LocalError(f"{uri} did not answer: {call.ending}")
                confirmed |= isinstance(event, LegChanged) and event.state is LegState.CONFIRMED
    except TimeoutError:
        raise LocalError(f"{uri} did not answer within {ANSWER_TIMEOUT_S:g} s") from None


async def _follow(call: BenchCall, events: asyncio.Queue[SipEvent]) -> None:
    while True:
        _take(call, await events.get())


def _take(call: BenchCall, event: SipEvent) -> None:
    match event:
        case MediaChanged(media=media) if media is not None and media.codec:
            call.follow(media)
        case LegChanged(state=LegState.DISCONNECTED, code=code, phrase=phrase):
            call.ending = f"SIP {code} {phrase}".strip()
            call.ended.set()
        case EndpointFailed(message):
            call.ending = f"the SIP thread died: {message}"
            call.ended.set()
        case _:
            pass


async def _hang_up(endpoint: SipEndpoint, key: UUID, call: BenchCall) -> None:
    if call.ended.is_set():
        return
    with contextlib.suppress(LocalError, TimeoutError):
        async with asyncio.timeout(BYE_TIMEOUT_S):
            await endpoint.hang_up(key)
            await call.ended.wait()
