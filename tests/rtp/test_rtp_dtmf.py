"""RFC 4733 in and out, and the receive statistics."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.dtmf import DIGITS, END_PACKETS, SEGMENT_MAX, Digit, DtmfReceiver, DtmfSender, TelephoneEvent
from rtp.errors import PacketError
from rtp.packet import RtpPacket
from rtp.statistics import ReceiveStatistics


def press(event: int, durations: list[int], ends: int = END_PACKETS) -> list[bytes]:
    """The payloads of one key press, its last duration repeated with the end bit."""
    growing = [TelephoneEvent(event, False, 10, duration).serialize() for duration in durations]
    return growing + [TelephoneEvent(event, True, 10, durations[-1]).serialize()] * ends


def received(packets: list[tuple[float, int, bytes]], receiver: DtmfReceiver | None = None) -> list[Digit]:
    """(now, timestamp, payload) in, digits out; timers ring in between."""
    receiver = receiver or DtmfReceiver()
    digits: list[Digit] = []
    for now, timestamp, payload in packets:
        digits += receiver.receive(payload, timestamp, now)
    if (deadline := receiver.deadline()) is not None:
        digits += receiver.expire(deadline)
    return digits


def test_duplicated_end_packets_are_one_press() -> None:
    packets = [(n * 0.02, 1000, payload) for n, payload in enumerate(press(5, [160, 320, 480]))]
    receiver = DtmfReceiver()
    assert received(packets, receiver) == [Digit("5", 60)]
    assert receiver.duplicates == 2


def test_the_same_key_twice_is_two_presses() -> None:
    one = [(n * 0.02, 1000, payload) for n, payload in enumerate(press(1, [160, 320]))]
    two = [(0.2 + n * 0.02, 3000, payload) for n, payload in enumerate(press(1, [160, 320]))]
    assert received(one + two) == [Digit("1", 40), Digit("1", 40)]


def test_only_one_end_packet_arrives() -> None:
    assert received([(0.0, 7, TelephoneEvent(11, True, 10, 800).serialize())]) == [Digit("#", 100)]


def test_lost_end_packets_are_made_good_by_the_next_press_or_time() -> None:
    first = [(n * 0.02, 1000, payload) for n, payload in enumerate(press(2, [160, 320], ends=0))]
    second = [(0.1 + n * 0.02, 2000, payload) for n, payload in enumerate(press(3, [160], ends=0))]
    assert received(first + second) == [Digit("2", 40), Digit("3", 20)]


def test_a_recording_played_again_with_the_same_timestamps_counts_again() -> None:
    """sipp's pcaps: same timestamps each time they are played."""
    packets = [(n * 0.02, 1000, payload) for n, payload in enumerate(press(9, [160, 320]))]
    again = [(now + 3.0, timestamp, payload) for now, timestamp, payload in packets]
    assert received(packets + again) == [Digit("9", 40), Digit("9", 40)]


