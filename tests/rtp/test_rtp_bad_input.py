"""All that is bad and can come to a call's ports, by name: counted by kind, never raised or heard, the call goes on."""

from __future__ import annotations

import random
import struct
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.codec import CODECS
from rtp.events import AudioFrame, StreamConfig
from rtp.packet import build_rtp, bye, receiver_report
from rtp.receiver import MAX_PAYLOAD
from rtp.srtp import SUITES, SrtpContext
from rtp.stream import RtpStream

PHONE, PHONE_RTCP = ("192.0.2.1", 4000), ("192.0.2.1", 4001)
STRANGER, STRANGER_RTCP = ("203.0.113.66", 4000), ("203.0.113.66", 4001)
SSRC = 77
GOOD, EVIL = b"s" * 160, b"E" * 160
RTCP_LIE = b"\x80\xc9\xff\xff" + bytes(4)

Sent = tuple[bytes, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Keys:
    local: bytes
    remote: bytes
    suite: str = SUITES[0]


OURS, THEIRS = bytes(range(30)), bytes(range(100, 130))
CONFIG = StreamConfig(CODECS["PCMU"], 0, 101, PHONE)
SECURE = replace(CONFIG, srtp=Keys(OURS, THEIRS))


def rtp(seq: int, payload: bytes = EVIL, *, pt: int = 0, ts: int | None = None, ssrc: int = SSRC) -> bytes:
    timestamp = seq * 160 if ts is None else ts
    return build_rtp(pt, False, seq & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, payload)


def headed(first_byte: int, behind: bytes = b"") -> bytes:
    """An RTP head whose first byte promises what is not there."""
    return bytes([first_byte]) + rtp(100, b"")[1:] + behind


class Call:
    """A call in which packets 0 to 9 of the phone were heard. 10 and later follow; what comes between is bad."""

    def __init__(self, config: StreamConfig = CONFIG) -> None:
        self.stream = RtpStream(1)
        self.stream.configure(config)
        self.heard: list[bytes] = []
        self.phone = SrtpContext(Keys(THEIRS, OURS)) if config.srtp else None
        self._now = 0.0
        for seq in range(10):
            self.comes(self.said(seq), PHONE)

    def said(self, seq: int) -> bytes:
        packet = rtp(seq, GOOD)
        return packet if self.phone is None else self.phone.protect_rtp(packet)

    def comes(self, data: bytes, addr: tuple[str, int]) -> None:
        self._now += 0.02
        is_rtcp = addr in (PHONE_RTCP, STRANGER_RTCP)
        events = (self.stream.receive_rtcp if is_rtcp else self.stream.receive_rtp)(data, addr, self._now)
        events += self.stream.on_timer(self._now)
        self.heard += [each.payload for each in events if isinstance(each, AudioFrame) and not each.concealed]

    def goes_on(self) -> bool:
        """The phone's next ten packets are heard, and nothing else was."""
        for seq in range(10, 20):
            self.comes(self.said(seq), PHONE)
        return self.heard == [GOOD] * 20 and self.stream.destination == PHONE


ROWS: dict[str, tuple[list[Sent], dict[str, int]]] = {
    "truncated, at each byte": ([(rtp(10)[:size], PHONE) for size in range(12)], {"truncated": 12}),
    "a head without payload": ([(rtp(9, b""), PHONE)], {"empty": 1}),
    "oversized": ([(rtp(10, bytes(MAX_PAYLOAD + 1)), PHONE)], {"oversized": 1}),
    "as long as UDP can be": ([(rtp(10, bytes(65_507 - 12)), PHONE)], {"oversized": 1}),
    "version not 2": ([(headed(version << 6, EVIL), PHONE) for version in (0, 1, 3)], {"bad_version": 3}),
    "STUN, DTLS, ZRTP, SIP": (
        [(head + bytes(40), PHONE) for head in (b"\0\1", b"\x16\xfe", b"\x10\0", b"INVITE")], {"bad_version": 4},
    ),
    "not negotiated": ([(rtp(10, pt=pt), PHONE) for pt in (3, 8, 18, 96, 127)], {"wrong_payload_type": 5}),
    "CSRCs that are not there": ([(headed(0x80 | count), PHONE) for count in (1, 15)], {"malformed": 2}),
    "CSRCs to the last byte": ([(headed(0x8F, bytes(59)), PHONE)], {"malformed": 1}),
    "an extension that is not there": ([(headed(0x90), PHONE)], {"malformed": 1}),
    "an extension longer than the packet": (
        [(headed(0x90, struct.pack("!HH", 0xBEDE, words) + EVIL), PHONE) for words in (41, 0xFFFF)], {"malformed": 2},
    ),
    "padding of 0": ([(headed(0xA0, EVIL + b"\0"), PHONE)], {"malformed": 1}),
    "padding longer than the payload": ([(headed(0xA0, EVIL + b"\xff"), PHONE)], {"malformed": 1}),
    "padding announced, nothing there": ([(headed(0xA0), PHONE)], {"malformed": 1}),
    "all lies at once": ([(headed(0xBF, struct.pack("!HH", 1, 9)), PHONE)], {"malformed": 1}),
    "a third address": ([(rtp(10 + n, ssrc=666), STRANGER) for n in range(100)], {"wrong_source": 100}),
    "a third address with the SSRC and another sequence": (
        [(rtp(40_000 + n), STRANGER) for n in range(100)], {"wrong_source": 100},
    ),
    "a third address repeats what was said": (
        [(rtp(n, GOOD), STRANGER) for n in range(10)] * 5, {"wrong_source": 50},
    ),
    "keys of a third address": ([(rtp(10, b"\5\x8a\3\x20", pt=101), STRANGER)] * 9, {"wrong_source": 9}),
    "a broken key press": ([(rtp(9, b"\5", pt=101), PHONE)], {"bad_event": 1}),
    "RTCP of a third address": ([(receiver_report(SSRC) + bye(SSRC), STRANGER_RTCP)] * 3, {"rtcp_wrong_source": 3}),
    "RTCP that lies about its length": ([(RTCP_LIE, PHONE_RTCP)], {"rtcp_truncated": 1}),
    "RTCP on the RTP port": ([(receiver_report(SSRC), PHONE), (RTCP_LIE, PHONE)], {"rtcp_not_muxed": 2}),
    "duplicates": ([(rtp(9, GOOD), PHONE)] * 50, {}),
}  # fmt: skip


@pytest.mark.parametrize(("datagrams", "dropped"), ROWS.values(), ids=ROWS.keys())
def test_bad_input(datagrams: list[Sent], dropped: dict[str, int]) -> None:
    call = Call()
    for data, addr in datagrams:
        call.comes(data, addr)
    assert call.stream.dropped == dropped
    assert call.goes_on()


def flipped(packet: bytes, at: int) -> bytes:
    return packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]


