"""The spool's bytes: cut anywhere, damaged anywhere, and what is kept."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import SpoolError
from storage.spool_file import HEADER_SIZE, RECORD_MAX, RECORD_SIZE, check_header, header, record, scan

ME = UUID(int=7)
PAYLOADS = st.lists(st.binary(max_size=40), max_size=6)


def written(payloads: list[bytes]) -> bytes:
    return b"".join(record(seq, payload) for seq, payload in enumerate(payloads, 1))


@given(PAYLOADS, st.integers(0, 400))
def test_a_file_cut_anywhere_keeps_what_is_whole(payloads: list[bytes], cut: int) -> None:
    data = written(payloads)[:cut]
    found = scan(data, 0, is_end=True)
    whole, size = [], 0
    for seq, payload in enumerate(payloads, 1):
        size += RECORD_SIZE + len(payload)
        if size <= len(data):
            whole.append((seq, payload))
    assert found.records == whole
    assert found.damaged == 0
    assert found.is_torn == (found.taken < len(data))
    assert not scan(data, 0, is_end=False).is_torn


@given(PAYLOADS.filter(len), st.data())
def test_a_flipped_bit_never_passes_for_a_record(payloads: list[bytes], data: st.DataObject) -> None:
    bad = bytearray(written(payloads))
    at = data.draw(st.integers(0, len(bad) * 8 - 1))
    bad[at // 8] ^= 1 << at % 8
    found = scan(bytes(bad), 0, is_end=True)
    assert set(found.records) < set(enumerate(payloads, 1))
    assert found.damaged or found.is_torn


def test_a_damaged_payload_costs_one_record() -> None:
    bad = bytearray(written([b"first", b"second", b"third"]))
    bad[2 * RECORD_SIZE + 8] ^= 1
    found = scan(bytes(bad), 0, is_end=True)
    assert (found.records, found.damaged, found.is_torn) == ([(1, b"first"), (3, b"third")], 1, False)


@given(PAYLOADS, st.integers(0, 7))
def test_what_was_acknowledged_is_left_out(payloads: list[bytes], after: int) -> None:
    found = scan(written(payloads), after, is_end=True)
    assert found.records == [(seq, payload) for seq, payload in enumerate(payloads, 1) if seq > after]


def test_a_length_that_is_none_ends_the_file() -> None:
    tail = (RECORD_MAX + 1).to_bytes(4, "big") + bytes(60)
    found = scan(record(1, b"a") + tail, 0, is_end=False)
    assert (found.records, found.is_torn) == ([(1, b"a")], True)


def test_a_header_says_whose_it_is() -> None:
    assert check_header(header(ME, 1), 1, "f") == ME
    assert len(header(ME, 1)) == HEADER_SIZE
    assert check_header(header(ME, 1)[:-1], 1, "f") is None
    assert check_header(b"", 1, "f") is None


def _changed(at: int, value: int) -> bytes:
    head = bytearray(header(ME, 1))
    head[at] = value
    return bytes(head)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"SQLite format 3\0" + bytes(30), "x/1.log is no spool of sipua"),
        (
            _changed(9, 2),
            r"x/1.log is a spool of another version of sipua \(format 2.1, this one reads 1.1\)",
        ),
        (header(ME, 2), r"format 1.2, this one reads 1.1"),
        (_changed(15, 9), "x/1.log has a damaged header"),
    ],
)
def test_another_file_is_refused_by_name(head: bytes, says: str) -> None:
    with pytest.raises(SpoolError, match=says):
        check_header(head, 1, "x/1.log")
