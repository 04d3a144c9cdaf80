"""Turns off the happy path: barge-in, cancel, truncate, tools, modalities, timeouts, endings."""

from __future__ import annotations

import base64

import pytest

from .driven import Driven, error_of, spoken, ulaw

TOOL = {"type": "function", "name": "book", "description": "Books.", "parameters": {"type": "object"}}
LONG = """
[[turn]]
user = "One"
say = "This is a long answer of many words that goes on and on."
delay_ms = 400
[[turn]]
user = "Two"
say = "Second answer."
"""


def _answering(script: str = LONG, **detection: object) -> Driven:
    """A session whose first answer is on its way, with some of it sent."""
    session = Driven(script)
    session.listen(**detection)
    session.ask()
    session.run(0.45)
    assert session.of("response.output_audio.delta")
    return session


def test_vad_times_lie_on_the_grid_and_the_end_includes_the_silence() -> None:
    session = Driven(LONG)
    session.listen()
    session.ask()
    start = session.of("input_audio_buffer.speech_started")[0]
    stop = session.of("input_audio_buffer.speech_stopped")[0]
    assert (start["audio_start_ms"] + 300) % 32 == 0
    assert stop["audio_end_ms"] % 32 == 0
    speech_end_ms = 500 + len(spoken(0, 0)) // 8
    assert speech_end_ms <= stop["audio_end_ms"] <= speech_end_ms + 560
    assert start["item_id"] == stop["item_id"] == session.of("input_audio_buffer.committed")[0]["item_id"]


def test_barge_in_with_partial_output_closes_what_is_open() -> None:
    session = _answering()
    before = len(session.events)
    session.ask()
    kinds = [event["type"] for event in session.events[before:]]
    assert kinds[:7] == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    done = session.of("response.done")[0]["response"]
    assert done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"


def test_barge_in_before_any_output_leaves_none_and_the_turn_is_asked_again() -> None:
    session = Driven(LONG)
    session.listen()
    session.ask()
    session.run(0.1)
    session.ask()
    session.run()
    first, second = (event["response"] for event in session.of("response.done"))
    assert (first["status"], first["output"]) == ("cancelled", [])
    assert second["output"][0]["content"][0]["transcript"].startswith("This is a long answer")


def test_without_interrupt_response_speech_changes_nothing() -> None:
    session = _answering(interrupt_response=False)
    session.hear(ulaw(spoken(tail_ms=0)))
    session.run()
    assert [event["response"]["status"] for event in session.of("response.done")] == ["completed"]


def test_without_create_response_the_client_asks() -> None:
    session = Driven(LONG)
    session.listen(create_response=False)
    session.ask()
    assert session.run()
    assert not session.of("response.created")
    session.send("response.create")
    session.run()
    assert session.of("response.done")[0]["response"]["status"] == "completed"


def test_cancel_by_the_client() -> None:
    session = _answering()
    session.send("response.cancel")
    done = session.of("response.done")[0]["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert error_of(session.send("response.cancel", event_id="e1")) == {
        "type": "invalid_request_error",
        "code": "response_cancel_not_active",
        "message": "Cancellation failed: no active response found",
        "param": None,
        "event_id": "e1",
    }
    deltas = len(session.of("response.output_audio.delta"))
    session.run()
    assert len(session.of("response.output_audio.delta")) == deltas


def test_only_one_response_at_a_time() -> None:
    session = _answering()
    error = error_of(session.send("response.create", event_id="again"))
    assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "again")


def test_truncate_cuts_and_forgets_the_transcript() -> None:
    session = Driven(LONG)
    session.listen()
    session.ask()
    session.run()
    item_id = session.of("response.output_item.done")[0]["item"]["id"]
    cut = {"item_id": item_id, "content_index": 0}
    assert session.send("conversation.item.truncate", **cut, audio_end_ms=900)[0]["audio_end_ms"] == 900
    error = error_of(session.send("conversation.item.truncate", **cut, audio_end_ms=1200))
    assert error["message"] == "Audio content of 900ms is already shorter than 1200ms"
    (got,) = session.send("conversation.item.retrieve", item_id=item_id)
    assert got["item"]["content"][0]["transcript"] is None


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({"type": "conversation.item.truncate"}, "missing_required_parameter", "item_id"),
        (
            {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 1},
            "item_truncate_invalid_item_id",
            "item_id",
        ),
        ({"type": "conversation.item.delete", "item_id": "x"}, "item_delete_invalid_item_id", "item_id"),
        ({"type": "conversation.item.retrieve", "item_id": "x"}, "item_retrieve_invalid_item_id", "item_id"),
        ({"type": "conversation.item.create"}, "missing_required_parameter", "item"),
        (
            {
                "type": "conversation.item.create",
                "item": {"type": "function_call_output", "call_id": "c", "output": ""},
            },
            "item_create_invalid_call_id",
            "item.call_id",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": {"type": "message", "role": "user", "content": [{"type": "output_text", "text": ""}]},
            },
            "invalid_value",
            "item.content[0].type",
        ),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "???"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.append", "audio": 5}, "invalid_type", "audio"),
        ({"type": "response.create", "response": {"voice": "x"}}, "unknown_parameter", "response.voice"),
        ({"type": "conversation.item.invent"}, "invalid_value", "type"),
        ({}, "missing_required_parameter", "type"),
    ],
)
def test_a_bad_event_is_refused_and_named(event: dict[str, object], code: str, param: str | None) -> None:
    import orjson

    session = Driven()
    error = error_of(session.raw(orjson.dumps({**event, "event_id": "mine"})))
    assert (error["code"], error["param"], error["event_id"]) == (
        code,
        param,
        "mine" if "type" in event else None,
    )