RECORDED = [SrtpContext(Keys(THEIRS, OURS)).protect_rtp(rtp(0, GOOD))]
WRONG = SrtpContext(Keys(bytes(30), OURS))
NEXT = SrtpContext(Keys(THEIRS, OURS)).protect_rtp(rtp(10, GOOD))
REPORT = receiver_report(SSRC) + bye(SSRC)

# An attacker of a secured call hears all of it and sends from the phone's own address.
SECURED_ROWS: dict[str, tuple[list[Sent], dict[str, int]]] = {
    "replayed": ([(RECORDED[0], PHONE)] * 20, {"srtp_replayed": 20}),
    "wrong keys": ([(WRONG.protect_rtp(rtp(10 + n)), PHONE) for n in range(20)], {"srtp_forged": 20}),
    "plain RTP": ([(rtp(10 + n), PHONE) for n in range(20)], {"srtp_forged": 20}),
    "any bit changed": ([(flipped(NEXT, at), PHONE) for at in range(12, len(NEXT))], {"srtp_forged": len(NEXT) - 12}),
    "replayed from a third address": ([(RECORDED[0], STRANGER)], {"srtp_replayed": 1}),
    "cut short": ([(NEXT[:size], PHONE) for size in (30, 100)], {"srtp_forged": 2}),
    "too short for a tag": ([(NEXT[:8], PHONE)], {"srtp_malformed": 1}),
    "RTCP with wrong keys": ([(WRONG.protect_rtcp(REPORT), PHONE_RTCP)], {"srtcp_forged": 1}),
    "plain RTCP": ([(REPORT, PHONE_RTCP)], {"srtcp_malformed": 1}),
    "RTCP that lies about its length": ([(WRONG.protect_rtcp(RTCP_LIE), PHONE_RTCP)], {"srtcp_forged": 1}),
}  # fmt: skip


@pytest.mark.parametrize(("datagrams", "dropped"), SECURED_ROWS.values(), ids=SECURED_ROWS.keys())
def test_bad_input_of_a_secured_call(datagrams: list[Sent], dropped: dict[str, int]) -> None:
    call = Call(SECURE)
    for data, addr in datagrams:
        call.comes(data, addr)
    assert call.stream.dropped == dropped
    assert call.goes_on()


@pytest.mark.parametrize("step", [-160, -1, -(2**31), 2**31, 2**31 - 1, -8000])
def test_timestamps_that_run_backwards_end_nothing_and_make_no_more_sound_than_time_passed(step: int) -> None:
    call = Call()
    for n in range(50):
        call.comes(rtp(10 + n, GOOD, ts=1600 + n * step), PHONE)
    for n in range(50):
        call.comes(rtp(60 + n, GOOD, ts=n * 160), PHONE)
    assert call.heard[-40:] == [GOOD] * 40
    sound = call.stream.snapshot().concealed_samples + 160 * len(call.heard)
    assert sound <= (10 + 50 + 50) * 160 + 8000
    assert call.stream.dropped == {}


@given(st.integers(0, 2**32).map(random.Random), st.booleans())
def test_whatever_becomes_of_a_packet_under_way_nothing_is_raised(
    chance: random.Random, secure: bool
) -> None:
    """Bits flipped, cut, lengthened, spliced; from the phone's address and from others, on both ports."""
    call = Call(SECURE if secure else CONFIG)
    models = [rtp(10), rtp(10, b"\5\x8a\3\x20", pt=101), headed(0xBF, bytes(80)), REPORT, call.said(10)]
    for _ in range(12):
        data = bytearray(chance.choice(models))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        data = data[: chance.randrange(len(data) + 1)] + chance.randbytes(chance.choice((0, 0, 3, 40)))
        call.comes(bytes(data), chance.choice((PHONE, PHONE_RTCP, STRANGER, STRANGER_RTCP)))
    if secure:
        assert set(call.heard) == {GOOD}


@given(st.lists(st.binary(max_size=200), max_size=60), st.integers(0, 2**16))
def test_a_stranger_is_never_heard_whatever_he_sends(blobs: list[bytes], seq: int) -> None:
    call = Call()
    for number, blob in enumerate(blobs):
        for data in (blob, b"\x80\0" + blob, rtp(seq + number, blob, ssrc=number)):
            call.comes(data, STRANGER)
    assert call.goes_on()
    assert Counter(call.stream.dropped).total() == 3 * len(blobs)
