"""Consents and recordings in a real database: both tables always agree, whatever batches the facts fall into."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from storage.facts import CallCreated, ConsentAnswered, Fact, RecordingDeleted, RecordingKept
from storage.queries import call_rows
from storage.writer import LedgerWriter

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUESTION = "May we record this call?"


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


async def written(dsn: str, *groups: tuple[Fact, ...], batch_rows: int = 200) -> None:
    ledger = LedgerWriter(dsn, batch_ms=5, batch_rows=batch_rows)
    try:
        for group in groups:
            ledger.put(group)
        assert await ledger.flush(10)
        assert ledger.stats.poisoned == 0
    finally:
        await ledger.close(5)


def answered(call: UUID, seconds: float, result: bool | None, **more: Any) -> ConsentAnswered:
    values: dict[str, Any] = {"channel": None if result is None else "voice", "text": QUESTION} | more
    return ConsentAnswered(uuid4(), call, at(seconds), granted=result, **values)


async def shown(dsn: str, call: UUID) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    rows = await call_rows(dsn, call)
    (row,) = rows["voice_calls"]
    of_call = tuple(row[f"consent_{name}"] for name in ("obtained", "recorded_at", "channel", "media_url"))
    each = [(row["consent_result"], row["consent_text"], row["audio_url"]) for row in rows["call_consents"]]
    return of_call, each


@pytest.fixture
def call() -> UUID:
    return uuid4()


@pytest.mark.parametrize(
    ("result", "channel", "obtained"),
    [(True, "voice", True), (True, "dtmf", True), (False, "dtmf", False), (None, None, False)],
    ids=["yes", "yes by key", "no", "no answer"],
)
async def test_each_answer_is_a_row(
    database: str, call: UUID, result: bool | None, channel: str | None, obtained: bool
) -> None:
    answer = answered(call, 5, result, channel=channel)
    await written(database, (CallCreated(call, "inbound"),), (answer,), (answer,))
    assert await shown(database, call) == ((obtained, at(5), channel, None), [(result, QUESTION, None)])


@pytest.mark.parametrize("batch_rows", [200, 1], ids=["one batch", "a batch each"])
async def test_the_last_answer_counts_and_all_are_kept(database: str, call: UUID, batch_rows: int) -> None:
    answers = [answered(call, 5, None), answered(call, 9, True), answered(call, 30, False, channel="dtmf")]
    groups: list[tuple[Fact, ...]] = [(each,) for each in answers]
    await written(database, (CallCreated(call, "inbound"),), *groups, batch_rows=batch_rows)
    of_call, each = await shown(database, call)
    assert of_call == (False, at(30), "dtmf", None)
    assert [result for result, *_ in each] == [None, True, False]
    await written(database, *groups[:1])  # an old batch written again takes nothing back
    assert (await shown(database, call))[0] == of_call


@pytest.mark.parametrize("batch_rows", [200, 1], ids=["one batch", "a batch each"])
async def test_the_address_is_there_while_the_recording_is(
    database: str, call: UUID, batch_rows: int
) -> None:
    first, no, second = answered(call, 5, True), answered(call, 9, False), answered(call, 12, True)
    kept = RecordingKept(second.id, "file:///2.wav")
    await written(
        database, (CallCreated(call, "inbound"),), (first, no, second),
        (RecordingKept(first.id, "file:///1.wav"),), (RecordingDeleted(first.id),), (kept,),
        batch_rows=batch_rows,
    )  # fmt: skip
    of_call, each = await shown(database, call)
    assert of_call[3] == "file:///2.wav"
    assert [url for *_, url in each] == [None, None, "file:///2.wav"]
    await written(database, (RecordingDeleted(second.id),), (RecordingDeleted(uuid4()),))
    of_call, each = await shown(database, call)
    assert of_call == (True, at(12), "voice", None)
    assert [url for *_, url in each] == [None, None, None]


def test_a_wrong_channel_is_an_error_where_it_is_made(call: UUID) -> None:
    with pytest.raises(ValueError, match="voice, dtmf"):
        answered(call, 1, True, channel="fax")
