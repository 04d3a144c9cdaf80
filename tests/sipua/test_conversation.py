"""The conversation's core: scripts of events in, what is to be done out. The playout is the real one."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rtp.codec import CODECS
from rtp.playout import Playout
from sipua.actions import (
    Action,
    CallGoesOn,
    CallTool,
    CancelResponse,
    CreateResponse,
    EndAfterPlayback,
    EndCall,
    Fault,
    HangUp,
    IgnoreResponse,
    Logged,
    PlayPhrase,
    Spoken,
    SpokenDelta,
    SystemText,
    ToolOutput,
    Truncate,
)
from sipua.conversation import ENTRIES_WAITING_MAX, ODD_KINDS_MAX, Conversation
from sipua.errors import RealtimeClosed, RealtimeRefused, RealtimeRejectedConfig
from sipua.idle import IdleRules
from sipua.keys import Entry, EntryBegun, KeyRules
from sipua.outcome import AGENT_HUNG_UP, CALLER_SILENT
from sipua.ports import Moment
from sipua.realtime import events as ev
from sipua.realtime.severity import Severity
from sipua.transcript import Segment
from sipua.turns import TurnRules

START = datetime(2026, 1, 1, tzinfo=UTC)
BYTES_PER_MS = 8


def moment(ms: int) -> Moment:
    return Moment(ms / 1000, START + timedelta(milliseconds=ms))


class Talk:
    """A conversation on a PCMU playout, with a clock turned by hand."""

    def __init__(self, greeting: str = "Say hello.", turns: TurnRules | None = None, **keys: Any) -> None:
        self.playout = Playout(CODECS["PCMU"])
        self.core = Conversation(
            self.playout,
            greeting=greeting,
            keys=KeyRules(**keys),
            turns=turns or TurnRules(),
            idle=IdleRules(after_s=10, prompts=1),
            idle_words=lambda what: what.value,
        )
        self.now_ms = 0

    def on(self, *events: ev.Event, at: int | None = None) -> list[Action]:
        """What follows from the events, without the entries for the log."""
        self.now_ms = at if at is not None else self.now_ms + 10
        return [
            action
            for event in events
            for action in self.core.on_event(event, moment(self.now_ms))
            if not isinstance(action, Logged)
        ]

    def keyed(self, keys: str, at: int | None = None) -> list[Action]:
        """What follows from an entry."""
        self.now_ms = at if at is not None else self.now_ms + 10
        return self.core.on_keys(Entry(keys), moment(self.now_ms))

    def done(self, call_id: str) -> list[Action]:
        """What follows from a tool's result."""
        return self.core.tool_done(call_id, "{}", moment(self.now_ms))

    def logged(self, event: ev.Event) -> list[Logged]:
        return [each for each in self.core.on_event(event, moment(0)) if isinstance(each, Logged)]

    def receive(self, item_id: str, ms: int) -> None:
        """An audio delta: the receive task puts it into the playout."""
        self.playout.append(item_id, b"\x00" * ms * BYTES_PER_MS)

    def play(self, ms: int) -> None:
        """The pacer takes frames for so long."""
        for _ in range(ms // 20):
            self.playout.next_frame()


def created(response: str = "r1") -> ev.ResponseCreated:
    return ev.ResponseCreated(response)


def done(response: str = "r1", status: str = "completed", **values: Any) -> ev.ResponseDone:
    return ev.ResponseDone(
        response, status, values.get("reason"), values.get("code"), values.get("message"), values.get("usage")
    )


def assistant_item(item: str) -> ev.ItemAdded:
    return ev.ItemAdded(item, "assistant", "message", None)


def turn(item: str = "u1") -> list[ev.Event]:
    """The caller's half of a spoken turn."""
    return [
        ev.SpeechStarted(item, 100),
        ev.SpeechStopped(item, 1600),
        ev.InputCommitted(item, None),
        ev.ItemAdded(item, "user", "message", None),
        ev.ItemDone(item, "user", "message", None, "completed"),
    ]


def error(
    code: str | None, severity: Severity, message: str = "no", param: str | None = None
) -> ev.ServiceError:
    return ev.ServiceError(code, message, param, None, severity)


# ---- a spoken turn ---------------------------------------------------------------------------------------


def test_the_agent_speaks_first_or_waits() -> None:
    assert Talk("Say hello.").core.begin() == [CreateResponse("Say hello.")]
    assert Talk("").core.begin() == []


def test_a_spoken_turn_becomes_two_segments_in_speech_order() -> None:
    talk = Talk()
    assert talk.on(*turn(), at=1000) == []
    assert (
        talk.on(created(), ev.OutputItemAdded("r1", "a1", "message", None), assistant_item("a1"), at=1700)
        == []
    )
    talk.receive("a1", 400)
    assert talk.on(ev.AssistantTranscriptDelta("a1", "r1", "It is "), at=1800) == [
        SpokenDelta("assistant", "a1", "It is ")
    ]
    talk.on(ev.AssistantTranscriptDelta("a1", "r1", "open."), ev.AudioDone("r1", "a1", 0))
    assert talk.on(ev.AssistantTranscript("a1", "r1", "It is open."), at=1900) == [
        Spoken(Segment(2, "assistant", "It is open.", START + timedelta(milliseconds=1700), "a1"), None)
    ]
    assert talk.on(done()) == []
    assert talk.on(ev.UserTranscript("u1", "Open today?", ("en",), (-0.1, -0.3)), at=2500) == [
        Spoken(
            Segment(1, "user", "Open today?", START + timedelta(milliseconds=1000), "u1", math.exp(-0.2)),
            "en",
        )
    ]  # fmt: skip
    assert talk.core.active_response is None
    assert talk.playout.queued_ms == 400  # response.done does not stop what is still to be heard


def test_what_the_log_gets_of_a_turn() -> None:
    talk = Talk()
    script = [*turn(), created(), assistant_item("a1"), done(usage={"total_tokens": 7})]
    logged = [entry for event in script for entry in talk.logged(event)]
    assert [entry.type for entry in logged] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "response.created",
        "conversation.item.added",
        "response.done",
    ]
    assert logged[-1].payload["usage"] == {"total_tokens": 7}
    assert [entry.type for entry in talk.logged(ev.SessionUpdated({}))] == ["session.updated"]


