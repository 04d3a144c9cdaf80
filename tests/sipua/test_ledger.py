"""Which facts each report of a call becomes; the writer only collects them."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest

from sipua.feed import Feed
from sipua.ledger import Ledger, Record
from sipua.ledger_facts import EVENT_TYPES
from sipua.outcome import CALLER_HUNG_UP, Ending, Status, ending_of_code
from sipua.ports import AttemptMade, CallOpening, Moment, SessionOpening
from sipua.realtime import events as ev
from sipua.transcript import Segment
from storage import facts, words
from storage.facts import (
    CallChanged,
    CallCreated,
    CallEnded,
    ConsentAnswered,
    Event,
    Fact,
    Group,
    SessionEnded,
    SessionOpened,
    ToolCalled,
    ToolDone,
    Transcript,
)
from storage.trunk_facts import CallAttempt, CallCarried

START = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = {"node": "n1", "worker": 2, "instance": "00000000-0000-0000-0000-000000000007"}
CALL = UUID(int=1)
T = TypeVar("T")


def at(seconds: float) -> Moment:
    return Moment(100.0 + seconds, START + timedelta(seconds=seconds))


OPENING = CallOpening(
    id=CALL,
    direction="inbound",
    from_uri="sip:+250788123456@192.0.2.1",
    to_uri="sip:+250700000001@198.51.100.7",
    from_number="+250788123456",
    to_number="+250700000001",
    sip_call_id="abc@192.0.2.1",
    carrier_sid=None,
    provider="loopback",
    trunk="loopback",
    locale="rw",
    country="RW",
    source="192.0.2.1:5060",
)


class Book:
    """A ledger on a writer that keeps the groups, and a reader of the feed."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.feed = Feed()
        self.ledger = Ledger(self, self.feed, IDENTITY)

    def put(self, group: Group) -> None:
        self.groups.append(group)

    def take(self) -> list[Fact]:
        """The facts of the one group that was put."""
        (group,) = self.groups
        self.groups = []
        return list(group)


@pytest.fixture
def book() -> Book:
    return Book()


def only(kind: type[T], given: list[Fact]) -> T:
    (found,) = (fact for fact in given if isinstance(fact, kind))
    return found


def types(given: list[Fact]) -> list[str]:
    return [fact.type for fact in given if isinstance(fact, Event)]


def no_empty_text(given: list[Fact]) -> bool:
    """'' is illegal for the readers: NULL instead."""
    return all(getattr(fact, field.name) != "" for fact in given for field in fields(fact))


# ---- the call --------------------------------------------------------------------------------------------


