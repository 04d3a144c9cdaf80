"""The coded signal survives what leaves bytes alone, and nothing else passes for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.codec import CODECS, codec_by_name, transcoder
from sipua.bench.code import (
    CELL_BYTES,
    CELLS,
    FRAME_BYTES,
    MAX_NUMBER,
    Code,
    decode_frame,
    encode_frame,
    encode_item,
    find_cells,
)

NUMBERS = st.integers(0, MAX_NUMBER)


@given(NUMBERS, NUMBERS)
def test_a_frame_says_what_it_is(item: int, frame: int) -> None:
    payload = encode_frame(item, frame)
    assert len(payload) == FRAME_BYTES
    assert decode_frame(payload) == Code(item, frame)


@given(NUMBERS, NUMBERS)
def test_a_code_is_never_silence_and_stays_quiet(item: int, frame: int) -> None:
    payload = encode_frame(item, frame)
    for codec in (CODECS["PCMU"], CODECS["PCMA"]):
        assert codec.silence not in payload
        assert abs(codec.decode(payload)).max() < 8000  # -12 dBFS: no clipping, no start


@given(NUMBERS, NUMBERS, st.integers(0, FRAME_BYTES - 1), st.integers(1, 255))
def test_one_changed_byte_spoils_the_frame_and_one_cell(item: int, frame: int, at: int, change: int) -> None:
    payload = bytearray(encode_frame(item, frame))
    payload[at] ^= change
    assert decode_frame(bytes(payload)) is None
    intact = [cell.index for cell in find_cells(bytes(payload))]
    assert intact == [index for index in range(CELLS) if index != at // CELL_BYTES]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        CODECS["PCMU"].silence * FRAME_BYTES,
        CODECS["PCMA"].silence * FRAME_BYTES,
        encode_frame(1, 2)[:-1],
        encode_frame(1, 2) + b"\xff",
        encode_frame(1, 2)[CELL_BYTES:] + encode_frame(1, 2)[:CELL_BYTES],
        encode_frame(1, 2)[: FRAME_BYTES // 2] + encode_frame(1, 3)[FRAME_BYTES // 2 :],
        transcoder(codec_by_name("PCMU"), codec_by_name("PCMA"))(encode_frame(1, 2)),
    ],
    ids=["empty", "u-silence", "a-silence", "short", "long", "rotated", "two frames", "other law"],
)
def test_anything_else_is_no_frame(payload: bytes) -> None:
    assert decode_frame(payload) is None


@given(st.binary(max_size=2000))
def test_random_bytes_hold_no_code(data: bytes) -> None:
    assert decode_frame(data) is None
    assert list(find_cells(data)) == []


@given(st.binary(max_size=40), NUMBERS, st.integers(1, 4), st.binary(max_size=40))
def test_cells_are_found_at_any_offset(before: bytes, item: int, frames: int, after: bytes) -> None:
    found = list(find_cells(before + encode_item(item, frames) + after))
    expected = [(item, frame, index) for frame in range(frames) for index in range(CELLS)]
    assert [(cell.item, cell.frame, cell.index) for cell in found] == expected
    assert [cell.offset for cell in found] == [len(before) + n * CELL_BYTES for n in range(len(expected))]
    assert [cell.frame for cell in found if cell.is_last] == list(range(frames))


@given(NUMBERS, st.integers(0, FRAME_BYTES))
def test_a_cut_frame_is_known_to_two_milliseconds(item: int, kept: int) -> None:
    assert len(list(find_cells(encode_frame(item, 7)[:kept]))) == kept // CELL_BYTES


@pytest.mark.parametrize(("item", "frame"), [(-1, 0), (0, -1), (MAX_NUMBER + 1, 0), (0, MAX_NUMBER + 1)])
def test_numbers_that_do_not_fit_are_refused(item: int, frame: int) -> None:
    with pytest.raises(ValueError, match="allowed"):
        encode_frame(item, frame)
