"""``sipua bench flood``: a call whose open port is flooded with random datagrams; what it loses.

The call is a ``MediaTransport`` with its pacer, as ``serve`` runs it; phone and strangers are another process
(``flooder``). Counted are packets, so a slow machine makes it longer, not worse.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any

from rtp.codec import CODECS
from rtp.events import AudioFrame, StreamConfig, StreamEvent
from rtp.pacer import Pacer
from rtp.ports import PortAllocator
from rtp.stream import RtpStream
from rtp.transport import MediaTransport
from sipua.bench.figures import machine
from sipua.bench.flooder import FRAME_CODES, HOST, SAMPLES
from sipua.bench.path import until_stopped
from sipua.errors import LocalError

DEFAULT_RATE, DEFAULT_FLOOD_S = 10_000, 10.0
SETTLE_S = 0.3  # for what is under way at the end
GRACE_S = 60.0
MAX_LOST_PERCENT = 1.0


@dataclass(frozen=True, slots=True)
class FloodOptions:
    """Datagrams a second, and for how long."""

    rate: int = DEFAULT_RATE
    seconds: float = DEFAULT_FLOOD_S


class Heard:
    """The phone's packets as they came out, and what was not its."""

    def __init__(self) -> None:
        self.frames = 0
        self.foreign = 0

    def on_events(self, events: list[StreamEvent]) -> None:
        for event in events:
            if isinstance(event, AudioFrame) and not event.concealed:
                is_phones = (
                    event.payload == event.payload[:1] * SAMPLES and 1 <= event.payload[0] <= FRAME_CODES
                )
                self.frames += is_phones
                self.foreign += not is_phones


async def run_flood(options: FloodOptions, stop: asyncio.Event) -> dict[str, Any]:
    """Runs it; the document of ``--json``. LocalError if the far end does not start or the user stops it."""
    return await until_stopped(_flooded(options), stop)


async def _flooded(options: FloodOptions) -> dict[str, Any]:
    heard, stream, pacer = Heard(), RtpStream(), Pacer()
    sockets = PortAllocator(0, 0).open_pair(HOST)
    port: int = sockets[0].getsockname()[1]
    transport = MediaTransport(stream, sockets, heard.on_events)
    arguments = (str(port), str(options.rate), str(options.seconds))
    far_end = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sipua.bench.flooder", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert far_end.stdin is not None
    assert far_end.stdout is not None
    try:
        phone = await far_end.stdout.readline()
        if not phone:
            raise LocalError("the far end of the flood did not start")
        stream.configure(StreamConfig(CODECS["PCMU"], 0, 101, (HOST, int(phone))))
        pacer.add(transport)
        pacer.start()
        far_end.stdin.write(b"\n")
        async with asyncio.timeout(options.seconds + GRACE_S):
            sent = json.loads(await far_end.stdout.readline())
        await asyncio.sleep(SETTLE_S)
    finally:
        pacer.stop()
        if far_end.returncode is None:
            far_end.kill()
        await far_end.wait()
        transport.close()
    return {
        "rate": options.rate,
        "seconds": options.seconds,
        **sent,
        "frames": heard.frames,
        "lost": sent["talked"] - heard.frames,
        "lost_percent": round(100 * (1 - heard.frames / sent["talked"]), 2),
        "foreign": heard.foreign,
        "dropped": stream.dropped,
        "callback_errors": transport.callback_errors,
        "receive_errors": transport.receive_errors,
        "target": {"lost_percent": MAX_LOST_PERCENT, "foreign": 0},
        "machine": machine(),
    }
