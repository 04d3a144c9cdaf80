"""What was said, of an answer that ended and of one that was cut off."""

from __future__ import annotations

from datetime import UTC, datetime

from sipua.actions import Action, Spoken
from sipua.ports import Moment
from sipua.realtime import events as ev
from sipua.said import ITEMS_MAX, Said

NOW = Moment(monotonic=0.0, wall=datetime(2026, 11, 22, tzinfo=UTC))


def texts(actions: list[Action]) -> list[tuple[str, str]]:
    return [(each.segment.item_id, each.segment.content) for each in actions if isinstance(each, Spoken)]


def begun(said: Said, item_id: str, *parts: str) -> None:
    for part in parts:
        said.on_event(ev.AssistantTranscriptDelta(item_id, "r1", part), NOW)


def test_an_answer_that_was_cut_off_is_what_had_come_of_it_and_no_more() -> None:
    said = Said()
    begun(said, "a1", "Your taxi ", "comes")
    assert texts(said.response_over("r2", NOW)) == []
    assert texts(said.response_over("r1", NOW)) == [("a1", "Your taxi comes")]
    late = said.on_event(ev.AssistantTranscript("a1", "r1", "Your taxi comes at six."), NOW)
    assert texts(late) == []


def test_a_whole_answer_is_said_once() -> None:
    said = Said()
    begun(said, "a1", "Yes")
    assert texts(said.on_event(ev.AssistantTranscript("a1", "r1", "Yes."), NOW)) == [("a1", "Yes.")]
    assert texts(said.response_over("r1", NOW)) == []


def test_a_service_that_begins_without_end_is_not_kept_without_end() -> None:
    said = Said()
    for number in range(ITEMS_MAX + 50):
        begun(said, f"a{number}", "word")
    assert len(texts(said.response_over("r1", NOW))) == ITEMS_MAX
