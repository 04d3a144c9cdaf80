"""What calls of tools say about a call."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from sipua.call_notes import TEXT_MAX, intent_of, noted
from sipua.ledger import Record
from storage.facts import CallChanged, CallCreated
from tests.sipua.test_ledger import OPENING, Book, at

NOTED: tuple[tuple[str, Any, dict[str, str]], ...] = (
    ("transfer_to_human", {"department": "x", "reason": " a complaint "}, {"last_note": "a complaint"}),
    ("transfer_to_human", {"reason": "x" * 900}, {"last_note": "x" * TEXT_MAX}),
    ("transfer_to_human", {"reason": ""}, {}),
    ("transfer_to_human", {"reason": ["x"]}, {}),
    ("transfer_to_human", None, {}),
    ("remember", {"topic": "name", "value": "Ann", "agreed": True}, {"lead_name": "Ann"}),
    ("remember", {"topic": "name", "value": "Ann", "agreed": False}, {}),
    ("remember", {"topic": "vehicle", "value": "moto", "agreed": True}, {}),
    ("book_transport", {"reason": "x"}, {}),
)


@pytest.mark.parametrize(("tool", "args", "columns"), NOTED)
def test_what_arguments_tell(tool: str, args: Any, columns: dict[str, str]) -> None:
    assert noted(tool, args) == columns


@pytest.mark.parametrize(
    ("tool", "intent"),
    [("book_transport", "book transport"), ("crm.find", "crm.find"), ("_", None), ("wrap_up", None)],
)  # fmt: skip
def test_what_a_tool_is_called_for(tool: str, intent: str | None) -> None:
    assert intent_of(tool) == intent


def use(record: Record, tool: str) -> None:
    record.tool_called(at(1), uuid4(), server=None, tool=tool, args={"reason": "angry"})


def intents(book: Book) -> list[str]:
    facts = [fact for group in book.groups for fact in group]
    return [fact.intent for fact in facts if isinstance(fact, CallChanged) and fact.intent]


def test_the_first_thing_done_is_what_was_wanted_until_the_agent_says_it() -> None:
    book = Book()
    record = book.ledger.open(OPENING, at(0))
    for tool in ("set_language", "search_services", "book_transport"):
        use(record, tool)
    record.wrapped_up(at(2), intent="a taxi", outcome="booked", note="")
    use(record, "request_callback")
    assert intents(book) == ["search services", "a taxi"]


def test_the_lead_is_who_talks_with_us() -> None:
    book = Book()
    book.ledger.open(OPENING, at(0))
    (created,) = (fact for fact in book.take() if isinstance(fact, CallCreated))
    assert (created.lead_phone, created.project_id) == (OPENING.from_number, None)