@pytest.mark.parametrize("place", [0, 3, 5, 6, 8, 9])
def test_the_callers_words_may_come_at_any_time(place: int) -> None:
    script: list[ev.Event] = [
        *turn(), created(), assistant_item("a1"), ev.AssistantTranscriptDelta("a1", "r1", "Yes."),
        ev.AssistantTranscript("a1", "r1", "Yes."), done(),
    ]  # fmt: skip
    script.insert(place, ev.UserTranscript("u1", "Really?"))
    spoken = [each.segment for each in Talk().on(*script) if isinstance(each, Spoken)]
    by_time = sorted(spoken, key=lambda each: each.t)
    assert [each.content for each in by_time] == ["Really?", "Yes."]
    assert [each.sequence for each in by_time] == [1, 2]


def test_words_of_two_turns_may_come_the_wrong_way_round() -> None:
    talk = Talk()
    talk.on(*turn("u1"), at=0)
    talk.on(*turn("u2"), at=5000)
    (second,) = talk.on(ev.UserTranscript("u2", "two"))
    (first,) = talk.on(ev.UserTranscript("u1", "one"))
    assert isinstance(first, Spoken)
    assert isinstance(second, Spoken)
    assert (first.segment.sequence, second.segment.sequence) == (1, 2)
    assert first.segment.t < second.segment.t


@pytest.mark.parametrize(
    ("languages", "lang"),
    [((), None), (("rw",), "rw"), (("sw-KE", "en"), "sw"), (("FR",), "fr"), (("yue",), None), (("",), None)],
)
def test_the_language_has_two_letters_or_none(languages: tuple[str, ...], lang: str | None) -> None:
    (spoken,) = Talk().on(ev.UserTranscript("u1", "x", languages))
    assert isinstance(spoken, Spoken)
    assert spoken.lang == lang


def test_no_words_are_no_segment() -> None:
    assert Talk().on(ev.UserTranscript("u1", "  "), ev.AssistantTranscript("a1", "r1", "")) == []


def test_a_transcription_that_failed_is_a_fault_of_its_own() -> None:
    assert Talk().on(ev.UserTranscriptFailed("u1", None, "bad audio")) == [
        Fault("transcription_failed", "error: bad audio")
    ]