@pytest.mark.parametrize("message", ["{", "", "[1]", "null", b"\xff\xfe"])
def test_what_is_no_event_is_refused(message: str | bytes) -> None:
    assert error_of(Driven().raw(message))["code"] == "invalid_json"


def test_an_append_of_more_than_fifteen_mebibytes_is_refused() -> None:
    big = base64.b64encode(bytes(15 * 1024 * 1024 + 1)).decode()
    session = Driven()
    assert error_of(session.send("input_audio_buffer.append", audio=big))["param"] == "audio"


def test_commit_by_hand_without_turn_detection() -> None:
    session = Driven(LONG)
    session.update(audio={"input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}})
    assert session.ask() == []
    kinds = [event["type"] for event in session.send("input_audio_buffer.commit")]
    assert kinds == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    assert session.send("input_audio_buffer.clear")[0]["type"] == "input_audio_buffer.cleared"
    assert session.run() == []


def test_several_lines_are_several_items_of_one_response() -> None:
    session = Driven('[[turn]]\nuser = "x"\nsay = ["First.", "Second."]')
    session.listen()
    session.ask()
    session.run()
    added = session.of("response.output_item.added")
    assert [event["output_index"] for event in added] == [0, 1]
    assert len(session.of("response.done")[0]["response"]["output"]) == 2


TOOL_SCRIPT = """
[[turn]]
user = "Book it"
say = "One moment."
[[turn.tool]]
name = "book"
arguments = { seats = 1 }
say = "Booked."
"""


def test_a_preamble_before_a_tool_has_a_phase_on_second_generation_models() -> None:
    session = Driven(TOOL_SCRIPT, model="gpt-realtime-2.1")
    session.update(tools=[TOOL])
    session.listen()
    session.ask()
    session.run()
    message, call = session.of("response.done")[0]["response"]["output"]
    assert (message["phase"], call["name"], call["arguments"]) == ("commentary", "book", '{"seats": 1}')
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "ok"}
    session.send("conversation.item.create", item=output)
    session.send("response.create")
    session.run()
    (answer,) = session.of("response.done")[1]["response"]["output"]
    assert (answer["phase"], answer["content"][0]["transcript"]) == ("final_answer", "Booked.")


def test_a_tool_that_was_not_declared_is_not_called() -> None:
    session = Driven(TOOL_SCRIPT)
    session.listen()
    session.ask()
    session.run()
    assert not session.of("response.function_call_arguments.done")
    texts = [
        item["content"][0]["transcript"] for item in session.of("response.done")[0]["response"]["output"]
    ]
    assert texts == ["One moment.", "Booked."]


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [("failed", "failed", None), ("incomplete", "incomplete", "max_output_tokens")],
)
def test_scripted_endings(outcome: str, status: str, reason: str | None) -> None:
    session = Driven(f'[[turn]]\nuser = "x"\nsay = "Some words here."\noutcome = "{outcome}"')
    session.listen()
    session.ask()
    session.run()
    done = session.of("response.done")[0]["response"]
    assert (done["status"], done["status_details"].get("reason")) == (status, reason)


def test_max_output_tokens_cuts_the_answer() -> None:
    session = Driven(LONG)
    session.send("response.create", response={"max_output_tokens": 30})
    session.run()
    done = session.of("response.done")[0]["response"]
    assert done["status"] == "incomplete"
    assert done["usage"]["output_tokens"] <= 30


