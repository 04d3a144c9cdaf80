"""The protocol core: states, faults, errors, responses and client events, as tables. No I/O, no time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, get_args

import orjson
import pybase64
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai._models import construct_type
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel

from sipua.errors import RealtimeError, RealtimeRefused, RealtimeRejectedConfig, RealtimeUnreachable
from sipua.realtime import events as ev
from sipua.realtime import parse
from sipua.realtime.commands import approval_item, function_output_item
from sipua.realtime.config import AudioFormat, SessionConfig
from sipua.realtime.protocol import (
    IGNORED_RESPONSES_MAX,
    TRANSITIONS,
    RealtimeMisuseError,
    RealtimeProtocol,
    State,
    Step,
)
from sipua.realtime.severity import Severity, severity_of

from .realtime_wire import CONFIG, audio, created, error, ready_core, response, session, updated, wire

Sent = tuple[str, bytes]
USER_ITEM = {"id": "item_1", "type": "message", "role": "user", "status": "completed"}


def test_opening_ends_ready() -> None:
    core = RealtimeProtocol(CONFIG)
    states = [core.state]
    assert isinstance(core.receive(created())[0], ev.SessionCreated)
    states.append(core.state)
    event_id, data = core.session_update()
    states.append(core.state)
    assert isinstance(core.receive(updated())[0], ev.SessionUpdated)
    states.append(core.state)
    core.closed()
    states.append(core.state)
    assert states == list(State)
    sent = orjson.loads(data)
    assert (sent["event_id"], sent["session"]) == (event_id, CONFIG.to_session())
    assert core.session_id == "sess_1"
    assert core.echoed["audio"]["input"]["format"] == {"type": "audio/pcmu"}


def test_every_state_can_close_and_none_leaves_closed() -> None:
    assert all(TRANSITIONS[state, Step.CLOSED] is State.CLOSED for state in State)
    assert {step for state, step in TRANSITIONS if state is State.CLOSED} == {Step.CLOSED}


@pytest.mark.parametrize(
    ("before", "received"),
    [
        ([], updated()),
        ([created()], updated()),
        ([created()], created()),
    ],
)
def test_a_step_out_of_order_is_a_counted_fault(before: list[bytes], received: bytes) -> None:
    core = RealtimeProtocol(CONFIG)
    for raw in before:
        core.receive(raw)
    state = core.state
    (event,) = core.receive(received)
    assert isinstance(event, ev.ProtocolFault)
    assert state.value in event.detail
    assert (core.state, core.counters.invalid) == (state, 1)


@pytest.mark.parametrize(
    ("echo", "wrong"),
    [
        (session(AudioFormat.PCMA), "input"),
        (session(AudioFormat.PCMU, taken=AudioFormat.PCM24), "input"),
        (session(AudioFormat.PCMA, taken=AudioFormat.PCMU), "output"),
        ({"id": "sess_1"}, "input"),
        ({"audio": {"input": {"format": "pcmu"}}}, "input"),
        ({"audio": {"input": {"format": {"type": "audio/pcmu"}}, "output": None}}, "output"),
    ],
)
def test_an_echo_of_other_formats_ends_the_session(echo: dict[str, Any], wrong: str) -> None:
    core = RealtimeProtocol(CONFIG)
    core.receive(created())
    core.session_update()
    with pytest.raises(RealtimeRejectedConfig, match=f"echoed {wrong} format"):
        core.receive(wire("session.updated", session=echo))
    assert core.state is State.CLOSED


def test_an_echo_of_pcm_with_another_rate_is_refused() -> None:
    core = RealtimeProtocol(SessionConfig("m", audio_format=AudioFormat.PCM24))
    core.receive(created())
    core.session_update()
    echo = session(AudioFormat.PCM24)
    echo["audio"]["output"]["format"] = {"type": "audio/pcm", "rate": 16000}
    with pytest.raises(RealtimeRejectedConfig, match="output"):
        core.receive(wire("session.updated", session=echo))


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("invalid_api_key", RealtimeRefused),
        ("insufficient_quota", RealtimeRefused),
        ("model_not_found", RealtimeRefused),
        ("beta_api_shape_disabled", RealtimeRefused),
        ("something_new", RealtimeRefused),
        ("server_error", RealtimeUnreachable),
        ("rate_limit_exceeded", RealtimeUnreachable),
    ],
)
def test_an_error_instead_of_created(code: str, wanted: type[RealtimeError]) -> None:
    core = RealtimeProtocol(CONFIG, peer="api.example:443")
    with pytest.raises(wanted, match=f"api.example:443 .*{code}") as caught:
        core.receive(error(code))
    assert (caught.value.code, core.state) == (code, State.CLOSED)


def test_the_message_of_a_bad_key_is_not_repeated() -> None:
    core = RealtimeProtocol(CONFIG)
    with pytest.raises(RealtimeRefused) as caught:
        core.receive(error("invalid_api_key", message="Incorrect API key provided: sk-secret"))
    assert "sk-secret" not in str(caught.value)
    assert "OPENAI_API_KEY" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "named", "wanted"),
    [
        ("unknown_parameter", True, RealtimeRejectedConfig),
        ("invalid_value", False, RealtimeRejectedConfig),
        ("never_heard_of", True, RealtimeRejectedConfig),
        ("insufficient_quota", False, RealtimeRefused),
        ("server_error", True, RealtimeUnreachable),
    ],
)
def test_a_refused_session_update(code: str, named: bool, wanted: type[RealtimeError]) -> None:
    core = RealtimeProtocol(CONFIG)
    core.receive(created())
    event_id, _ = core.session_update()
    with pytest.raises(wanted, match=r"session\.update.*session\.voice") as caught:
        core.receive(error(code, event_id=event_id if named else None, param="session.voice"))
    assert caught.value.code == code


def test_a_later_update_may_be_optional() -> None:
    core = ready_core()
    event_id, _ = core.session_update({"instructions": "Speak Swahili."}, required=False)
    (event,) = core.receive(error("invalid_value", event_id=event_id))
    assert isinstance(event, ev.ServiceError)
    assert (event.event_id, event.severity, core.state) == (event_id, Severity.RETRY_ONCE, State.READY)
    event_id, _ = core.session_update({"tools": []}, required=True)
    with pytest.raises(RealtimeRejectedConfig):
        core.receive(error("invalid_value", event_id=event_id))


def test_an_answered_update_is_not_refused_later() -> None:
    core = ready_core()
    (event,) = core.receive(error("invalid_value", event_id="sipua_1"))
    assert isinstance(event, ev.ServiceError)


@pytest.mark.parametrize(
    ("code", "kind", "message", "about_update", "wanted"),
    [
        ("response_cancel_not_active", "", "", False, Severity.BENIGN),
        ("conversation_already_has_active_response", "", "", False, Severity.BENIGN),
        ("input_audio_buffer_commit_empty", "", "", False, Severity.BENIGN),
        ("item_truncate_invalid_item_id", "", "", False, Severity.BENIGN),
        ("cannot_update_voice", "", "", True, Severity.BENIGN),
        ("invalid_value", "", "Audio content of 5 ms is already shorter than 9 ms", True, Severity.BENIGN),
        ("invalid_value", "", "", False, Severity.BENIGN),
        ("invalid_value", "", "", True, Severity.FATAL_CALL),
        ("unknown_parameter", "", "", True, Severity.FATAL_CALL),
        ("missing_required_parameter", "", "", True, Severity.FATAL_CALL),
        ("session_expired", "", "", False, Severity.RETRY_ONCE),
        ("rate_limit_exceeded", "", "", False, Severity.RETRY_ONCE),
        (None, "server_error", "", False, Severity.RETRY_ONCE),
        ("invalid_api_key", "", "", False, Severity.FATAL_ACCOUNT),
        ("insufficient_quota", "", "", False, Severity.FATAL_ACCOUNT),
        (None, "insufficient_quota", "", False, Severity.FATAL_ACCOUNT),
        ("account_deactivated", "", "", False, Severity.FATAL_ACCOUNT),
        ("billing_hard_limit_reached", "", "", False, Severity.FATAL_ACCOUNT),
        ("beta_api_shape_disabled", "", "", False, Severity.FATAL_ACCOUNT),
        ("never_heard_of", "invalid_request_error", "", False, Severity.BENIGN),
        (None, "", "", False, Severity.BENIGN),
    ],
)
def test_severity_table(
    code: str | None, kind: str, message: str, about_update: bool, wanted: Severity
) -> None:
    assert severity_of(code, kind, message, about_update=about_update) is wanted


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        (
            wire("input_audio_buffer.speech_started", item_id="i", audio_start_ms=1460),
            ev.SpeechStarted("i", 1460),
        ),
        (
            wire("input_audio_buffer.speech_stopped", item_id="i", audio_end_ms=4256.0),
            ev.SpeechStopped("i", 4256),
        ),
        (
            wire("input_audio_buffer.committed", item_id="i", previous_item_id=None),
            ev.InputCommitted("i", None),
        ),
        (wire("input_audio_buffer.cleared"), ev.InputCleared()),
        (
            wire("input_audio_buffer.timeout_triggered", item_id="i", audio_start_ms=0, audio_end_ms=6000),
            ev.IdleTimeout("i", 0, 6000),
        ),
        (
            wire("conversation.item.added", item=USER_ITEM, previous_item_id="p"),
            ev.ItemAdded("item_1", "user", "message", "p"),
        ),
        (
            wire("conversation.item.done", item=USER_ITEM, previous_item_id=None),
            ev.ItemDone("item_1", "user", "message", None, "completed"),
        ),
        (wire("conversation.item.deleted", item_id="i"), ev.ItemDeleted("i")),
        (
            wire("conversation.item.truncated", item_id="i", content_index=0, audio_end_ms=900),
            ev.ItemTruncated("i", 900),
        ),
        (
            wire(
                "conversation.item.input_audio_transcription.completed",
                item_id="i",
                transcript="Habari",
                languages=[{"code": "sw"}],
                logprobs=[{"token": "Ha", "bytes": [], "logprob": -0.25}],
                usage={"type": "duration", "seconds": 1.5},
            ),
            ev.UserTranscript("i", "Habari", ("sw",), (-0.25,), {"type": "duration", "seconds": 1.5}),
        ),
        (
            wire(
                "conversation.item.input_audio_transcription.failed",
                item_id="i",
                error={"code": "audio_unintelligible", "message": "no"},
            ),
            ev.UserTranscriptFailed("i", "audio_unintelligible", "no"),
        ),
        (
            wire(
                "response.output_item.added",
                response_id="r",
                item={"id": "i", "type": "message", "phase": "commentary"},
            ),
            ev.OutputItemAdded("r", "i", "message", "commentary"),
        ),
        (
            wire(
                "response.function_call_arguments.done",
                response_id="r",
                item_id="i",
                call_id="c",
                name="hang_up",
                arguments="{}",
            ),
            ev.FunctionCall("r", "i", "c", "hang_up", "{}"),
        ),
        (
            response(
                "response.done",
                "r",
                "failed",
                status_details={"error": {"code": "rate_limit_exceeded", "message": "slow"}},
                usage=None,
            ),
            ev.ResponseDone("r", "failed", None, "rate_limit_exceeded", "slow", None),
        ),
        (
            response(
                "response.done", "r", "cancelled", status_details={"reason": "turn_detected"}, usage={"a": 1}
            ),
            ev.ResponseDone("r", "cancelled", "turn_detected", None, None, {"a": 1}),
        ),
        (
            wire("rate_limits.updated", rate_limits=[{"name": "tokens", "remaining": 5}]),
            ev.RateLimits(({"name": "tokens", "remaining": 5},)),
        ),
        (
            error("response_cancel_not_active", event_id="sipua_9"),
            ev.ServiceError("response_cancel_not_active", "no", None, "sipua_9", Severity.BENIGN),
        ),
        (wire("response.content_part.done"), ev.OtherEvent("response.content_part.done")),
        (wire("response.telepathy.delta"), ev.UnknownEvent("response.telepathy.delta")),
    ],
)
def test_event_table(raw: bytes, event: ev.Event) -> None:
    assert ready_core().receive(raw) == [event]


def test_a_failed_response_knows_its_severity() -> None:
    failed = ev.ResponseDone("r", "failed", None, "insufficient_quota", "", None)
    assert failed.severity is Severity.FATAL_ACCOUNT
    assert ev.ResponseDone("r", "completed", None, None, None, None).severity is Severity.BENIGN


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON: 1 bytes"),
        (b"\xff\xfe", "not JSON"),
        ("[]", "not an object"),
        ("null", "not an object"),
        ('{"type":5}', "not an object with a type"),
        (wire("response.created"), "response: expected an object, got NoneType"),
        (wire("response.created", response={"id": 7}), "id: expected a string, got int"),
        (wire("input_audio_buffer.speech_started", item_id="i", audio_start_ms=True), "got bool"),
        (wire("input_audio_buffer.speech_started", item_id="i", audio_start_ms="1"), "got str"),
        (wire("conversation.item.added", item=[]), "item: expected an object"),
        (wire("response.output_audio.delta", delta="?"), "delta: not base64"),
        (wire("response.output_audio.delta", delta="é"), "delta: not base64"),
        (wire("response.output_audio.delta", delta="AAAA", response_id="r"), "content_index"),
    ],
)
def test_unusable_messages_are_counted_and_survived(raw: bytes | str, detail: str) -> None:
    core = ready_core()
    (event,) = core.receive(raw)
    assert isinstance(event, ev.ProtocolFault)
    assert detail in event.detail
    assert (core.counters.invalid, core.state) == (1, State.READY)


def test_unknown_types_are_counted_but_not_collected() -> None:
    core = ready_core()
    before = len(core.counters.events)
    for number in range(1000):
        core.receive(wire(f"new.{number}" + "x" * 1000))
    assert core.counters.unknown == 1000
    assert len(core.counters.events) == before


WORDS = st.text('aé\x00"{}0=', max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
NAMES = (
    "session response item delta error item_id response_id content_index usage status_details languages "
    "logprobs rate_limits id status code event_id call_id name arguments transcript audio type"
)
FIELDS = st.sampled_from(NAMES.split())
OBJECT = st.dictionaries(FIELDS, JSON | st.dictionaries(FIELDS, JSON, max_size=4), max_size=6)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(sorted(parse.PARSERS)), fields=OBJECT)
def test_no_json_makes_the_core_fail(kind: str, fields: dict[str, Any]) -> None:
    core = ready_core()
    try:
        events = core.receive(orjson.dumps(fields | {"type": kind}))
    except (RealtimeError, orjson.JSONEncodeError):
        return
    assert all(isinstance(event, ev.Event) for event in events)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_core_fail(raw: bytes) -> None:
    assert isinstance(ready_core().receive(raw)[0], ev.ProtocolFault | ev.UnknownEvent)


def test_audio_arrives_decoded() -> None:
    (event,) = ready_core().receive(audio("r1", b"\x00\xff\x7f"))
    assert event == ev.AudioDelta("r1", "item_of_r1", 0, b"\x00\xff\x7f")


def test_late_audio_of_an_interrupted_response_is_dropped() -> None:
    core = ready_core()
    core.receive(response("response.created", "r1", "in_progress"))
    assert core.receive(audio("r1", b"a", 1))
    core.ignore_response("r1")
    late = core.receive(audio("r1", b"b", 2))
    assert late == [
        ev.LateAudio("r1", "item_of_r1")
    ]  # that it came is told, for somebody may have to truncate
    assert core.receive(audio("r1", b"b", 2)) == []  # twice
    assert core.receive(audio("r2", b"c", 3))
    assert core.counters.late_audio_dropped == 1


def test_audio_with_a_response_id_that_is_no_text_is_a_fault_even_while_some_are_ignored() -> None:
    core = ready_core()
    core.ignore_response("r1")
    delta = {"type": "response.output_audio.delta", "event_id": "e", "response_id": ["r1"], "delta": ""}
    (fault,) = core.receive(orjson.dumps(delta))
    assert isinstance(fault, ev.ProtocolFault)


def test_audio_after_a_cancelled_response_is_dropped_and_after_a_complete_one_kept() -> None:
    core = ready_core()
    core.receive(response("response.done", "r1", "cancelled"))
    core.receive(response("response.done", "r2", "completed"))
    assert core.receive(audio("r1", b"a", 1)) == [ev.LateAudio("r1", "item_of_r1")]
    assert core.receive(audio("r2", b"a", 2)) == [ev.AudioDelta("r2", "item_of_r2", 0, b"a")]


def test_the_same_delta_twice_is_heard_once() -> None:
    core = ready_core()
    assert core.receive(audio("r1", b"a", 1))
    assert core.receive(audio("r1", b"a", 1)) == []
    assert core.receive(audio("r1", b"a", 2)), "equal audio under another id is not a duplicate"
    assert core.receive(audio("r1", b"b", 2)), "a server with constant ids is heard all the same"
    assert core.counters.duplicate_audio_dropped == 1


def test_ignored_responses_are_bounded() -> None:
    core = ready_core()
    for number in range(IGNORED_RESPONSES_MAX + 10):
        core.ignore_response(f"r{number}")
    (heard,) = core.receive(audio("r0", b"a", 1))
    (late,) = core.receive(audio(f"r{IGNORED_RESPONSES_MAX}", b"a", 2))
    assert isinstance(heard, ev.AudioDelta)
    assert isinstance(late, ev.LateAudio)


def test_cancel_only_while_a_response_is_active_and_only_once() -> None:
    core = ready_core()
    assert core.response_cancel() is None
    core.receive(response("response.created", "r1", "in_progress"))
    assert core.active_response_id == "r1"
    sent = core.response_cancel()
    assert sent is not None
    assert orjson.loads(sent[1])["response_id"] == "r1"
    assert core.response_cancel() is None
    assert core.receive(audio("r1", b"a")) == [ev.LateAudio("r1", "item_of_r1")]
    core.receive(response("response.done", "r1", "cancelled"))
    assert core.active_response_id is None


def test_two_active_responses() -> None:
    core = ready_core()
    for name in ("r1", "r2"):
        core.receive(response("response.created", name, "in_progress"))
    assert core.active_response_id == "r2"
    core.receive(response("response.done", "r2", "completed"))
    assert core.active_response_id == "r1"
    core.receive(response("response.done", "r9", "completed"))
    assert core.active_response_id == "r1"


def message_item(role: str, kind: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


TOOLS = [
    {"type": "function", "name": "book", "description": "Books.", "parameters": {"type": "object", "properties": {}}},
    {"type": "mcp", "server_label": "crm", "server_url": "https://crm.example.org/mcp", "require_approval": "always",
     "server_description": "Customers.", "allowed_tools": ["find"], "authorization": "x"},
]  # fmt: skip
BUILDERS: dict[str, Callable[[RealtimeProtocol], Sent | None]] = {
    "append": lambda core: core.append(bytes(range(160))),
    "commit": lambda core: core.commit(),
    "clear": lambda core: core.clear(),
    "response_create": lambda core: core.response_create(),
    "response_create_full": lambda core: core.response_create(
        "Greet the caller.", options={"conversation": "none", "metadata": {"why": "greeting"}}
    ),
    "truncate": lambda core: core.truncate("item_1", 0, 1200),
    "user_text": lambda core: core.item_create(message_item("user", "input_text", "Hello"), "root"),
    "assistant_text": lambda core: core.item_create(message_item("assistant", "output_text", "Hello")),
    "system_text": lambda core: core.item_create(message_item("system", "input_text", "It is noon.")),
    "item_delete": lambda core: core.item_delete("item_1"),
    "function_call_output": lambda core: core.function_call_output("call_1", '{"ok":true}'),
    "tool_output_of_ours": lambda core: core.item_create(
        function_output_item("call_1", "{}", "sipua_tool_1")
    ),
    "approval": lambda core: core.item_create(approval_item("sipua_approval_1", "mcpr_1", True)),
    "session_update": lambda core: core.session_update({"instructions": "Speak French.", "tools": TOOLS}),
}


def has_extra(model: object) -> bool:
    if isinstance(model, BaseModel):
        fields = (getattr(model, name) for name in type(model).model_fields)
        return bool(model.model_extra) or any(has_extra(value) for value in fields)
    return any(has_extra(value) for value in model) if isinstance(model, list) else False


@pytest.mark.parametrize("name", BUILDERS)
def test_the_sdk_accepts_every_client_event(name: str) -> None:
    sent = BUILDERS[name](ready_core())
    assert sent is not None
    wanted = orjson.loads(sent[1])
    assert wanted["event_id"] == sent[0]
    shape = construct_type(type_=RealtimeClientEvent, value=wanted)  # picks the class by `type`
    assert isinstance(shape, BaseModel)
    event = type(shape).model_validate(wanted)  # and this one is strict about the fields
    assert event.model_dump(exclude_unset=True) == wanted
    assert not has_extra(event)


def test_cancel_is_accepted_by_the_sdk_too() -> None:
    core = ready_core()
    core.receive(response("response.created", "r1", "in_progress"))
    sent = core.response_cancel()
    assert sent is not None
    wanted = orjson.loads(sent[1])
    event = construct_type(type_=RealtimeClientEvent, value=wanted)
    assert isinstance(event, BaseModel)
    assert type(event).model_validate(wanted).model_dump(exclude_unset=True) == wanted


@given(st.binary(max_size=2000))
def test_append_is_valid_json_with_the_same_audio(data: bytes) -> None:
    event_id, raw = ready_core().append(data)
    sent = orjson.loads(raw)
    assert (sent["type"], sent["event_id"]) == ("input_audio_buffer.append", event_id)
    assert pybase64.b64decode(sent["audio"], validate=True) == data


def test_event_ids_are_unique_in_a_session() -> None:
    core = ready_core()
    ids = [core.append(b"x")[0] for _ in range(100)] + [core.commit()[0], core.response_create()[0]]
    assert len(set(ids)) == len(ids)
    assert all(int(b.split("_")[1]) > int(a.split("_")[1]) for a, b in pairwise(ids))


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "session_update"])
def test_nothing_is_sent_before_the_session_is_ready(name: str) -> None:
    core = RealtimeProtocol(CONFIG)
    core.receive(created())
    with pytest.raises(RealtimeMisuseError, match=r"in state created"):
        BUILDERS[name](core)


def test_every_event_class_knows_its_wire_type() -> None:
    named = {cls.raw_type for cls in ev.Event.__subclasses__()} - {""}
    assert named == set(parse.PARSERS)
    assert not named & parse.OTHER_TYPES


def test_every_server_event_of_the_sdk_is_known() -> None:
    union = get_args(RealtimeServerEvent)[0]
    types = {get_args(cls.model_fields["type"].annotation)[0] for cls in get_args(union)}
    assert types - set(parse.PARSERS) - parse.OTHER_TYPES == set()


def test_speech_does_not_stand_in_a_repr() -> None:
    shown = repr(ready_core().receive(audio("r1", b"secret speech"))) + repr(ev.UserTranscript("i", "my pin"))
    assert "secret" not in shown
    assert "my pin" not in shown