def test_a_long_press_in_segments_is_one_press() -> None:
    """RFC 4733 §2.5.1.3: beyond 0xFFFF the event goes on with a new timestamp."""
    packets = [
        (0.0, 1000, TelephoneEvent(4, False, 10, 0xFFFF).serialize()),
        (0.02, 1000 + 0xFFFF, TelephoneEvent(4, False, 10, 160).serialize()),
        *[(0.04, 1000 + 0xFFFF, TelephoneEvent(4, True, 10, 320).serialize())] * 3,
    ]
    assert received(packets) == [Digit("4", (0xFFFF + 320) // 8)]


@pytest.mark.parametrize("segment", [SEGMENT_MAX, 65440, 65600], ids=["the RFC's", "before", "beyond"])
@pytest.mark.parametrize("begin", [1000, 2**32 - 70_000], ids=["", "timestamp wraps"])
def test_a_key_held_for_three_minutes_is_one_press(segment: int, begin: int) -> None:
    """RFC 4733 §2.5.1.3, and those who end a segment at the packet before 0xFFFF, or behind it."""
    held = 180 * 8000
    packets = []
    for at in range(160, held + 160, 160):
        start = at // segment * segment
        report = TelephoneEvent(7, at >= held, 10, min(at - start, SEGMENT_MAX))
        packets.append((at / 8000, (begin + start) % 2**32, report.serialize()))
    receiver = DtmfReceiver()
    assert received([*packets, packets[-1], packets[-1]], receiver) == [Digit("7", 180_000)]
    assert receiver.duplicates == 2


@pytest.mark.parametrize("wraps", [False, True], ids=["stands", "wraps"])
def test_a_duration_that_knows_no_segments_is_one_press(wraps: bool) -> None:
    """One timestamp for 20 s: the duration stays at its end, or begins again at 0."""
    reports = [at & SEGMENT_MAX if wraps else min(at, SEGMENT_MAX) for at in range(160, 160_000, 160)]
    packets = [(n * 0.02, 1000, payload) for n, payload in enumerate(press(8, reports))]
    assert [digit.digit for digit in received(packets)] == ["8"]


def test_two_long_presses_of_one_key_are_two() -> None:
    """The second begins as far behind the first as a segment would, but its end has been heard."""
    first = [(n * 0.02, 1000, payload) for n, payload in enumerate(press(8, [160, 320]))]
    second = [(n * 0.02 + 8.2, 1000 + SEGMENT_MAX, payload) for n, payload in enumerate(press(8, [160]))]
    assert [digit.digit for digit in received(first + second)] == ["8", "8"]


def test_a_gap_of_the_line_within_a_press_is_no_second_press() -> None:
    """Half a second without a packet: reported as if it had ended, and what still comes of it is a duplicate."""
    packets = [(n * 0.02, 1000, payload) for n, payload in enumerate(press(3, list(range(160, 8000, 160))))]
    receiver = DtmfReceiver()
    digits = received([each for each in packets if not 0.2 < each[0] < 0.7], receiver)
    assert [digit.digit for digit in digits] == ["3"]


FATES = st.lists(st.sampled_from(["lost", "once", "twice"]), min_size=9, max_size=9)


@given(
    keys=st.lists(st.tuples(st.sampled_from(DIGITS), FATES, st.randoms(use_true_random=False)), max_size=8),
    begin=st.integers(0, 2**32 - 1),
)
def test_what_the_line_does_to_a_press_makes_it_neither_none_nor_two(
    keys: list[tuple[str, list[str], Random]], begin: int
) -> None:
    """Loss of all packets but one, duplicates, and any order within a press; no marker is looked at."""
    sent: list[tuple[float, int, bytes]] = []
    for index, (key, fates, random) in enumerate(keys):
        payloads = press(DIGITS.index(key), list(range(160, 1120, 160)))
        copies = {"lost": 0, "once": 1, "twice": 2}
        came = [each for each, fate in zip(payloads, fates, strict=True) for _ in range(copies[fate])]
        came = came or payloads[:1]
        random.shuffle(came)
        at = index * 0.3
        sent += [(at + n * 0.01, (begin + index * 2400) % 2**32, each) for n, each in enumerate(came)]
    assert [digit.digit for digit in received(sent)] == [key for key, _, _ in keys]


def test_a_reordered_early_packet_after_the_end_is_no_new_press() -> None:
    payloads = press(6, [160, 320])
    order = [payloads[0], payloads[2], payloads[1], payloads[3]]
    assert received([(n * 0.02, 1000, payload) for n, payload in enumerate(order)]) == [Digit("6", 40)]


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x01\x80\x00"])
def test_a_truncated_event_is_named(payload: bytes) -> None:
    with pytest.raises(PacketError) as caught:
        TelephoneEvent.parse(payload)
    assert caught.value.kind == "bad_event"


def test_events_that_are_no_digit_are_counted() -> None:
    receiver = DtmfReceiver()
    assert received([(0.0, 1, TelephoneEvent(16, True, 10, 800).serialize())], receiver) == []
    assert receiver.unknown == 1


def test_the_sender_grows_the_duration_and_ends_three_times() -> None:
    sender = DtmfSender("1", duration_ms=60, pause_ms=40)
    rows = []
    for tick in range(20):
        if sender.is_done:
            break
        packet = sender.next_packet(1000 + tick * 160)
        event = None if packet is None else TelephoneEvent.parse(packet.payload)
        rows.append(
            None
            if packet is None or event is None
            else (packet.timestamp, packet.marker, event.end, event.duration)
        )
    assert rows == [
        (1000, True, False, 160),
        (1000, False, False, 320),
        (1000, False, True, 480),
        (1000, False, True, 480),
        (1000, False, True, 480),
        None,
        None,
    ]


def test_what_the_sender_sends_the_receiver_hears() -> None:
    sender = DtmfSender("0123456789*#abcd")
    receiver = DtmfReceiver()
    digits: list[Digit] = []
    tick = 0
    while not sender.is_done:
        packet = sender.next_packet(tick * 160)
        if packet is not None:
            digits += receiver.receive(packet.payload, packet.timestamp, tick * 0.02)
        tick += 1
    assert "".join(digit.digit for digit in digits) == "0123456789*#ABCD"
    assert {digit.duration_ms for digit in digits} == {120}


@pytest.mark.parametrize(("digits", "duration_ms"), [("", 100), ("12x", 100), ("1", 9000)])
def test_impossible_digits_are_refused(digits: str, duration_ms: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        DtmfSender(digits, duration_ms=duration_ms)


def counted(rows: list[tuple[int, float]], statistics: ReceiveStatistics | None = None) -> ReceiveStatistics:
    """(sequence number, arrival in s) with the timestamp that belongs to it."""
    statistics = statistics or ReceiveStatistics(8000)
    for sequence_number, now in rows:
        packet = RtpPacket(sequence_number=sequence_number & 0xFFFF, timestamp=sequence_number * 160 % 2**32)
        statistics.add(packet, now)
    return statistics


def test_statistics_count_loss_over_the_wrap() -> None:
    statistics = counted([(n, n * 0.02) for n in range(65500, 65600) if n % 10])
    assert (statistics.expected, statistics.received, statistics.lost) == (99, 90, 9)
    assert statistics.fraction_lost() == 9 * 256 // 99
    assert statistics.fraction_lost() == 0  # a new interval
    assert statistics.highest_sequence == 65599


def test_jitter_is_that_of_rfc_3550_and_does_not_jump_at_the_timestamp_wrap() -> None:
    statistics = ReceiveStatistics(8000)
    for n in range(1000):
        timestamp = (2**32 - 80_000 + n * 160) % 2**32
        arrival = n * 0.02 + (0.004 if n % 2 else 0.0)
        statistics.add(RtpPacket(sequence_number=n, timestamp=timestamp), arrival)
    assert statistics.jitter_ms == pytest.approx(4.0, abs=0.01)


def test_a_stray_sequence_number_loses_nothing_and_a_restart_keeps_the_sums() -> None:
    statistics = counted([(1, 0.0), (2, 0.02), (40000, 0.03), (3, 0.04)])
    assert (statistics.expected, statistics.lost) == (3, 0)
    counted([(30000, 0.06), (30001, 0.08), (30003, 0.12)], statistics)
    assert (statistics.expected, statistics.received, statistics.lost) == (6, 5, 1)


def test_duplicates_never_make_loss_negative() -> None:
    statistics = counted([(1, 0.0), (1, 0.0), (2, 0.02)])
    assert statistics.lost == 0
    assert statistics.cumulative_lost == -1


def test_nothing_received_is_all_zero() -> None:
    statistics = ReceiveStatistics(8000)
    assert (statistics.expected, statistics.received, statistics.lost, statistics.jitter) == (0, 0, 0, 0)
    assert statistics.fraction_lost() == statistics.cumulative_lost == statistics.highest_sequence == 0
