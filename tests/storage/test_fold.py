"""Folding changes: wherever a list of them is cut into batches, the result is the same."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from storage.facts import CallChanged
from storage.statements import fold, forward
from storage.words import FINAL_RANK, STATUS_RANK, STATUSES

T0 = datetime(2026, 1, 1, tzinfo=UTC)
CHANGES = st.builds(
    CallChanged,
    call_id=st.sampled_from([UUID(int=1), UUID(int=2)]),
    at=st.just(T0),
    status=st.none() | st.sampled_from(STATUSES),
    outcome=st.none() | st.sampled_from(["", "a", "b"]),
    metadata=st.dictionaries(st.sampled_from("xy"), st.integers(0, 3)),
    first_time_to_assistant_seconds=st.none() | st.floats(0, 9),
)


@given(st.lists(CHANGES, max_size=8), st.integers(0, 8))
def test_any_cut_gives_the_same(changes: list[CallChanged], cut: int) -> None:
    assert fold([*fold(changes[:cut]), *fold(changes[cut:])]) == fold(changes)


@given(st.lists(st.sampled_from(STATUSES), min_size=1))
def test_status_never_goes_back_and_the_first_final_word_stays(words: list[str]) -> None:
    status: str | None = None
    for word in words:
        before, status = status, forward(status, word)
        assert status is not None
        assert before is None or STATUS_RANK[status] >= STATUS_RANK[before]
    final = [word for word in words if STATUS_RANK[word] == FINAL_RANK]
    assert status == final[0] if final else True