def test_text_mode_is_written_down_like_speech() -> None:
    talk = Talk()
    assert talk.on(ev.TextDelta("a1", "r1", "Hi")) == [SpokenDelta("assistant", "a1", "Hi")]
    (spoken,) = talk.on(ev.TextDone("a1", "r1", "Hi."))
    assert isinstance(spoken, Spoken)
    assert spoken.segment.content == "Hi."


# ---- barge-in --------------------------------------------------------------------------------------------


def speaking(*items: tuple[str, int]) -> Talk:
    """A response whose items have so many milliseconds of audio."""
    talk = Talk()
    talk.on(created())
    for item, ms in items:
        talk.on(assistant_item(item))
        talk.receive(item, ms)
    return talk


def test_a_barge_in_with_something_left_says_how_much_was_heard() -> None:
    talk = speaking(("a1", 1000))
    talk.play(200)
    assert talk.on(ev.SpeechStarted("u1", 0)) == [IgnoreResponse("r1"), Truncate("a1", 200)]
    assert talk.playout.queued_ms == 0
    talk.receive("a1", 250)  # was under way
    assert talk.playout.queued_ms == 0


def test_a_barge_in_before_the_first_frame_truncates_at_zero() -> None:
    assert speaking(("a1", 1000)).on(ev.SpeechStarted("u1", 0)) == [IgnoreResponse("r1"), Truncate("a1", 0)]


def test_a_barge_in_with_nothing_left_truncates_nothing() -> None:
    talk = speaking(("a1", 200))
    talk.on(ev.AudioDone("r1", "a1", 0), done())
    talk.play(200)
    assert talk.on(ev.SpeechStarted("u1", 0)) == []  # a truncate here makes the model repeat itself


def test_a_barge_in_after_the_response_is_done_truncates_alone() -> None:
    talk = speaking(("a1", 1000))
    talk.on(ev.AudioDone("r1", "a1", 0), done())
    talk.play(400)
    assert talk.on(ev.SpeechStarted("u1", 0)) == [Truncate("a1", 400)]


def test_a_barge_in_with_two_items_queued_truncates_both() -> None:
    talk = speaking(("a1", 300), ("a2", 500))
    talk.play(100)
    assert talk.on(ev.SpeechStarted("u1", 0)) == [
        IgnoreResponse("r1"),
        Truncate("a1", 100),
        Truncate("a2", 0),
    ]


def test_a_barge_in_in_the_second_item_leaves_the_first_alone() -> None:
    talk = speaking(("a1", 300), ("a2", 500))
    talk.play(400)
    assert talk.on(ev.SpeechStarted("u1", 0)) == [IgnoreResponse("r1"), Truncate("a2", 100)]


def test_a_false_end_of_turn_drops_a_response_without_content() -> None:
    talk = Talk()
    talk.on(created("r1"))
    assert talk.on(ev.SpeechStarted("u1", 0)) == [IgnoreResponse("r1")]
    assert talk.on(done("r1", "cancelled", reason="turn_detected")) == []


def test_an_interrupted_answer_is_written_down_as_far_as_it_came() -> None:
    talk = speaking(("a1", 1000))
    talk.on(
        ev.AssistantTranscriptDelta("a1", "r1", "One two "), ev.AssistantTranscriptDelta("a1", "r1", "three")
    )
    talk.play(200)
    talk.on(ev.SpeechStarted("u1", 0))
    (spoken,) = talk.on(done("r1", "cancelled", reason="turn_detected"))
    assert isinstance(spoken, Spoken)
    assert spoken.segment.content == "One two three"
    assert talk.on(ev.AssistantTranscript("a1", "r1", "One two three four")) == []  # late: it has its text


def test_the_next_answer_is_heard_after_an_interruption() -> None:
    talk = speaking(("a1", 1000))
    talk.on(*turn(), done("r1", "cancelled"), created("r2"), assistant_item("a2"))
    talk.receive("a2", 100)
    assert talk.playout.queued_ms == 100
    assert talk.core.active_response == "r2"


# ---- tools -----------------------------------------------------------------------------------------------


def call(name: str = "book", call_id: str = "c1", response: str = "r1") -> ev.FunctionCall:
    return ev.FunctionCall(response, f"f_{call_id}", call_id, name, "{}")


def output(number: int = 1, call_id: str = "c1") -> ToolOutput:
    return ToolOutput(f"sipua_tool_{number}", call_id, "{}")


