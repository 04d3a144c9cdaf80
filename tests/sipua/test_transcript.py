"""Transcripts come in any order and leave in speech order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sipua.transcript import OPEN_ITEMS_MAX, TICK, Role, Segment, TranscriptOrder

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(ms: int) -> datetime:
    return START + timedelta(milliseconds=ms)


def test_a_late_text_of_the_caller_stands_before_the_answer() -> None:
    order = TranscriptOrder()
    order.reserve("question", "user", at(0))
    order.reserve("answer", "assistant", at(900))
    answer = order.complete("answer", "assistant", "Yes.", at(1500))
    question = order.complete("question", "user", " Is it open? ", at(2000), 0.9)
    assert answer == Segment(2, "assistant", "Yes.", at(900), "answer")
    assert question == Segment(1, "user", "Is it open?", at(0), "question", 0.9)


def test_a_text_that_nobody_announced_gets_the_next_place() -> None:
    order = TranscriptOrder()
    assert order.complete("a", "user", "x", at(5)) == Segment(1, "user", "x", at(5), "a")
    assert order.complete("b", "assistant", "y", at(5)) == Segment(2, "assistant", "y", at(5) + TICK, "b")


def test_an_item_has_one_text_and_an_empty_one_none() -> None:
    order = TranscriptOrder()
    assert order.complete("a", "user", " \n", at(0)) is None
    assert order.complete("a", "user", "too late", at(1)) is None
    assert order.complete("b", "user", "x", at(2)) is not None
    order.reserve("b", "user", at(3))
    assert order.complete("b", "user", "x", at(4)) is None


def test_items_without_a_text_are_forgotten_in_the_end() -> None:
    order = TranscriptOrder()
    for number in range(OPEN_ITEMS_MAX + 1):
        order.reserve(str(number), "user", at(number))
    late = order.complete("0", "user", "x", at(5000))
    assert late is not None
    assert late.sequence == OPEN_ITEMS_MAX + 2
    kept = order.complete("2", "user", "x", at(5001))
    assert kept is not None
    assert kept.sequence == 3


Role_ = st.sampled_from(["user", "assistant"])
Steps = st.lists(
    st.tuples(
        st.booleans(),  # reserve or complete
        st.sampled_from("abcdef"),
        Role_,
        st.integers(0, 50),  # clocks may stand still or run backwards
        st.sampled_from(["", " ", "hello", "yes"]),
    ),
    max_size=40,
)


@given(Steps)
def test_any_order_of_arrival_gives_speech_order(steps: list[tuple[bool, str, Role, int, str]]) -> None:
    order = TranscriptOrder()
    first_seen: dict[str, int] = {}
    segments: list[Segment] = []
    for reserves, item, role, ms, text in steps:
        first_seen.setdefault(item, len(first_seen))
        if reserves:
            order.reserve(item, role, at(ms))
        elif (segment := order.complete(item, role, text, at(ms))) is not None:
            segments.append(segment)
    segments.sort(key=lambda each: each.sequence)
    assert [each.t for each in segments] == sorted({each.t for each in segments})  # strictly increasing
    assert [each.sequence for each in segments] == sorted({each.sequence for each in segments})
    assert [each.item_id for each in segments] == sorted(
        {each.item_id for each in segments}, key=lambda item: first_seen[item]
    )
    assert all(each.content and each.content == each.content.strip() for each in segments)
