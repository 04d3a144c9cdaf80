"""The whole text of a call that has ended, and how far it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from storage.facts import CallChanged, CallCreated, CallEnded, Event, Fact, Transcript
from storage.queries import call_rows, close_orphans
from storage.writer import LedgerWriter

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OURS: dict[str, Any] = {"node": "n", "worker": 0, "instance": str(uuid4())}


def said(call: UUID, number: int, content: str, role: Any = "caller") -> Transcript:
    return Transcript(uuid4(), call, number, role, content, t=NOW + timedelta(seconds=number))


async def written(dsn: str, *batches: tuple[Fact, ...]) -> None:
    writer = LedgerWriter(dsn, batch_ms=1)
    for batch in batches:
        writer.put(batch)
        assert await writer.flush(10)
    assert await writer.close(10)
    assert writer.stats.poisoned == 0


async def text_of(dsn: str, call: UUID) -> tuple[Any, ...]:
    (row,) = (await call_rows(dsn, call))["voice_calls"]
    return row["transcript"], row["transcript_status"], row["transcript_locale"]


def begun(call: UUID) -> tuple[Fact, ...]:
    return (CallCreated(call, "inbound", started_at=NOW, locale="fr", metadata=OURS),)


def over(call: UUID) -> tuple[Fact, ...]:
    return (CallEnded(call, NOW + timedelta(seconds=9), 9, "completed"),)


@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_the_whole_text_stands_in_the_row_in_speech_order(database: str, in_one_batch: bool) -> None:
    call = uuid4()
    batches = (
        begun(call), (said(call, 2, "Bonjour.", "assistant"), said(call, 1, "Allô ?")),
        (CallChanged(call, NOW, locale="rw"),), over(call),
    )  # fmt: skip
    await written(database, *([tuple(f for batch in batches for f in batch)] if in_one_batch else batches))
    assert await text_of(database, call) == ("caller: Allô ?\nassistant: Bonjour.", "completed", "rw")


async def test_words_that_come_after_the_end_are_in_it_too(database: str) -> None:
    call = uuid4()
    await written(database, begun(call), (said(call, 1, "One."),), over(call))
    await written(database, (said(call, 2, "Two."),))
    assert await text_of(database, call) == ("caller: One.\ncaller: Two.", "completed", "fr")


@pytest.mark.parametrize(
    ("facts", "status"), [((), "pending"), (("x",), "processing")], ids=["nothing said", "being said"]
)
async def test_until_the_end_there_is_none(database: str, facts: tuple[str, ...], status: str) -> None:
    call = uuid4()
    lines = tuple(said(call, 1, content) for content in facts)
    await written(database, begun(call), lines)
    assert (await text_of(database, call))[:2] == (None, status)


async def test_of_a_call_whose_process_died_there_is_what_was_heard(database: str) -> None:
    """And its end is told after everything else, also where the last word came at the same moment."""
    call = uuid4()
    last = NOW + timedelta(seconds=3)
    await written(database, begun(call), (said(call, 1, "One."), Event(uuid4(), call, "error", last)))
    assert await close_orphans(
        database, node="n", worker=0, instance=uuid4(), now=NOW + timedelta(hours=1)
    ) == [call]
    assert await text_of(database, call) == ("caller: One.", "failed", "fr")
    events = (await call_rows(database, call))["voice_events"]
    assert [(event["type"], event["t"]) for event in events] == [
        ("error", last), ("call_ended", last + timedelta(microseconds=1)),
    ]  # fmt: skip
    await written(database, (said(call, 2, "Two."),))
    assert await text_of(database, call) == ("caller: One.\ncaller: Two.", "failed", "fr")