def placed(number: int = 1) -> ev.ItemAdded:
    return ev.ItemAdded(f"sipua_tool_{number}", None, "function_call_output", None)


def spoken(response: str = "r1") -> ev.OutputItemAdded:
    return ev.OutputItemAdded(response, "a1", "message", None)


def test_a_tool_is_begun_at_once_and_answered_when_the_response_is_done() -> None:
    talk = Talk()
    assert talk.on(created(), call()) == [CallTool("c1", "book", "{}", "r1")]
    assert talk.done("c1") == []
    assert talk.on(done()) == [output(), CreateResponse()]
    assert talk.on(placed(), created("r2"), done("r2")) == []


def test_two_results_are_asked_about_once() -> None:
    talk = Talk()
    talk.on(created(), call("book", "c1"), call("search", "c2"))
    talk.done("c2")
    assert talk.on(done()) == [output(1, "c2")]
    assert talk.done("c1") == [output(2, "c1"), CreateResponse()]


def test_a_caller_who_speaks_meanwhile_brings_the_answer_himself() -> None:
    talk = Talk()
    talk.on(created(), call(), done(), ev.SpeechStarted("u1", 100))
    assert talk.done("c1") == [output()]
    assert talk.on(placed(), *turn()[1:], created("r2"), done("r2")) == []


def test_a_result_that_the_callers_answer_has_not_read_is_asked_about() -> None:
    talk = Talk()
    talk.on(created(), call(), done(), *turn(), created("r2"))
    assert talk.done("c1") == [output()]  # one response at a time
    assert talk.on(placed(), done("r2")) == [CreateResponse()]


@pytest.mark.parametrize("status", ["cancelled", "incomplete"])
def test_a_tool_of_a_response_that_was_cut_off_is_answered_all_the_same(status: str) -> None:
    talk = Talk()
    talk.on(created(), call())
    talk.done("c1")
    assert talk.on(done("r1", status)) == [output(), CreateResponse()]


def test_a_tool_of_a_failed_response_asks_once_not_twice() -> None:
    talk = Talk()
    talk.on(created(), call())
    talk.done("c1")
    actions = talk.on(done("r1", "failed", code="server_error", message="x"))
    assert [type(each) for each in actions] == [ToolOutput, Fault, CreateResponse]


def test_an_output_that_the_service_refuses_is_not_asked_about_for_ever() -> None:
    talk = Talk()
    talk.on(created(), call())
    talk.done("c1")
    asked = talk.on(done())
    for number in range(2, 9):  # it never gets its place
        asked += talk.on(created(f"r{number}"), done(f"r{number}"))
    assert asked.count(CreateResponse()) == 2


# ---- the agent hangs up ----------------------------------------------------------------------------------


def leaving(*events: ev.Event) -> Talk:
    talk = Talk()
    talk.on(created(), *events, call("hang_up"))
    assert talk.core.hang_up(moment(0)) == [HangUp(AGENT_HUNG_UP)]
    return talk


def test_after_a_goodbye_the_call_ends_without_another_word() -> None:
    talk = leaving(spoken())
    assert talk.done("c1") == []
    assert talk.on(done()) == [output(), EndAfterPlayback()]


def test_a_result_that_comes_after_the_goodbye_does_not_end_the_call_twice_or_too_soon() -> None:
    talk = leaving(spoken())
    assert talk.on(done()) == []
    assert talk.done("c1") == [output(), EndAfterPlayback()]


def test_without_a_goodbye_one_is_asked_for_first() -> None:
    talk = leaving()
    talk.done("c1")
    assert talk.on(done()) == [output(), CreateResponse()]
    assert talk.on(placed(), created("r2"), spoken("r2")) == []
    assert talk.on(done("r2")) == [EndAfterPlayback()]


def test_a_caller_who_speaks_keeps_the_call() -> None:
    talk = leaving(spoken())
    talk.done("c1")
    talk.on(done())
    assert talk.on(ev.SpeechStarted("u1", 100)) == [CallGoesOn()]
    assert talk.on(*turn()[1:], created("r2"), done("r2")) == []


# ---- what goes wrong -------------------------------------------------------------------------------------


def failed(code: str) -> ev.ResponseDone:
    return done("r", "failed", code=code, message="busy")