def test_a_call_is_opened_with_what_the_invite_said(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    given = book.take()
    created = only(CallCreated, given)
    assert record.id == created.id == CALL
    assert (created.direction, created.status, created.started_at) == ("inbound", "initiated", START)
    assert (created.from_e164, created.to_e164) == ("+250788123456", "+250700000001")
    assert (created.provider, created.trunk, created.locale, created.country) == (
        "loopback", "loopback", "rw", "RW",
    )  # fmt: skip
    assert created.metadata == IDENTITY | {
        "from_uri": "sip:+250788123456@192.0.2.1",
        "to_uri": "sip:+250700000001@198.51.100.7",
        "source": "192.0.2.1:5060",
    }
    assert types(given) == ["call_started"]
    assert no_empty_text(given)


@pytest.mark.parametrize(
    ("provider", "carrier_sid", "twilio", "mtn"),
    [
        ("twilio", "CA1", "CA1", None),
        ("twilio", None, "abc@192.0.2.1", None),  # rule 1: else the SIP Call-ID
        ("mtn", None, None, "abc@192.0.2.1"),
        ("loopback", None, None, None),
    ],
)
def test_the_carriers_id_has_a_column_of_its_own(
    book: Book, provider: str, carrier_sid: str | None, twilio: str | None, mtn: str | None
) -> None:
    book.ledger.open(replace(OPENING, provider=provider, carrier_sid=carrier_sid), at(0))
    created = only(CallCreated, book.take())
    assert (created.twilio_call_sid, created.mtn_call_sid) == (twilio, mtn)
    assert created.sip_session_id == "abc@192.0.2.1"


def test_a_refused_invite_is_one_closed_row(book: Book) -> None:
    book.ledger.refused(OPENING, at(0), ending_of_code(488, "no common codec"))
    given = book.take()
    ended = only(CallEnded, given)
    assert (ended.call_id, ended.status, ended.outcome, ended.duration_seconds) == (
        CALL, "failed", "no_common_codec", 0,
    )  # fmt: skip
    assert ended.metadata == {
        "end_reason": "no_common_codec",
        "end_detail": "no common codec",
        "sip_code": 488,
    }
    assert types(given) == ["call_started", "call_ended"]


def test_ringing_answered_and_the_first_audio_change_the_row(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    record.ringing(at(0.1))
    given = book.take()
    assert only(CallChanged, given).status == "ringing"
    assert types(given) == ["ringing"]
    record.answered(at(0.5), "PCMA")
    given = book.take()
    changed = only(CallChanged, given)
    assert (changed.status, changed.metadata, changed.at) == ("in_progress", {"codec": "PCMA"}, at(0.5).wall)
    assert types(given) == ["answered"]
    record.first_audio(at(1.2), 0.70049)
    assert only(CallChanged, book.take()).first_time_to_assistant_seconds == 0.7


def test_the_end_counts_from_the_answer_and_once(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    record.answered(at(2), "PCMU")
    book.groups.clear()
    record.ended(at(12.6), CALLER_HUNG_UP, {"lost": 3})
    given = book.take()
    ended = only(CallEnded, given)
    assert (ended.status, ended.outcome, ended.duration_seconds) == ("completed", "caller_hangup", 11)
    assert ended.metadata == {"end_reason": "caller_hangup", "rtp": {"lost": 3}}
    assert types(given) == ["call_ended"]
    record.ended(at(13), Ending(Status.FAILED, "late"), {})
    assert book.groups == []


def test_a_call_without_an_answer_lasted_nothing(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    record.ended(at(30), Ending(Status.NO_ANSWER, "caller_cancelled", sip_code=487), {})
    assert only(CallEnded, book.take()).duration_seconds == 0


def test_what_protected_the_media_is_kept(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    record.ended(at(2), CALLER_HUNG_UP, {}, "AES_CM_128_HMAC_SHA1_80")
    assert only(CallEnded, book.take()).metadata["srtp"] == "AES_CM_128_HMAC_SHA1_80"


def outbound(book: Book) -> Record:
    """An outbound call that no trunk carries yet."""
    opening = replace(
        OPENING, direction="outbound", provider="", trunk="", source="", sip_call_id="", country=None
    )
    record = book.ledger.open(opening, at(0))
    created = only(CallCreated, book.take())
    assert (created.direction, created.twilio_call_sid, created.mtn_call_sid) == ("outbound", None, None)
    return record


def test_the_attempts_of_an_outbound_call_are_counted(book: Book) -> None:
    record = outbound(book)
    record.attempt(at(3), AttemptMade("mtn", "192.0.2.1:5060;udp", 0, "no_response", 3000, "next"))
    first = only(CallAttempt, book.take())
    assert (first.call_id, first.ordinal, first.code, first.started_at) == (CALL, 1, None, at(0).wall)
    record.attempt(at(3.5), AttemptMade("twilio", "192.0.2.2:5060;udp", 200, "answered", 400, "answered"))
    second = only(CallAttempt, book.take())
    assert (second.ordinal, second.code, second.decision, second.ms) == (2, 200, "answered", 400)


@pytest.mark.parametrize(
    ("provider", "carrier_sid", "twilio", "mtn"),
    [
        ("twilio", "CA1", "CA1", None),
        ("twilio", None, "abc", None),
        ("mtn", None, None, "abc"),
        ("x", "y", None, None),
    ],
)
def test_the_trunk_that_carries_an_outbound_call_gives_its_ids(
    book: Book, provider: str, carrier_sid: str | None, twilio: str | None, mtn: str | None
) -> None:
    record = outbound(book)
    record.carried(trunk="t", provider=provider, sip_call_id="abc", carrier_sid=carrier_sid)
    assert book.take() == [CallCarried(CALL, "t", provider, "abc", twilio, mtn)]


# ---- the session -----------------------------------------------------------------------------------------

ECHOED: dict[str, Any] = {
    "model": "gpt-realtime-2.1",
    "instructions": "Be kind.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "turn_detection": {"type": "server_vad", "threshold": 0.5},
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
    },
    "tools": [],
    "max_output_tokens": "inf",
}


def session_row(book: Book, echoed: dict[str, Any]) -> SessionOpened:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    record.session_opened(at(0.3), SessionOpening("sess_1", "gpt-realtime-2.1", echoed))
    given = book.take()
    assert types(given) == ["openai_session_created"]
    return only(SessionOpened, given)


def test_every_session_updated_is_one_event(book: Book) -> None:
    """The one of the opening too: the conversation finds it first in the session's queue."""
    record = book.ledger.open(OPENING, at(0))
    record.session_opened(at(0.3), SessionOpening("sess_1", "m", ECHOED))
    record.service_event(at(0.4), "session.updated", {})
    written = [type for group in book.groups for type in types(list(group))]
    assert written == ["call_started", "openai_session_created", "openai_session_updated"]


def test_a_session_is_written_as_the_service_echoed_it(book: Book) -> None:
    row = session_row(book, ECHOED)
    assert (row.call_id, row.session_id, row.model, row.voice) == (
        CALL,
        "sess_1",
        "gpt-realtime-2.1",
        "marin",
    )
    assert (row.input_audio_format, row.output_audio_format) == ("audio/pcmu", "audio/pcmu")
    assert (row.instructions, row.modalities) == ("Be kind.", ("audio",))
    assert row.turn_detection == {"type": "server_vad", "threshold": 0.5}
    assert row.max_response_output_tokens is None  # "inf" is no integer
    assert row.temperature is None


@pytest.mark.parametrize(
    ("echoed", "expected"),
    [(["text", "audio"], ("text", "audio")), (True, ()), ("audio", ()), (["audio", 1], ()), (None, ())],
)
def test_modalities_are_a_list_of_texts_or_nothing(
    book: Book, echoed: object, expected: tuple[str, ...]
) -> None:
    assert session_row(book, ECHOED | {"output_modalities": echoed}).modalities == expected


@pytest.mark.parametrize("odd", [True, 1, "x", ["x"], {"x": 1}])
@pytest.mark.parametrize("key", [*ECHOED, "audio.input", "audio.output", "format", "turn_detection", "voice"])
def test_an_echo_of_other_types_costs_only_what_is_odd(book: Book, key: str, odd: object) -> None:
    echoed = dict(ECHOED)
    match key:
        case "audio.input" | "audio.output":
            echoed["audio"] = {**ECHOED["audio"], key.removeprefix("audio."): odd}
        case "format" | "turn_detection" | "voice":
            echoed["audio"] = {side: {key: odd} for side in ("input", "output")}
        case _:
            echoed[key] = odd
    row = session_row(book, echoed)
    assert row.session_id == "sess_1"
    for text in (row.voice, row.instructions, row.input_audio_format, row.output_audio_format):
        assert text is None or isinstance(text, str)


@pytest.mark.parametrize(
    ("limit", "expected"), [("inf", None), (4096, 4096), (None, None), (True, None), (2**40, None)]
)
def test_the_token_limit_is_a_number_or_none(book: Book, limit: object, expected: int | None) -> None:
    assert session_row(book, ECHOED | {"max_output_tokens": limit}).max_response_output_tokens == expected


def test_a_custom_voice_is_its_id(book: Book) -> None:
    audio = {"input": {}, "output": {"voice": {"id": "voice_abc"}}}
    assert session_row(book, ECHOED | {"audio": audio}).voice == "voice_abc"


@pytest.mark.parametrize("echoed", [{}, {"audio": None}, {"audio": {"input": None, "output": None}}])
def test_a_meagre_echo_is_written_too(book: Book, echoed: dict[str, Any]) -> None:
    row = session_row(book, echoed)
    assert (row.voice, row.input_audio_format, row.instructions) == (None, None, None)


@pytest.mark.parametrize(("failed", "status"), [(True, "failed"), (False, "completed")])
def test_a_session_ends_once_and_only_if_it_began(book: Book, failed: bool, status: str) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    record.session_ended(at(1), "sess_1", failed=failed)
    assert book.groups == []
    record.session_opened(at(0.3), SessionOpening("sess_1", "m", ECHOED))
    opened = only(SessionOpened, book.take())
    record.session_ended(at(9), "sess_1", failed=failed)
    ended = only(SessionEnded, book.take())
    assert (ended.id, ended.status, ended.ended_at) == (opened.id, status, at(9).wall)
    record.session_ended(at(10), "sess_1", failed=failed)
    assert book.groups == []


# ---- what was said and what happened ---------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "expected"), [("sw", "sw"), (None, "rw"), ("", "rw")])
def test_a_transcript_has_a_language(book: Book, lang: str | None, expected: str) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    record.transcript(Segment(3, "user", "Muraho", at(4).wall, "item_1", 0.9), lang)
    given = book.take()
    row = only(Transcript, given)
    assert (row.sequence, row.role, row.content, row.lang, row.confidence, row.t) == (
        3, "user", "Muraho", expected, 0.9, at(4).wall,
    )  # fmt: skip
    assert types(given) == ["transcript_segment"]


@pytest.mark.parametrize("is_told_first", [True, False], ids=["text before the cut", "text after it"])
def test_a_transcript_that_was_cut_off_says_how_much_was_heard(book: Book, is_told_first: bool) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    made = Segment(3, "assistant", "A taxi comes.", at(4).wall, "item_1")
    if is_told_first:
        record.transcript(made, "en")
    record.cut_off(at(5), "item_1", 420)
    if not is_told_first:
        record.transcript(made, "en")
    record.cut_off(at(6), "sipua_recording", 100)
    record.transcript(Segment(4, "assistant", "Whole.", at(7).wall, "item_2"), "en")
    given = [fact for group in book.groups for fact in group]
    events = [fact.payload for fact in given if isinstance(fact, Event)]
    cut = {"sequence": 3, "role": "assistant", "item_id": "item_1", "audio_end_ms": 420}
    whole = {"sequence": 4, "role": "assistant", "item_id": "item_2"}
    before = [{"sequence": 3, "role": "assistant", "item_id": "item_1"}] if is_told_first else []
    assert events == [*before, cut, whole]


async def test_transcripts_that_are_not_kept_are_shown_all_the_same(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    with book.feed.subscribe() as watching:
        record.keep_transcripts(False)
        record.transcript(Segment(1, "user", "Yego", at(4).wall, "item_1"), None)
        assert book.groups == []
        record.keep_transcripts(True)
        record.transcript(Segment(2, "user", "Oya", at(5).wall, "item_2"), None)
        assert only(Transcript, book.take()).content == "Oya"
        shown = aiter(watching)
        assert [(await anext(shown))["text"] for _ in range(2)] == ["Yego", "Oya"]


def test_an_answer_about_consent_is_one_fact(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    record.consent(at(3), UUID(int=9), text="May we?", result=None, channel=None)
    answer = only(ConsentAnswered, book.take())
    assert (answer.id, answer.call_id, answer.at, answer.granted) == (UUID(int=9), CALL, at(3).wall, None)
    book.ledger.recording_kept(UUID(int=9), "file:///x")
    assert book.take() == [facts.RecordingKept(UUID(int=9), "file:///x")]
    book.ledger.recording_deleted(UUID(int=9))
    assert book.take() == [facts.RecordingDeleted(UUID(int=9))]


def test_every_event_of_the_service_has_a_name_of_the_check_list() -> None:
    assert set(EVENT_TYPES.values()) <= words.EVENT_TYPES
    wire = {
        kind.raw_type for kind in vars(ev).values() if isinstance(kind, type) and issubclass(kind, ev.Event)
    }
    assert set(EVENT_TYPES) - {"tool_call"} <= wire


@pytest.mark.parametrize("type", [*EVENT_TYPES, "rate_limits.updated", "response.output_audio.delta"])
def test_an_event_is_mapped_or_not_written(book: Book, type: str) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    record.service_event(at(1), type, {"a": 1})
    if type not in EVENT_TYPES:
        assert book.groups == []
        return
    event = only(Event, book.take())
    assert (event.type, event.t, event.payload) == (EVENT_TYPES[type], at(1).wall, {"a": 1})


def test_an_error_is_an_event(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    record.error(at(1), "rtp_timeout", "no RTP")
    event = only(Event, book.take())
    assert (event.type, event.payload) == ("error", {"reason": "rtp_timeout", "message": "no RTP"})


def test_no_fact_has_an_id_twice(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    record.ringing(at(1))
    record.session_opened(at(1), SessionOpening("s", "m", ECHOED))
    record.transcript(Segment(1, "user", "x", START, "i"), None)
    record.ended(at(2), CALLER_HUNG_UP, {})
    ids = [fact.id for group in book.groups for fact in group if hasattr(fact, "id")]
    assert len(ids) == len(set(ids))


# ---- the feed --------------------------------------------------------------------------------------------


async def test_the_feed_tells_the_call_without_a_full_number(book: Book) -> None:
    with book.feed.subscribe() as subscription:
        record = book.ledger.open(OPENING, at(0))
        record.phase("ringing")
        record.answered(at(1), "PCMU")
        record.transcript_delta("assistant", "i", "Hel")
        record.transcript(Segment(1, "assistant", "Hello.", START, "i"), None)
        record.rtp(at(1.2), lambda: {"sent": 5, "lost": 0})
        record.first_audio(at(1.5), 0.5)
        record.error(at(2), "unknown_event", "x")
        record.ended(at(5.25), CALLER_HUNG_UP, {})
        entries: list[dict[str, Any]] = []
        async for entry in subscription:
            entries.append(dict(entry))
            if entry["event"] == "ended":
                break
    assert [entry["event"] for entry in entries] == [
        "call", "call", "transcript_delta", "transcript", "rtp", "first_audio", "error", "ended",
    ]  # fmt: skip
    assert {entry["call"] for entry in entries} == {str(CALL)}
    assert entries[0] | {"call": ""} == {
        "event": "call", "call": "", "state": "incoming", "from": "+250*****3456", "to": "+250*****0001",
        "trunk": "loopback",
    }  # fmt: skip
    assert "788123456" not in str(entries)
    assert entries[-1] | {"call": ""} == {
        "event": "ended", "call": "", "status": "completed", "reason": "caller_hangup", "seconds": 4.25,
    }  # fmt: skip


def test_an_unwatched_feed_costs_nothing(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.groups.clear()
    record.rtp(at(1), lambda: pytest.fail("nobody asked"))
    record.transcript_delta("user", "i", "x")
    assert book.groups == []  # for the live view only


async def test_how_it_went_is_told_at_the_end(book: Book) -> None:
    """A point every five seconds, an answer as long as the caller waited for it; nothing of a call nobody answered."""
    measured = {"buffer": {"get": 250, "lost": 0}, "quality": {"delay_ms": 60.0}, "jitter_ms": 2.0}
    record = book.ledger.open(OPENING, at(0))
    record.spoke(at(0.5))
    record.answered(at(1), "PCMU")
    for half_seconds in range(1, 13):
        record.rtp(at(1 + half_seconds / 2), lambda: measured)
    record.service_event(at(7.0), "input_audio_buffer.speech_started", {})
    record.service_event(at(8.0), "input_audio_buffer.speech_stopped", {})
    with book.feed.subscribe() as subscription:
        record.spoke(at(8.4))
        record.spoke(at(8.5))
        record.ended(at(9), CALLER_HUNG_UP, {})
        entry = dict(await anext(aiter(subscription)))
    assert (entry["event"], entry["ms"]) == ("turn", 400)
    ended = only(CallEnded, list(book.groups[-1]))
    assert ended.metadata["quality"] == {
        "from": at(1).wall.isoformat(),
        "points": [{"at_s": 5.0, "jitter_ms": 2.0, "loss_percent": 0.0, "mos": 4.37}],
        "turns": [{"at_s": 7.4, "ms": 400}],
    }
    book.ledger.open(replace(OPENING, id=UUID(int=2)), at(0)).ended(at(1), CALLER_HUNG_UP, {})
    assert "quality" not in only(CallEnded, list(book.groups[-1])).metadata


# ---- tools -----------------------------------------------------------------------------------------------


def test_a_tool_is_a_row_that_gets_its_result(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.take()
    record.tool_called(at(1), UUID(int=5), server="sipua", tool="book", args={"seats": 1})
    given = book.take()
    called = only(ToolCalled, given)
    assert (called.id, called.call_id, called.tool, called.args) == (UUID(int=5), CALL, "book", {"seats": 1})
    assert (called.t, types(given)) == (START + timedelta(seconds=1), ["tool_call"])
    record.tool_done(UUID(int=5), result={"reference": "A1"}, error=None)
    done = only(ToolDone, book.take())
    assert (done.id, done.success, done.result, done.error) == (UUID(int=5), True, {"reference": "A1"}, None)
    record.tool_done(UUID(int=5), result=None, error="no")
    assert only(ToolDone, book.take()).success is False


def test_the_agents_own_word_on_the_outcome_stays_at_the_end(book: Book) -> None:
    record = book.ledger.open(OPENING, at(0))
    book.take()
    record.wrapped_up(at(5), intent="book a taxi", outcome="booked", note="")
    changed = only(CallChanged, book.take())
    assert (changed.intent, changed.outcome, changed.last_note) == ("book a taxi", "booked", None)
    record.ended(at(9), CALLER_HUNG_UP, {})
    ended = only(CallEnded, book.take())
    assert (ended.outcome, ended.metadata["end_reason"]) == ("booked", "caller_hangup")
