"""What a new session is told: the order, the part that was heard, and what comes late."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.realtime import events as ev
from sipua.realtime.commands import function_output_item, text_item
from sipua.realtime.history import SEED_CHARS_MAX, SEED_ITEMS_MAX, History, part
from sipua.realtime.uplink import Uplink


def history(*events: ev.Event) -> History:
    made = History()
    for event in events:
        made.on_event(event, is_present=True)
    return made


def user(item: str, text: str | None = None, after: str | None = None) -> list[ev.Event]:
    spoken: list[ev.Event] = [ev.InputCommitted(item, after)]
    return spoken if text is None else [*spoken, ev.UserTranscript(item, text)]


def assistant(item: str, text: str, after: str | None = None) -> list[ev.Event]:
    return [ev.ItemAdded(item, "assistant", "message", after), ev.AssistantTranscript(item, "r", text)]


def told(seed: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(each["id"], each["role"], each["content"][0]["text"]) for each in seed if "role" in each]


def test_the_order_is_the_conversations_not_that_of_arrival() -> None:
    made = history(
        *assistant("a1", "Hello"),
        *user("u1", None, "a1"),
        *assistant("a2", "Yes", "u1"),
        ev.UserTranscript("u1", "A taxi?"),
        *user("u0", "Wait", "a1"),
    )
    assert told(made.seed()) == [
        ("a1", "assistant", "Hello"),
        ("u0", "user", "Wait"),
        ("u1", "user", "A taxi?"),
        ("a2", "assistant", "Yes"),
    ]


def test_kinds_of_content_and_the_unfinished_item() -> None:
    made = history(*user("u1", "Hello"), *assistant("a1", "Good"))
    made.created(text_item("s1", "system", "Keys: 1"))
    seed = made.seed(unfinished="a1")
    assert [(each["content"][0]["type"], each["status"]) for each in seed] == [
        ("input_text", "completed"),
        ("output_text", "incomplete"),
        ("input_text", "completed"),
    ]


def test_a_late_transcript_is_told_at_its_place() -> None:
    made = history(*assistant("a1", "Hello"), *user("u1", None, "a1"), *assistant("a2", "Yes", "u1"))
    assert [each["id"] for each in made.seed()] == ["a1", "a2"]
    late = ev.UserTranscript("u1", "A taxi")
    made.on_event(late, is_present=False)
    ((item, before),) = made.late(late)
    assert (item["id"], before) == ("u1", "a1")
    assert made.late(late) == []
    first = History()
    first.on_event(ev.InputCommitted("u1", None), is_present=True)
    first.seed()
    first.on_event(late, is_present=False)
    assert first.late(late)[0][1] == "root"


def test_a_tool_is_told_with_its_result_or_not_at_all() -> None:
    made = history(ev.FunctionCall("r", "f1", "c1", "book", '{"to": "town"}'))
    assert made.seed() == []
    made.created(function_output_item("c1", '{"reference": "R7"}', "o1"))
    assert [(item["type"], before) for item, before in made.tool_result("c1")] == [
        ("function_call", "root"),
        ("function_call_output", "f1"),
    ]
    assert [each["id"] for each in made.seed()] == ["f1", "o1"]


@pytest.mark.parametrize(
    ("heard_ms", "text"),
    [
        (0, ""),
        (900, "One two three"),
        (1000, "One two three four"),
        (1500, "One two three four"),
        (480, "One two"),
        (300, "One"),
    ],
)
def test_what_was_heard_of_an_item(heard_ms: int, text: str) -> None:
    made = history(*assistant("a1", "One two three four"))
    made.audio("a1", 1000)
    made.heard("a1", heard_ms)
    assert [each[2] for each in told(made.seed())] == ([text] if text else [])


def test_an_item_told_as_text_is_written_anew_when_it_was_cut() -> None:
    made = history(*user("u1", "Hello"), *assistant("a1", "One two three four"))
    made.audio("a1", 1000)
    made.seed()
    assert made.is_text("a1")
    made.heard("a1", 900)
    ((item, before),) = made.rewritten("a1")
    assert (item["content"][0]["text"], before) == ("One two three", "u1")
    made.heard("a1", 0)
    assert made.rewritten("a1") == []


def test_an_item_that_broke_off_has_the_words_of_its_audio() -> None:
    made = history(ev.ItemAdded("a1", "assistant", "message", None))
    made.audio("a1", 1000)
    made.on_event(ev.AssistantTranscript("a1", "r", "Twenty letters here."), is_present=True)
    second = [ev.ItemAdded("a2", "assistant", "message", "a1")]
    second_words = [
        ev.AssistantTranscriptDelta("a2", "r", word) for word in ("One two", " three", " four five")
    ]
    for event in [*second, *second_words]:
        made.on_event(event, is_present=True)
    made.audio("a2", 1000)
    assert made.broken_off() == [("a2", "One two three four")]  # as fast as the one before
    assert made.broken_off() == []


def test_the_newest_are_kept_within_the_bounds() -> None:
    many = [event for n in range(SEED_ITEMS_MAX + 9) for event in user(f"u{n}", f"Word {n}")]
    seed = told(history(*many).seed())
    assert len(seed) == SEED_ITEMS_MAX
    assert seed[-1][2] == f"Word {SEED_ITEMS_MAX + 8}"
    long = [event for n in range(20) for event in user(f"u{n}", "x" * 3000)]
    assert sum(len(text) for _, _, text in told(history(*long).seed())) <= SEED_CHARS_MAX


@given(st.text(max_size=60), st.integers(0, 3000), st.integers(0, 3000))
def test_a_part_is_a_beginning_and_never_breaks_a_word(text: str, heard_ms: int, whole_ms: int) -> None:
    got = part(text, heard_ms, whole_ms)
    assert text.startswith(got)
    assert got == text or not text[len(got) :][:1].strip() or not got.strip()


# ---- the caller's audio ----------------------------------------------------------------------------------


def numbered(ms: int) -> bytes:
    """8 bytes a millisecond, each of which says which."""
    return b"".join(bytes([at % 251]) * 8 for at in range(ms))


@pytest.mark.parametrize(
    ("from_ms", "is_speech", "begins_at"),
    [(2500, True, 2500), (500, True, 1000), (500, False, 1400), (2900, False, 2900), (9000, True, 3000)],
    ids=["speech", "older than the ring", "silence", "just now", "beyond the end"],
)
def test_what_is_said_again(from_ms: int, is_speech: bool, begins_at: int) -> None:
    audio = numbered(3000)
    uplink = Uplink(8, ring_ms=2000)
    for at in range(0, len(audio), 160):
        uplink.append(audio[at : at + 160])
    assert uplink.replay(from_ms, look_back_ms=1600, is_speech=is_speech) == audio[begins_at * 8 :]


def test_the_next_sessions_clock_begins_with_what_it_was_told_again() -> None:
    uplink = Uplink(8)
    uplink.append(numbered(1000))
    assert uplink.replay(600, is_speech=True) == numbered(1000)[600 * 8 :]
    uplink.append(b"\x01" * 8 * 100)
    assert (
        uplink.replay(400, is_speech=True) == b"\x01" * 8 * 100
    )  # 400 of the new clock is 1000 of the call's