def test_a_failed_response_is_asked_for_again_once() -> None:
    talk = Talk()
    talk.on(*turn())
    assert talk.on(failed("server_error")) == [
        Fault("response_failed", "server_error: busy (asked again once)"),
        CreateResponse(),
    ]
    told = [Fault("response_failed", "server_error: busy"), PlayPhrase("service_error")]
    assert talk.on(failed("server_error")) == told
    talk.on(done())
    assert CreateResponse() in talk.on(failed("rate_limit_exceeded"))  # a good one in between: again once
    assert CreateResponse() not in talk.on(failed("rate_limit_exceeded"))
    talk.on(*turn("u2"))
    assert CreateResponse() in talk.on(
        failed("rate_limit_exceeded")
    )  # the caller's next turn is another request


def test_a_failed_greeting_is_asked_for_as_a_greeting() -> None:
    talk = Talk("Say hello.")
    talk.core.begin()
    assert talk.on(failed("server_error"))[-1] == CreateResponse("Say hello.")


def test_a_response_that_failed_for_good_is_not_asked_for_again() -> None:
    told = [Fault("response_failed", "strange: busy"), PlayPhrase("service_error")]
    assert Talk().on(failed("strange")) == told


@pytest.mark.parametrize("status", ["incomplete", "cancelled"])
def test_a_response_cut_short_is_no_fault(status: str) -> None:
    assert Talk().on(created(), done("r1", status, reason="max_output_tokens")) == []


@pytest.mark.parametrize("code", ["insufficient_quota", "invalid_api_key"])
def test_a_refusal_for_good_ends_the_call(code: str) -> None:
    for event in (failed(code), error(code, Severity.FATAL_ACCOUNT)):
        (end,) = Talk().on(event)
        assert isinstance(end, EndCall)
        assert isinstance(end.error, RealtimeRefused)
        assert end.error.code == code
        assert not end.error.retryable


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (error("response_cancel_not_active", Severity.BENIGN), []),
        (error(None, Severity.BENIGN, "Audio content of 900ms is already shorter than 1000ms"), []),
        (
            error("a_code_of_next_year", Severity.BENIGN, "what"),
            [Fault("service_error", "a_code_of_next_year: what")],
        ),
        (
            error("rate_limit_exceeded", Severity.RETRY_ONCE, "slow down"),
            [Fault("service_error", "rate_limit_exceeded: slow down")],
        ),
        (
            error(None, Severity.RETRY_ONCE, "odd", "session.x"),
            [Fault("service_error", "error: odd (param session.x)")],
        ),
    ],
)
def test_an_error_that_the_call_survives(event: ev.ServiceError, expected: list[Action]) -> None:
    assert Talk().on(event) == expected


def test_a_configuration_that_cannot_go_on_ends_the_call() -> None:
    (end,) = Talk().on(error("invalid_value", Severity.FATAL_CALL, "no", "session.audio"))
    assert isinstance(end, EndCall)
    assert isinstance(end.error, RealtimeRejectedConfig)
    assert "(param session.audio)" in str(end.error)


def test_an_expired_session_ends_the_call_as_closed() -> None:
    (end,) = Talk().on(error("session_expired", Severity.RETRY_ONCE, "60 minutes"))
    assert isinstance(end, EndCall)
    assert isinstance(end.error, RealtimeClosed)
    assert end.error.retryable
    assert "60 minutes" in str(end.error)


def test_an_odd_event_is_a_fault_and_the_call_goes_on() -> None:
    talk = Talk()
    assert talk.on(ev.UnknownEvent("response.sung")) == [
        Fault("unknown_event", "the voice service sent an event of unknown type 'response.sung'")
    ]
    assert talk.on(ev.ProtocolFault("", "not JSON: 3 bytes")) == [
        Fault("invalid_event", "the voice service sent a message: not JSON: 3 bytes")
    ]
    assert talk.on(ev.ProtocolFault("response.done", "response: expected an object, got str")) == [
        Fault("invalid_event", "the voice service sent response.done: response: expected an object, got str")
    ]
    assert talk.on(*turn(), created(), done()) == []


@pytest.mark.parametrize(
    "event",
    [
        ev.InputCleared(),
        ev.IdleTimeout("u1", 0, 1),
        ev.ItemDeleted("a1"),
        ev.ItemTruncated("a1", 20),
        ev.ItemDone("a1", "assistant", "message", None, "completed"),
        ev.RateLimits(()),
        ev.OtherEvent("response.content_part.added"),
        ev.AudioDone("r9", "nobody", 0),
        done("r9"),
    ],
    ids=lambda event: event.raw_type or event.type,
)
def test_nothing_is_to_be_done_about(event: ev.Event) -> None:
    assert Talk().on(event) == []


