"""When a call's media are dead: the table of ``rtp.liveness``, through a whole stream."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rtp.codec import CODECS
from rtp.events import Direction, StreamConfig
from rtp.liveness import QUIET_FACTOR
from rtp.packet import build_rtp, bye, receiver_report
from rtp.stream import RtpStream

PHONE, PHONE_RTCP = ("192.0.2.1", 4000), ("192.0.2.1", 4001)
STRANGER = ("203.0.113.66", 9)
CONFIG = StreamConfig(CODECS["PCMU"], 0, 101, PHONE)
TIMEOUT_S = 20.0
LONG_S = QUIET_FACTOR * TIMEOUT_S

SOUND, KEY, NOISE, FOREIGN, REPORT, BYE, HOLD, RESUME = range(8)

# What comes when, in seconds after the answer, and when it is over.
CASES: dict[str, tuple[list[tuple[float, int]], float | None]] = {
    "nothing ever": ([], TIMEOUT_S),
    "nothing but reports": ([(t, REPORT) for t in range(1, 400, 5)], TIMEOUT_S),
    "sound, then nothing": ([(0, SOUND), (5, SOUND)], 5 + TIMEOUT_S),
    "a key, then nothing": ([(0, SOUND), (5, KEY)], 5 + TIMEOUT_S),
    "only a stranger speaks on": ([(0, SOUND), *((t, FOREIGN) for t in range(1, 100))], TIMEOUT_S),
    "sound, then reports: a phone that suppresses silence": (
        [(0, SOUND), *((t, REPORT) for t in range(1, 190, 5)), (190, SOUND)], 190 + TIMEOUT_S,
    ),
    "sound, then reports for ever: no sound comes through": (
        [(0, SOUND), *((t, REPORT) for t in range(1, 400, 5))], LONG_S,
    ),
    "sound, then reports that stop": ([(0, SOUND), *((t, REPORT) for t in range(1, 60, 5))], 56 + TIMEOUT_S),
    "comfort noise once in a silence": ([(0, SOUND), (1, NOISE), (180, SOUND)], 180 + TIMEOUT_S),
    "comfort noise, then nothing": ([(0, SOUND), (1, NOISE)], 1 + LONG_S),
    "comfort noise, then reports": ([(0, SOUND), (1, NOISE), *((t, REPORT) for t in range(5, 401, 5))], 400 + LONG_S),
    "comfort noise again and again": ([(0, SOUND), *((t, NOISE) for t in range(1, 402, 50))], 401 + LONG_S),
    "sound after comfort noise": ([(0, NOISE), (1, SOUND)], 1 + TIMEOUT_S),
    "a farewell counts as no report": ([(0, SOUND), (6, REPORT), (19, BYE)], TIMEOUT_S),
    "on hold": ([(0, SOUND), (5, HOLD)], None),
    "taken back from hold": ([(0, SOUND), (5, HOLD), (500, RESUME)], 500 + TIMEOUT_S),
    "hold repeated": ([(0, SOUND), (5, HOLD), (100, HOLD)], None),
}  # fmt: skip


def happens(stream: RtpStream, what: int, number: int, now: float, held: Direction) -> None:
    def rtp(payload: bytes, payload_type: int = 0, *, ssrc: int = 77) -> bytes:
        return build_rtp(payload_type, False, number, number * 160, ssrc, payload)

    match what:
        case 0:
            stream.receive_rtp(rtp(b"s" * 160), PHONE, now)
        case 1:
            stream.receive_rtp(rtp(b"\x05\x8a\x03\x20", 101), PHONE, now)
        case 2:
            stream.receive_rtp(rtp(b"\x40", 13), PHONE, now)
        case 3:
            stream.receive_rtp(rtp(b"x" * 160, ssrc=666), STRANGER, now)
        case 4:
            stream.receive_rtcp(receiver_report(77), PHONE_RTCP, now)
        case 5:
            stream.receive_rtcp(receiver_report(77) + bye(77), PHONE_RTCP, now)
        case _:
            stream.configure(replace(CONFIG, direction=held if what == HOLD else "sendrecv"))


@pytest.mark.parametrize("held", ["sendonly", "inactive", "recvonly"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_when_it_is_over(case: tuple[list[tuple[float, int]], float | None], held: Direction) -> None:
    script, over_at = case
    stream = RtpStream(1)
    stream.configure(CONFIG)
    todo = list(script)
    found = None
    for now in range(1000):
        while todo and todo[0][0] <= now:
            at, what = todo.pop(0)
            happens(stream, what, int(at), at, held)
        if stream.is_timed_out(float(now), TIMEOUT_S):
            found = now
            break
    assert found == over_at
