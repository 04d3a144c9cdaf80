"""The playout queue: no byte lost, the account of what was really sent, flush, bounds, tails."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.codec import CODECS
from rtp.playout import MAX_ITEMS, TAIL_WAIT_TICKS, FlushedItem, Playout

PCMU, G722 = CODECS["PCMU"], CODECS["G722"]


def drain(playout: Playout) -> list[bytes]:
    frames = []
    while (frame := playout.next_frame()) is not None:
        frames.append(frame)
    return frames


def test_items_follow_each_other_without_a_seam() -> None:
    playout = Playout(PCMU)
    playout.append("a", b"a" * 200)
    playout.append("b", b"b" * 120)
    playout.end_item("a")
    playout.end_item("b")
    assert drain(playout) == [b"a" * 160, b"a" * 40 + b"b" * 120]
    assert playout.sent_ms("a") == 25
    assert playout.sent_ms("b") == 15
    assert playout.queued_ms == 0


def test_a_tail_is_padded_once_its_item_has_ended() -> None:
    playout = Playout(PCMU)
    playout.append("a", b"a" * 200)
    playout.end_item("a")
    assert drain(playout) == [b"a" * 160, b"a" * 40 + PCMU.silence * 120]
    assert playout.sent_ms("a") == 25  # padding is not the item's
    assert playout.counters.padded == 1
    assert playout.counters.underruns == 0


def test_a_tail_waits_for_more_of_its_item() -> None:
    playout = Playout(PCMU)
    playout.append("a", b"a" * 200)
    assert drain(playout)[0] == b"a" * 160
    playout.append("a", b"b" * 120)
    frame = playout.next_frame()
    assert frame is not None
    assert frame[40:] == b"b" * 120
    assert playout.sent_ms("a") == 40
    assert playout.counters.padded == 0


def steepest(sound: bytes) -> float:
    """The greatest step from one sample to the next."""
    return float(np.abs(np.diff(PCMU.decode(sound).astype(np.float64))).max())


@pytest.mark.parametrize("ptime_ms", [10, 20, 60])
@pytest.mark.parametrize("silent_ticks", [1, 2, 7])
def test_a_queue_that_runs_dry_and_goes_on_does_not_click(ptime_ms: int, silent_ticks: int) -> None:
    wave = 8000 * np.sin(2 * np.pi * 210 * np.arange(8000) / 8000 + 1)
    voice = PCMU.encode(wave.astype(np.int16))
    playout, packet = Playout(PCMU, ptime_ms), 8 * ptime_ms
    cut = packet * 10
    playout.append("a", voice[:cut])
    sound = b"".join(playout.next_frame() or b"" for _ in range(10))
    assert sound == voice[:cut]
    for _ in range(silent_ticks):
        sound += playout.next_frame() or PCMU.silence * packet
    assert playout.counters.faded == playout.counters.underruns == 1
    playout.append("a", voice[cut : cut + packet * 2])
    playout.end_item("a")
    resumed = b"".join(playout.next_frame() or b"" for _ in range(3))
    assert resumed[40:] == voice[cut + 40 : cut + packet * 2]  # all but the 5 ms that fade in
    assert steepest(sound[80:] + resumed) < 1.5 * steepest(voice)
    assert playout.sent_ms("a") == ptime_ms * 12


def test_nothing_is_made_up_after_the_end_of_an_item_or_a_flush() -> None:
    playout = Playout(PCMU)
    playout.append("a", b"a" * 160)
    playout.end_item("a")
    playout.append("b", b"b" * 320)
    assert [playout.next_frame() for _ in range(2)] == [b"a" * 160, b"b" * 160]
    playout.flush()
    assert playout.next_frame() is None
    playout.append("c", b"c" * 160)
    playout.end_item("c")
    assert drain(playout) == [b"c" * 160]
    assert playout.counters.faded == 0


def test_an_item_after_one_that_broke_off_is_left_as_it_is() -> None:
    playout = Playout(PCMU)
    playout.append("a", b"a" * 160)
    drain(playout)
    playout.append("b", b"b" * 160)
    assert playout.next_frame() == b"b" * 160


def test_a_tail_of_an_item_that_went_quiet_is_sent_in_the_end() -> None:
    playout = Playout(PCMU)
    playout.append("a", b"a" * 10)
    waits = [playout.next_frame() for _ in range(TAIL_WAIT_TICKS)]
    assert waits == [None] * TAIL_WAIT_TICKS
    assert playout.next_frame() == b"a" * 10 + PCMU.silence * 150
    assert playout.next_frame() is None
    assert playout.counters.underruns == 1


def test_flush_reports_what_was_heard_and_what_was_not() -> None:
    playout = Playout(PCMU)
    playout.append("done", b"x" * 160)
    playout.end_item("done")
    playout.append("cut", b"x" * 800)
    playout.append("unheard", b"x" * 80)
    for _ in range(3):
        playout.next_frame()
    assert playout.flush() == [FlushedItem("cut", 40, 60), FlushedItem("unheard", 0, 10)]
    assert playout.next_frame() is None
    assert playout.queued_ms == 0
    assert playout.sent_ms("cut") == 40
    assert playout.received_ms("cut") == 100
    assert playout.flush() == []


def test_flush_names_an_item_that_is_still_growing() -> None:
    playout = Playout(PCMU)
    playout.append("a", b"x" * 160)
    playout.next_frame()
    assert playout.flush() == [FlushedItem("a", 20, 0)]


def test_audio_of_a_flushed_item_is_dropped_and_the_next_item_plays() -> None:
    playout = Playout(PCMU)
    playout.append("a", b"a" * 320)
    playout.flush()
    assert playout.append("a", b"a" * 320) == 0
    assert playout.append("b", b"b" * 160) == 160
    playout.end_item("b")
    assert drain(playout) == [b"b" * 160]
    assert playout.counters.after_flush_bytes == 320


def test_the_queue_is_bounded_and_refuses_the_newest() -> None:
    playout = Playout(PCMU, limit_ms=100)
    assert playout.append("a", b"a" * 700) == 700
    assert playout.append("a", b"b" * 200) == 100
    assert playout.append("a", b"c") == 0
    assert playout.counters.overflow_bytes == 101
    playout.end_item("a")
    assert b"".join(drain(playout)) == b"a" * 700 + b"b" * 100
    assert playout.received_ms("a") == 112


def test_a_new_ptime_changes_the_frame_and_loses_nothing() -> None:
    playout = Playout(PCMU)
    playout.append("a", bytes(range(200)) * 4)
    playout.end_item("a")
    first = playout.next_frame()
    playout.set_ptime(40)
    assert first is not None
    assert [len(frame) for frame in drain(playout)] == [320, 320]


def test_unknown_items_are_no_error() -> None:
    playout = Playout(PCMU)
    playout.end_item("never")
    playout.append("empty", b"")
    assert playout.sent_ms("never") == playout.received_ms("never") == 0
    assert playout.next_frame() is None
    assert playout.queued_ms == 0


def test_more_items_than_there_are_accounts_for_are_refused_until_one_has_been_said() -> None:
    playout = Playout(PCMU)
    for number in range(MAX_ITEMS):
        assert playout.append(f"item {number}", b"x" * 160) == 160
    assert playout.append("one more", b"x" * 160) == 0
    assert playout.counters.overflow_bytes == 160
    assert playout.next_frame() is not None
    assert playout.append("one more", b"x" * 160) == 160
    assert (playout.received_ms("item 0"), playout.received_ms("one more")) == (0, 20)


def test_the_accounts_of_many_items_are_bounded() -> None:
    playout = Playout(PCMU)
    for n in range(2000):
        playout.append(f"item{n}", b"x" * 160)
        playout.end_item(f"item{n}")
        playout.next_frame()
    assert len(playout._items) <= MAX_ITEMS
    assert playout.sent_ms("item1999") == 20


def genuine(playout: Playout) -> bytes:
    """What is sent in one tick of what was appended; with G.722 nothing is faded in."""
    faded = playout.counters.faded
    frame = playout.next_frame() or b""
    return frame if playout.counters.faded == faded else b""


TAGS = {"a": 0x00, "b": 0x40, "c": 0x80}  # silence of G.722 has both bits


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.binary(max_size=500), st.integers(0, 3), st.booleans()),
        max_size=30,
    )
)
def test_every_byte_leaves_once_and_in_order(steps: list[tuple[str, bytes, int, bool]]) -> None:
    """Whatever the deltas' sizes and the ticks between them. The two high bits of a byte say whose it is."""
    playout = Playout(G722)
    appended: dict[str, bytes] = {}
    wire = b""
    for item_id, payload, ticks, ends in steps:
        payload = bytes(each & 0x3F | TAGS[item_id] for each in payload)
        playout.append(item_id, payload)
        appended[item_id] = appended.get(item_id, b"") + payload
        if ends:
            playout.end_item(item_id)
        wire += b"".join(genuine(playout) for _ in range(ticks))
    while playout.queued_ms or len(wire.replace(G722.silence, b"")) < sum(map(len, appended.values())):
        wire += genuine(playout)
    assert len(wire) % 160 == 0
    for item_id, payload in appended.items():
        assert bytes(each for each in wire if each & 0xC0 == TAGS[item_id]) == payload
        assert playout.sent_ms(item_id) == len(payload) // 8