def test_events_that_nobody_understands_are_recorded_once_per_kind() -> None:
    talk = Talk()
    recorded = [talk.on(ev.UnknownEvent(f"new.{number % 40}")) for number in range(1000)]
    assert sum(map(len, recorded)) == ODD_KINDS_MAX
    assert recorded[0] == [Fault("unknown_event", "the voice service sent an event of unknown type 'new.0'")]
    assert recorded[40] == []


def test_impossible_logprobs_give_no_impossible_confidence() -> None:
    (spoken,) = Talk().on(ev.UserTranscript("item_1", "hello", logprobs=(1000.0, 5.0)))
    assert isinstance(spoken, Spoken)
    assert spoken.segment.confidence == 1.0


# ---- silence ---------------------------------------------------------------------------------------------


def ticked(talk: Talk, at: int) -> list[Action]:
    return talk.core.tick(moment(at))


def test_a_silent_caller_is_asked_and_then_the_call_ends() -> None:
    talk = Talk("")
    assert ticked(talk, 9_990) == []
    assert ticked(talk, 10_000) == [CreateResponse("prompt")]
    assert ticked(talk, 25_000) == []  # it is on its way
    talk.on(created(), at=25_100)
    talk.receive("a1", 1000)
    talk.on(ev.AudioDone("r1", "a1", 0), done(), at=25_200)
    assert talk.core.deadline() == pytest.approx(
        36.2
    )  # from the end of what is heard, not from its last delta
    talk.play(1000)
    assert ticked(talk, 36_200) == [HangUp(CALLER_SILENT), CreateResponse("farewell")]
    assert talk.on(created("r2"), done("r2"), at=36_500) == [EndAfterPlayback()]
    assert talk.core.deadline() is None


@pytest.mark.parametrize("pause_ms", [0, 400])
def test_the_shortest_yes_keeps_a_call_that_was_about_to_end(pause_ms: int) -> None:
    talk = Talk("", turns=TurnRules(pause_ms=pause_ms))
    talk.core.tick(moment(10_000))
    talk.on(created("r1"), done("r1"), at=10_500)
    ticked(talk, 20_500)
    talk.on(created("r2"))
    talk.receive("a2", 1000)
    talk.on(done("r2"), at=21_000)
    assert talk.on(ev.SpeechStarted("u1", 0), at=21_100) == [CallGoesOn(), Truncate("a2", 0)]
    talk.on(ev.SpeechStopped("u1", 900), ev.InputCommitted("u1", None), at=21_800)
    assert talk.core.deadline() == pytest.approx(31.8)
    assert ticked(talk, 31_800) == [CreateResponse("prompt")]  # it begins anew


def test_nobody_is_asked_while_held_or_while_the_caller_talks_without_pause() -> None:
    talk = Talk("")
    talk.core.held(True, moment(0))
    assert [ticked(talk, at) for at in range(0, 120_000, 1000)] == [[]] * 120
    talk.core.held(False, moment(120_000))
    assert ticked(talk, 129_000) == []
    assert ticked(talk, 130_000) == [CreateResponse("prompt")]
    talk.on(created("r1"), done("r1"), ev.SpeechStarted("u1", 0), at=131_000)
    assert [ticked(talk, at) for at in range(131_000, 900_000, 5000)] == [[]] * 154


# ---- who interrupts --------------------------------------------------------------------------------------


def test_a_protected_opening_is_heard_and_what_was_said_over_it_is_answered() -> None:
    talk = Talk(turns=TurnRules(protects_opening=True))
    talk.core.begin()
    talk.on(created("r0"), ev.OutputItemAdded("r0", "hello", "message", None))
    talk.receive("hello", 1000)
    assert talk.on(*turn("u1")) == []
    assert talk.playout.queued_ms == 1000
    assert talk.on(ev.AudioDone("r0", "hello", 0), done("r0")) == [CreateResponse()]


