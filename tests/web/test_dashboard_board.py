"""What the dashboard's board makes of feed and database."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.web.dashboard_board import ENDED_MAX, LINES_MAX, LINES_SHOWN, SHOWN_MAX, TEXT_MAX, Board

AT = "2026-01-02T03:04:05.000Z"
INCOMING = {
    "event": "call", "call": "a", "state": "incoming", "from": "+250*****3456", "to": "+250*****0000", "trunk": "t",
}  # fmt: skip
ROW = {
    "id": "b", "direction": "inbound", "from": "+250*****1111", "to": None, "trunk": "t", "phase": "talking",
    "started_at": AT, "answered_at": None, "locale": "en", "last_role": "user", "last_text": "Hi", "last_heard_at": AT,
}  # fmt: skip


def board(*entries: dict[str, Any]) -> Board:
    made = Board()
    for entry in (INCOMING, *entries):
        made.hear(entry, AT)
    return made


def of(event: str, **values: Any) -> dict[str, Any]:
    return {"event": event, "call": "a", **values}


def the_call(told: Board) -> dict[str, Any]:
    (call,) = told.snapshot()["calls"]
    return dict(call)


def delta(text: str) -> dict[str, Any]:
    return of("transcript_delta", role="assistant", item="i", text=text)


def said(text: str) -> dict[str, Any]:
    return of("transcript", role="assistant", item="i", text=text, lang="en")


FIELDS = [
    pytest.param(of("call", state="ringing"), {"phase": "ringing", "answered_at": None}, id="a phase"),
    pytest.param(of("call", state="talking"), {"phase": "talking", "answered_at": AT}, id="the answer"),
    pytest.param(of("first_audio", seconds=0.5), {"first_audio_s": 0.5}, id="the first word"),
    pytest.param(of("turn", at_s=3.0, ms=700), {"turn_ms": 700}, id="a turn"),
    pytest.param(of("language", locale="sw", why="spoken"), {"locale": "sw"}, id="the language"),
    pytest.param(
        of("rtp", received=9, lost=1, jitter_ms=2.5, sent=4, quality={"mos": 4.1, "r": 90}),
        {"quality": {"mos": 4.1, "received": 9, "lost": 1, "jitter_ms": 2.5}},
        id="its quality",
    ),
    pytest.param(
        of("rtp", received=0, lost=0, jitter_ms=None, quality=None),
        {"quality": {"mos": None, "received": 0, "lost": 0, "jitter_ms": None}},
        id="nothing measured",
    ),
]


@pytest.mark.parametrize(("entry", "fields"), FIELDS)
def test_an_entry_changes_the_fields_of_its_call(entry: dict[str, Any], fields: dict[str, Any]) -> None:
    told = board()
    told.forget_changes()
    told.hear(entry, AT)
    changes = told.changes()
    assert changes is not None
    assert {name: the_call(told)[name] for name in fields} == fields
    assert fields.items() >= {k: v for k, v in changes["calls"][0].items() if k != "id"}.items()


LINES = [
    pytest.param([delta("Hel"), delta("lo")], ("assistant", "Hello", False), id="what is being spoken"),
    pytest.param([delta("Hel"), said("Hello.")], ("assistant", "Hello.", True), id="the whole in its place"),
    pytest.param([said("Hello."), delta("x")], ("assistant", "Hello.", True), id="what comes late"),
    pytest.param([of("tool", id="7", tool="search")], ("tool", "search", False), id="a tool"),
    pytest.param(
        [of("tool", id="7", tool="search"), of("tool_done", id="7", error=None)], ("tool", "search", True),
        id="a tool that is done",
    ),
    pytest.param([of("consent", result=None, channel=None)], ("note", "no answer", True), id="consent"),
    pytest.param([of("error", reason="spend_cap", message="x")], ("note", "spend_cap: x", True), id="an error"),
    pytest.param([delta("x" * 3000)], ("assistant", "x" * (TEXT_MAX - 1) + "…", False), id="a long text"),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "line"), LINES)
def test_lines(entries: list[dict[str, Any]], line: tuple[str, str, bool]) -> None:
    told = board(*entries)
    (shown,) = the_call(told)["lines"]
    assert (shown["role"], shown["text"], shown["done"]) == line
    changes = told.changes()
    assert changes is not None
    assert changes["lines"] == [shown]  # the many words of one line are one change


def test_a_call_that_ended_leaves_and_its_row_that_is_late_does_not_bring_it_back() -> None:
    told = board(of("ended", status="completed", reason="caller_hangup", seconds=1))
    told.see_others([ROW | {"id": "a"}])
    assert told.snapshot()["calls"] == []
    changes = told.changes()
    assert changes is not None
    assert changes["gone"] == [{"id": "a", "status": "completed", "reason": "caller_hangup"}]
    assert told.changes() is None


def test_those_that_ended_are_known_for_a_while() -> None:
    told = Board()
    for number in range(ENDED_MAX + 1):
        told.hear(INCOMING | {"call": str(number)}, AT)
        told.hear(of("ended", status="completed", reason="", seconds=1) | {"call": str(number)}, AT)
    told.see_others([ROW | {"id": id} for id in ("0", "1", str(ENDED_MAX))])
    assert the_call(told)["id"] == "0"


def test_a_call_of_another_process_comes_talks_and_goes() -> None:
    told = Board()
    told.see_others([ROW])
    told.see_others([ROW])
    told.see_others([ROW | {"last_text": "Hi again"}])
    call = the_call(told)
    assert (call["own"], [line["text"] for line in call["lines"]]) == (False, ["Hi", "Hi again"])
    told.see_others([])
    changes = told.changes()
    assert changes is not None
    assert (changes["gone"], changes["up"]) == ([{"id": "b"}], 0)


def test_after_a_loss_only_what_is_up_stays() -> None:
    told = board()
    told.hear(INCOMING | {"call": "c"}, AT)
    told.keep({"c"})
    assert the_call(told)["id"] == "c"


def test_what_is_shown_of_one_call_and_of_many_is_bounded() -> None:
    told = board(
        *(of("transcript", role="user", item=str(n), text="x", lang="en") for n in range(LINES_MAX + 5))
    )
    assert len(the_call(told)["lines"]) == LINES_MAX
    for number in range(SHOWN_MAX + 5):
        told.hear(INCOMING | {"call": str(number)}, AT)
    snapshot = told.snapshot()
    assert (len(snapshot["calls"]), snapshot["up"]) == (SHOWN_MAX, SHOWN_MAX + 6)


def test_of_many_calls_the_last_lines_are_shown() -> None:
    told = Board()
    for call, line in itertools.product(range(SHOWN_MAX), range(LINES_MAX)):
        told.hear(INCOMING | {"call": str(call)}, AT)
        told.hear(
            of("transcript", role="user", item=str(line), text="x", lang="en") | {"call": str(call)}, AT
        )
    shown = [[line["item"] for line in call["lines"]] for call in told.snapshot()["calls"]]
    assert sum(map(len, shown)) == LINES_SHOWN
    assert {lines[-1] for lines in shown} == {str(LINES_MAX - 1)}


def test_a_part_is_told_when_it_changes() -> None:
    told = Board()
    told.show("state", {"sip": "ok"})
    assert told.changes() == {"state": {"sip": "ok"}}
    told.show("state", {"sip": "ok"})
    assert told.changes() is None


ENTRIES = st.sampled_from(
    [
        INCOMING,
        INCOMING | {"call": "c"},
        delta("x"),
        said("y"),
        of("call", state="talking"),
        of("tool", id="7", tool="search"),
        of("tool_done", id="7", error="no"),
        of("ended", status="completed", reason="x", seconds=1),
        of("first_audio", seconds=1.0),
    ]
)


@given(st.lists(st.one_of(ENTRIES, st.just(None)), max_size=40))
def test_whoever_follows_the_changes_has_the_snapshot(entries: list[dict[str, Any] | None]) -> None:
    """None: a flush. The page's own merging, in a few lines."""
    told = Board()
    calls: dict[str, Any] = {}
    for entry in [*entries, None]:
        if entry is not None:
            told.hear(entry, AT)
            continue
        changes = told.changes() or {}
        for call in changes.get("calls", ()):
            calls.setdefault(call["id"], {"lines": {}}).update(call)
        for line in changes.get("lines", ()):
            if line["call"] in calls:
                calls[line["call"]]["lines"][line["item"]] = line
        for gone in changes.get("gone", ()):
            calls.pop(gone["id"], None)
    shown = told.snapshot()["calls"]
    assert calls == {
        call["id"]: call | {"lines": {each["item"]: each for each in call["lines"]}} for call in shown
    }
