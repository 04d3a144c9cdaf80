"""The agent's own receive path, packet by packet and timer by timer, on a simulated clock.

``RtpStream`` is the class that every call of ``sipua serve`` has; it gets datagrams and knows nothing of a trace. The
last four bytes of a payload are the number of the packet, which the sound that comes out still has.
"""

from __future__ import annotations

import numpy as np

from rtp.codec import CODECS
from rtp.events import AudioFrame, StreamConfig, StreamEvent
from rtp.packet import build_rtp
from rtp.stream import RtpStream
from rtp.traces import Trace
from sipua.bench.jitter.outcome import Outcome, Times, first_arrivals

CODEC = CODECS["PCMU"]
REMOTE = ("192.0.2.1", 4000)
TAIL_S = 2.0  # after the last arrival: nothing is waited for longer
NUMBER_BYTES = 4


def new_stream() -> RtpStream:
    """As ``sipua serve`` makes it."""
    stream = RtpStream(app_codec=CODEC)
    stream.configure(StreamConfig(CODEC, CODEC.payload_type, None, REMOTE))
    return stream


def play(trace: Trace) -> Outcome:
    """Feeds the trace to a stream, rings its timer when it asks for it, notes when each packet comes out."""
    stream = new_stream()
    arrived = first_arrivals(trace)
    handed_over: Times = np.full(len(trace.packets), np.nan)
    arrivals = trace.arrivals()

    def note(events: list[StreamEvent], now: float) -> None:
        for event in events:
            if isinstance(event, AudioFrame) and not event.concealed:
                handed_over[int.from_bytes(event.payload[-NUMBER_BYTES:])] = now

    def run_timers(until: float) -> None:
        while (deadline := stream.deadline()) is not None and deadline <= until:
            note(stream.on_timer(deadline), deadline)

    for at, index in arrivals:
        run_timers(at)
        packet = trace.packets[index]
        payload = bytes(packet.samples - NUMBER_BYTES) + index.to_bytes(NUMBER_BYTES)
        data = build_rtp(
            CODEC.payload_type, False, packet.sequence_number, packet.timestamp, packet.ssrc, payload
        )
        note(stream.receive_rtp(data, REMOTE, at), at)
    run_timers(arrivals[-1][0] + TAIL_S)
    return Outcome(handed_over, arrived)