def test_a_greeting_that_had_to_be_asked_for_twice_is_protected_too() -> None:
    talk = Talk(turns=TurnRules(protects_opening=True))
    talk.core.begin()
    talk.on(created("r0"), done("r0", "failed", code="server_error"))
    talk.on(created("r1"), ev.OutputItemAdded("r1", "hello", "message", None))
    talk.receive("hello", 1000)
    assert talk.on(ev.SpeechStarted("u1", 0)) == []


def test_a_pause_is_counted_by_the_clock_and_by_the_services_words() -> None:
    talk = Talk(turns=TurnRules(pause_ms=400))
    talk.on(created(), at=0)
    talk.receive("a1", 1000)
    talk.on(ev.AudioDone("r1", "a1", 0), done(), ev.SpeechStarted("u1", 0), at=100)
    assert talk.core.deadline() == pytest.approx(1.0)
    talk.on(ev.UserTranscript("u1", ""), at=500)  # no words
    talk.play(100)
    assert talk.playout.queued_ms == 900
    talk.on(ev.SpeechStarted("u2", 0), at=2000)
    assert ticked(talk, 2900) == [Truncate("a1", 100)]


def test_audio_under_way_of_an_item_that_nobody_announced_is_truncated_at_nothing() -> None:
    talk = Talk()
    talk.on(created())
    talk.receive("strange", 100)
    assert talk.on(ev.SpeechStarted("u1", 0)) == [IgnoreResponse("r1"), Truncate("strange", 0)]
    assert talk.on(ev.LateAudio("r1", "stranger")) == [Truncate("stranger", 0)]


# ---- keys ------------------------------------------------------------------------------------------------


def text_of(keys: str, number: int = 1) -> SystemText:
    spaced = " ".join(keys)
    return SystemText(f"sipua_keys_{number}", f"The caller pressed these keys on the telephone: {spaced}")


def system_item(number: int = 1) -> ev.ItemAdded:
    return ev.ItemAdded(f"sipua_keys_{number}", "system", "message", None)


def written(content: str, at: int, sequence: int = 1, number: int = 1) -> Spoken:
    t = START + timedelta(milliseconds=at)
    return Spoken(Segment(sequence, "system", content, t, f"sipua_keys_{number}"), None)


@pytest.mark.parametrize(
    ("are_kept", "content"), [(False, "[keys pressed: 3]"), (True, "[keys pressed: 12#]")]
)
def test_keys_are_told_and_an_answer_is_asked_for(are_kept: bool, content: str) -> None:
    """The ledger has them in their place among what was said, and only their number unless it is to have more."""
    talk = Talk(are_kept=are_kept)
    assert talk.keyed("12#", at=500) == [text_of("12#"), written(content, 500), CreateResponse()]
    assert "12#" not in repr(talk.core.on_keys(Entry("12#"), moment(900))[0])  # a log may show an action


def only(actions: list[Action], *kinds: type[Action]) -> list[Action]:
    return [each for each in actions if isinstance(each, kinds)]


def test_keys_amid_an_answer_wait_for_its_end_and_are_answered_once() -> None:
    talk = Talk()
    talk.on(created())
    assert only(talk.keyed("1"), CreateResponse) == []
    assert only(talk.keyed("2"), CreateResponse) == []
    assert talk.on(system_item(1), system_item(2)) == []
    assert talk.on(done()) == [CreateResponse()]
    assert talk.on(created("r2"), done("r2")) == []


def test_keys_between_our_question_and_its_response_wait_as_well() -> None:
    talk = Talk()
    talk.core.begin()
    assert only(talk.keyed("1"), CreateResponse) == []
    assert talk.on(created(), system_item()) == []  # the greeting was made without them
    assert talk.on(done()) == [CreateResponse()]


@pytest.mark.parametrize("has_place", [True, False])
def test_a_response_that_the_service_makes_by_itself_has_read_the_keys_before_it(has_place: bool) -> None:
    """They come while the caller speaks, or crossed the response on the wire."""
    talk = Talk()
    talk.on(ev.SpeechStarted("u1", 100))
    assert only(talk.keyed("1"), CreateResponse) == []
    script = [system_item(), created()] if has_place else [created(), system_item()]
    talk.on(ev.SpeechStopped("u1", 900), ev.InputCommitted("u1", None), *script)
    assert talk.on(done()) == ([] if has_place else [CreateResponse()])