def test_usage_counts_real_durations() -> None:
    session = Driven(LONG)
    session.listen()
    session.ask()
    session.run()
    usage = session.of("response.done")[0]["response"]["usage"]
    assert usage["output_token_details"]["audio_tokens"] == 2000 // 50
    start = session.of("input_audio_buffer.speech_started")[0]["audio_start_ms"]
    stop = session.of("input_audio_buffer.speech_stopped")[0]["audio_end_ms"]
    assert usage["input_token_details"]["audio_tokens"] == (stop - start) // 100
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_the_greeting_comes_first_and_only_once() -> None:
    session = Driven('[greeting]\nsay = "Welcome."\n[fallback]\nsay = "Pardon?"')
    for _ in range(2):
        session.send("response.create")
        session.run()
    texts = [event["transcript"] for event in session.of("response.output_audio_transcript.done")]
    assert texts == ["Welcome.", "Pardon?"]


def test_history_of_an_earlier_session_moves_the_script_on() -> None:
    session = Driven('[greeting]\nsay = "Welcome."\n' + LONG)
    history = [("assistant", "Welcome."), ("user", "One"), ("assistant", "This is a long answer.")]
    for role, text in history:
        kind = "output_text" if role == "assistant" else "input_text"
        item = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
        session.send("conversation.item.create", item=item)
    session.listen()
    session.ask()
    session.run()
    assert session.of("response.output_audio_transcript.done")[0]["transcript"] == "Second answer."


def test_a_response_outside_the_conversation_adds_no_items() -> None:
    session = Driven(LONG)
    session.send("response.create", response={"conversation": "none", "output_modalities": ["text"]})
    session.run()
    assert session.of("response.output_text.done")
    assert not session.of("conversation.item.added")


def test_idle_timeout_prompts_the_caller_after_the_end_of_playback() -> None:
    session = Driven(LONG)
    session.listen(idle_timeout_ms=5000)
    session.ask()
    session.run(3.0)
    assert session.of("response.done")
    assert not [e for e in session.run(3.0) if e["type"] == "input_audio_buffer.timeout_triggered"]
    kinds = [event["type"] for event in session.run(3.0)]
    assert kinds[:2] == ["input_audio_buffer.timeout_triggered", "input_audio_buffer.committed"]
    assert "response.created" in kinds


def test_the_session_cap_ends_the_session() -> None:
    session = Driven(session_cap_s=60.0)
    session.run(61.0)
    assert session.events[-1]["error"]["code"] == "session_expired"
    assert session.close is not None
    assert session.close.code == 1001
    assert session.core.deadline() is None


def test_an_mcp_server_is_listed_empty() -> None:
    session = Driven()
    session.update(tools=[{"type": "mcp", "server_label": "maps", "server_url": "https://example.org"}])
    assert session.types()[-4:] == [
        "conversation.item.added",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "conversation.item.done",
    ]


@pytest.mark.parametrize("when", ["early", "during", "late", "failed", "none"])
def test_a_transcript_comes_when_the_script_says(when: str) -> None:
    session = Driven(f'[[turn]]\nuser = "My words."\nsay = "Yes."\ntranscript = "{when}"')
    session.listen()
    session.hear(ulaw(spoken()), paced=True)
    session.run()
    kinds = session.types()
    name = "conversation.item.input_audio_transcription."
    if when == "none":
        assert not any(kind.startswith(name) for kind in kinds)
        return
    ended = kinds.index(name + ("failed" if when == "failed" else "completed"))
    assert (ended < kinds.index("input_audio_buffer.committed")) == (when == "early")
    assert (ended > kinds.index("response.done")) == (when == "late")


def test_a_transcript_may_come_after_that_of_the_next_turn() -> None:
    session = Driven(
        '[[turn]]\nuser = "A"\nsay = "x"\ntranscript = "next_turn"\n[[turn]]\nuser = "B"\nsay = "y"'
    )
    session.listen()
    for _ in range(2):
        session.ask()
        session.run()
    completed = session.of("conversation.item.input_audio_transcription.completed")
    assert [event["transcript"] for event in completed] == ["[script] B", "[script] A"]


def test_logprobs_and_languages_where_asked_for() -> None:
    session = Driven('[[turn]]\nuser = "Muraho"\nlang = "rw"\nsay = "Muraho."')
    session.listen()
    session.update(
        include=["item.input_audio_transcription.logprobs"],
        audio={"input": {"transcription": {"model": "gpt-transcribe"}}},
    )
    session.ask()
    session.run()
    (completed,) = session.of("conversation.item.input_audio_transcription.completed")
    assert completed["languages"] == [{"code": "rw"}]
    assert completed["usage"]["type"] == "tokens"
    assert completed["logprobs"]
