"""Every kind of fact gets through the spool's bytes, whatever others wrote into it."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import codec, statements
from storage.facts import Event, Fact
from storage.words import STATUSES

KINDS: tuple[type[Fact], ...] = get_args(Fact)
PLAIN = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
KEYS = st.text("abé", min_size=1, max_size=3)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(PLAIN)
)
OBJECTS = st.dictionaries(
    KEYS, LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(KEYS, LEAVES), max_size=3
)
ODD = (
    st.text()
    | st.just("\0\ud800")
    | st.binary()
    | st.sets(st.integers())
    | st.just(float("nan"))
    | st.datetimes()
)
ODD_OBJECTS = st.dictionaries(st.text() | st.integers() | st.tuples(st.text()), ODD, max_size=3)
TIMES = st.datetimes(timezones=st.just(UTC))
WORDS = {
    "EventType": ("error", "webhook"), "Role": ("user",), "ConsentChannel": ("voice",), "TrunkAspect": ("probe",),
    "Literal['sent', 'delivered', 'read', 'failed']": ("sent", "failed"), "SessionStatus": ("completed",),
    "Status": STATUSES[3:], "Direction": ("inbound",),
}  # fmt: skip


def made(kind: type[Fact], objects: st.SearchStrategy[dict[Any, Any]]) -> st.SearchStrategy[Fact]:
    """Facts of a kind with any values in all their fields."""
    values: dict[str, st.SearchStrategy[Any]] = {
        "Json": objects, "tuple[Json, ...]": st.lists(objects, max_size=2).map(tuple), "UUID": st.uuids(),
        "str": st.text() | st.just("\ud800 \0"), "tuple[str, ...]": st.lists(KEYS, max_size=2).map(tuple),
        "int": st.integers(), "float": st.floats(allow_nan=False), "bool": st.booleans(), "datetime": TIMES,
        **{name: st.sampled_from(words) for name, words in WORDS.items()},
    }  # fmt: skip
    given_fields = {}
    for f in fields(kind):
        hint = str(f.type)
        found = values[hint.removesuffix(" | None")] if f.name != "transcript_status" else st.just("pending")
        given_fields[f.name] = found | st.none() if hint.endswith("| None") else found
    return st.builds(kind, **given_fields)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fact_comes_back_as_it_was(kind: type[Fact]) -> None:
    @settings(max_examples=15)
    @given(st.lists(made(kind, OBJECTS), min_size=1, max_size=2))
    def check(facts: list[Fact]) -> None:
        assert codec.decode(codec.encode(tuple(facts))) == tuple(facts)

    check()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if any("Json" in str(f.type) for f in fields(kind))])
def test_what_the_database_gets_is_the_same_whatever_others_wrote(kind: type[Fact]) -> None:
    @settings(max_examples=15)
    @given(made(kind, ODD_OBJECTS))
    def check(fact: Fact) -> None:
        once = codec.decode(codec.encode((fact,)))
        assert [s.rows for s in statements.build(once)] == [s.rows for s in statements.build((fact,))]
        assert codec.encode(once) == codec.encode((fact,))

    check()


# One record of every kind, as version 1 wrote it. What no longer reads as it did needs another codec.VERSION.
RECORDS = (Path(__file__).parent / "records_v1.jsonl").read_bytes().splitlines()


def test_records_of_this_version_are_read_as_they_were_written() -> None:
    assert codec.VERSION == 1
    facts = [fact for line in RECORDS for fact in codec.decode(line)]
    assert [codec.encode((fact,)) for fact in facts] == RECORDS
    assert {type(fact) for fact in facts} >= set(KINDS), "a new kind: add a record of it"
    for kind in KINDS:
        of_kind = [fact for fact in facts if isinstance(fact, kind)]
        lacking = [f.name for f in fields(kind) if all(getattr(fact, f.name) is None for fact in of_kind)]
        assert not lacking, f"{kind.__name__} has a new field: add a record with {lacking}"


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[1]", b'[["Nothing",{}]]', b'[["Event",{}]]', b'[["Forgotten",{"msisdn":"x","more":1}]]',
     b'[["Event",7]]', b'[["Forgotten",{"msisdn":"x"}]', b"\xff", b"[" * 99_999, b'[["Event",{"id":1}]]'],
)  # fmt: skip
def test_what_is_no_record_is_said_so(payload: bytes) -> None:
    with pytest.raises(codec.NotAFact):
        codec.decode(payload)


@pytest.mark.parametrize(
    "group",
    [
        ("x",),
        (Event(UUID(int=1), UUID(int=2), "error", "late"),),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_is_no_fact_is_an_error_the_writer_knows(group: Any) -> None:
    with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
        codec.encode(group)


def test_records_are_json_in_ascii() -> None:
    fact = Event(UUID(int=1), UUID(int=2), "error", datetime(2026, 1, 1, tzinfo=UTC), {"é": "\ud800"})
    payload = codec.encode((fact,))
    assert payload.isascii()
    assert json.loads(payload)[0][0] == type(fact).__name__