def test_items_that_come_mixed_are_said_one_after_the_other() -> None:
    playout = Playout(PCMU)
    for item_id, payload in (("a", b"a" * 320), ("b", b"b" * 160), ("a", b"A" * 160), ("b", b"B" * 160)):
        playout.append(item_id, payload)
    playout.next_frame()
    playout.append("a", b"!" * 160)
    playout.end_item("b")
    assert b"".join(drain(playout)) == b"a" * 160 + b"A" * 160 + b"!" * 160 + b"b" * 160 + b"B" * 160
    assert (playout.sent_ms("a"), playout.sent_ms("b")) == (80, 40)


def test_a_pause_loses_nothing_and_goes_on_with_the_next_sample() -> None:
    playout = Playout(PCMU)
    playout.append("a", b"a" * 160 + b"b" * 160)
    assert playout.next_frame() == b"a" * 160
    playout.pause()
    assert [playout.next_frame() for _ in range(2 * TAIL_WAIT_TICKS)] == [None] * (2 * TAIL_WAIT_TICKS)
    playout.append("a", b"c" * 160)
    assert playout.sent_ms("a") == 20
    playout.resume()
    playout.end_item("a")
    assert drain(playout) == [b"b" * 160, b"c" * 160]


def test_a_flush_ends_a_pause() -> None:
    playout = Playout(PCMU)
    playout.append("a", b"a" * 320)
    playout.next_frame()
    playout.pause()
    assert playout.flush() == [FlushedItem("a", 20, 20)]
    playout.append("b", b"b" * 160)
    playout.end_item("b")
    assert drain(playout) == [b"b" * 160]