def test_an_answer_that_collides_is_asked_for_again_when_the_other_is_over() -> None:
    """Our response.create crossed the one that the service made for the caller's words."""
    talk = Talk()
    talk.on(ev.SpeechStarted("u1", 100), ev.InputCommitted("u1", None))
    assert only(talk.keyed("1"), CreateResponse) == [CreateResponse()]
    collision = error("conversation_already_has_active_response", Severity.BENIGN)
    assert talk.on(created(), system_item(), collision) == []
    assert talk.on(done()) == [CreateResponse()]


def test_keys_are_answered_though_the_question_about_others_was_refused() -> None:
    talk = Talk()
    assert only(talk.keyed("1"), CreateResponse) == [CreateResponse()]
    talk.on(system_item(1), error("server_error", Severity.RETRY_ONCE))
    assert only(talk.keyed("2"), CreateResponse) == [CreateResponse()]


def test_an_answer_to_keys_that_failed_is_asked_for_again_without_the_greeting() -> None:
    talk = Talk()
    talk.keyed("1")
    talk.on(system_item(), created())
    assert talk.on(failed("server_error"))[-1] == CreateResponse()


def test_more_entries_than_are_answered_are_dropped_with_one_fault() -> None:
    talk = Talk()
    talk.on(created())
    texts = [only(talk.keyed("#"), SystemText, Fault) for _ in range(ENTRIES_WAITING_MAX + 5)]
    assert sum(isinstance(each[0], SystemText) for each in texts if each) == ENTRIES_WAITING_MAX
    assert [each for each in texts[ENTRIES_WAITING_MAX:] if each] == [
        [Fault("keys_dropped", "more keys than the voice service answers")]
    ]


def test_a_key_silences_the_agent_if_that_is_wanted() -> None:
    talk = Talk(interrupts=True)
    talk.on(created())
    talk.receive("a1", 400)
    talk.play(100)
    assert talk.core.on_keys(EntryBegun(), moment(0)) == [
        IgnoreResponse("r1"), CancelResponse("r1"), Truncate("a1", 100),
    ]  # fmt: skip
    assert talk.playout.queued_ms == 0
    assert only(talk.keyed("1"), CreateResponse) == []
    assert talk.on(system_item(), done(status="cancelled")) == [CreateResponse()]


def test_a_key_does_not_silence_the_agent_otherwise() -> None:
    talk = Talk()
    talk.on(created())
    talk.receive("a1", 400)
    assert talk.core.on_keys(EntryBegun(), moment(0)) == []
    assert talk.playout.queued_ms == 400


def test_keys_stand_among_the_words_in_the_order_of_time() -> None:
    talk = Talk()
    talk.on(*turn(), at=1000)
    talk.keyed("1", at=1500)
    talk.on(created(), assistant_item("a1"), at=1700)
    spoken = talk.on(ev.UserTranscript("u1", "One, please.", (), ()), at=2500)
    spoken += talk.on(ev.AssistantTranscript("a1", "r1", "Good."), at=2600)
    assert [each.segment.sequence for each in spoken if isinstance(each, Spoken)] == [1, 3]


# ---- handed over to a person -----------------------------------------------------------------------------


def test_who_talks_with_a_person_is_written_down_and_not_answered() -> None:
    talk = speaking(("a1", 400))
    talk.play(100)
    assert talk.core.hand_over() == [IgnoreResponse("r1"), CancelResponse("r1"), Truncate("a1", 100)]
    talk.receive("person", 200)
    assert talk.on(*turn("u1")) == []
    assert talk.playout.waiting_ms("person") == 200  # they speak at once, and nobody is cut off
    failed = talk.on(done(status="failed", code="rate_limit_exceeded"))
    assert not any(isinstance(each, CreateResponse) for each in failed)
    (spoken,) = talk.on(ev.UserTranscript("u1", "Is that you?", (), ()))
    assert isinstance(spoken, Spoken)
    assert (spoken.segment.role, spoken.segment.content) == ("caller", "Is that you?")
    assert (talk.core.deadline(), talk.core.tick(moment(10**7))) == (None, [])


def test_a_tool_that_has_handed_over_asks_for_no_answer_and_a_goodbye_waits_for_ever() -> None:
    talk = Talk()
    talk.on(created(), call("transfer"))
    talk.core.hang_up(moment(0))
    talk.on(done())
    assert CallGoesOn() in talk.core.hand_over()
    assert [type(each) for each in talk.done("c1")] == [ToolOutput]
