"""The far end of ``sipua bench flood``, a process of its own: a phone that talks, and strangers who flood its peer.

``python -m sipua.bench.flooder PORT RATE SECONDS``: prints the phone's port, waits for a line, floods port PORT of
loopback for SECONDS with RATE datagrams a second while the phone says a packet every 20 ms, a little longer on
both ends. Prints how many of each were sent and how many packets the phone heard.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
import time

HOST, STRANGERS = "127.0.0.1", "127.0.0.66"
STEP_S = 0.002  # between bursts
FRAME_S = 0.020
LEAD_S = 0.3  # of talk before and after the flood
SSRC = 0x5EED
SAMPLES = 160
FRAME_CODES = 100  # payloads: FRAME_CODES bytes' values, one per packet, in turn


def said(number: int) -> bytes:
    """The phone's packet ``number``: PCMU, each sample its code."""
    header = struct.pack("!BBHLL", 0x80, 0, number & 0xFFFF, number * SAMPLES, SSRC)
    return header + bytes([1 + number % FRAME_CODES]) * SAMPLES


def nonsense(chance: random.Random) -> bytes:
    """Random bytes; every other datagram has the head of an RTP packet with PCMU."""
    body = chance.randbytes(chance.randrange(300))
    return b"\x80\x00" + body if chance.random() < 0.5 else body


def main(port: int, rate: int, seconds: float) -> None:
    chance = random.Random(port)
    pool = [nonsense(chance) for _ in range(1000)]
    phone, stranger = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    phone.bind((HOST, 0))
    phone.setblocking(False)
    stranger.bind((STRANGERS, 0))
    print(phone.getsockname()[1], flush=True)
    sys.stdin.readline()
    begin = time.monotonic()
    talked = flooded = heard = 0
    while (now := time.monotonic() - begin) < seconds + 2 * LEAD_S:
        while talked * FRAME_S <= now:
            phone.sendto(said(talked), (HOST, port))
            talked += 1
        due = int(min(max(now - LEAD_S, 0.0), seconds) * rate)
        for _ in range(due - flooded):
            stranger.sendto(pool[flooded % len(pool)], (HOST, port))
            flooded += 1
        try:
            while phone.recv(2048):
                heard += 1
        except BlockingIOError:
            pass
        time.sleep(STEP_S)
    print(json.dumps({"talked": talked, "flooded": flooded, "heard": heard}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