def test_a_flush_may_keep_an_item_wherever_it_stands() -> None:
    playout = Playout(PCMU)
    for item in ("a", "keep", "b"):
        playout.append(item, item[:1].encode() * 240)
    playout.next_frame()
    assert playout.flush({"keep"}) == [FlushedItem("a", 20, 10), FlushedItem("b", 0, 30)]
    assert (playout.queued_ms, playout.waiting_ms("keep"), playout.waiting_ms("a")) == (30, 30, 0)
    playout.append("keep", b"k" * 80)
    playout.end_item("keep")
    assert drain(playout) == [b"k" * 160] * 2


def test_a_flush_in_the_midst_of_what_it_keeps_repeats_nothing() -> None:
    playout = Playout(PCMU)
    playout.append("keep", bytes(range(160)) + bytes(range(100, 160)) + b"x" * 100)
    playout.append("b", b"b" * 200)
    assert playout.next_frame() == bytes(range(160))
    assert playout.flush(["keep"]) == [FlushedItem("b", 0, 25)]
    playout.end_item("keep")
    assert drain(playout) == [bytes(range(100, 160)) + b"x" * 100]


@given(
    st.lists(
        st.tuples(
            st.integers(1, 5), st.integers(1, 900), st.integers(0, 6), st.sampled_from(["", "end", "flush"])
        ),
        max_size=20,
    ),
    st.sampled_from([10, 20, 30, 40, 60]),
)
def test_what_was_sent_of_an_item_is_what_was_on_the_wire(
    said: list[tuple[int, int, int, str]], ptime_ms: int
) -> None:
    """To the millisecond, whenever it is flushed. Each item is a byte of its own."""
    playout = Playout(G722, ptime_ms)
    wire: Counter[int] = Counter()
    for byte, length, ticks, then in said:
        playout.append(str(byte), bytes([byte]) * length)
        if then == "end":
            playout.end_item(str(byte))
        for _ in range(ticks):
            wire.update(genuine(playout))
        if then == "flush":
            for item in playout.flush():
                assert item.sent_ms == wire[int(item.item_id)] // 8
        for number in range(1, 6):
            assert playout.sent_ms(str(number)) == wire[number] // 8
