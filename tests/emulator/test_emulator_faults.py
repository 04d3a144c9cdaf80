"""Every fault does what it says, and the documents list exactly the faults there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sipua.errors import ConfigError
from sipua.realtime.emulator import FAULTS, Fault, parse_fault
from sipua.realtime.emulator.faults import of_session
from sipua.realtime.emulator.outputs import Abort, Close, Send, SendText

from .driven import Driven, error_of

DOCS = Path(__file__).parents[2] / "docs" / "emulator.md"
SCRIPT = '[[turn]]\nuser = "x"\nsay = "One two three."\n[[turn]]\nuser = "x"\nsay = "Four."'


def _asked(*faults: str, strict: bool = True) -> Driven:
    session = Driven(SCRIPT, faults=faults, strict=strict)
    session.listen() if "session" not in "".join(faults) else None
    session.ask()
    session.run()
    return session


def test_the_documents_list_exactly_the_faults_and_their_descriptions() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(rows) == FAULTS


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("stall", Fault("stall")),
        ("drop=20", Fault("drop", "20")),
        ("drop=1.5s", Fault("drop", "1.5s")),
        ("delay_ms=100", Fault("delay_ms", "100")),
        ("error_event=server_error", Fault("error_event", "server_error")),
        ("2:drop", Fault("drop", None, 2)),
        ("31:drop=4s", Fault("drop", "4s", 31)),
    ],
)
def test_a_fault_is_parsed(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "0:drop",
        ":drop",
        "2:",
        "x:drop",
        "2:drop=soon",
        "http_401=1",
        "drop=",
        "drop=soon",
        "delay_ms=-1",
        "delay_ms=1s",
    ],
)
def test_a_bad_fault_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="--fault"):
        parse_fault(text)


def test_a_fault_of_one_session_is_not_that_of_others() -> None:
    faults = [Fault("drop"), Fault("stall", None, 2)]
    assert [[each.name for each in of_session(faults, number)] for number in (1, 2)] == [
        ["drop"],
        ["drop", "stall"],
    ]


def test_drop_aborts_at_the_first_audio_and_nothing_follows() -> None:
    session = _asked("drop")
    assert session.outputs[-1] == Abort()
    assert session.types()[-1] == "response.output_audio.delta"


@pytest.mark.parametrize(("arg", "events"), [("=3", 3), ("=0.0s", 1)])
def test_close_1011_after_events_or_seconds(arg: str, events: int) -> None:
    session = Driven(SCRIPT, faults=("close_1011" + arg,))
    session.update()
    session.send("input_audio_buffer.clear")
    assert session.outputs[-1] == Close(1011, "keepalive ping timeout")
    assert len(session.events) == events


def test_stall_sends_nothing_more() -> None:
    session = _asked("stall")
    assert session.types()[-1] == "response.output_audio.delta"
    assert session.close is None
    assert session.update() == []


def test_unknown_event_and_invalid_json() -> None:
    session = _asked("unknown_event", "invalid_json", strict=False)
    assert "session.weather.changed" in session.types()
    assert [output for output in session.outputs if isinstance(output, SendText)]
    assert session.of("response.done")


def test_duplicate_delta() -> None:
    deltas = [event["event_id"] for event in _asked("duplicate_delta").of("response.output_audio.delta")]
    assert deltas[::2] == deltas[1::2]


def test_amid_a_barge_in_a_delta_is_under_way_before_and_after_the_cancellation() -> None:
    session = Driven(faults=("late_delta",))
    session.listen()
    session.ask()
    session.run(0.25)
    before = len(session.events)
    session.ask()
    kinds = [event["type"] for event in session.events[before:]]
    assert kinds[:2] == ["input_audio_buffer.speech_started", "response.output_audio.delta"]
    done = kinds.index("response.done")
    assert kinds[done + 1] == "response.output_audio.delta"
    session.run()
    before = len(session.events)
    session.ask()
    assert session.events[before + 1]["type"] == "input_audio_buffer.speech_stopped"  # it was over by then


def test_late_delta_comes_after_response_done() -> None:
    kinds = _asked("late_delta").types()
    assert "response.output_audio.delta" in kinds[kinds.index("response.done") :]


def test_reject_session_update_keeps_the_configuration() -> None:
    session = Driven(faults=("reject_session_update",))
    assert (
        error_of(session.send("session.update", session={"type": "realtime"}, event_id="a"))["event_id"]
        == "a"
    )


def test_no_session_updated() -> None:
    assert Driven(faults=("no_session_updated",)).update() == []


@pytest.mark.parametrize(("asked", "echoed"), [("audio/pcmu", "audio/pcm"), ("audio/pcm", "audio/pcmu")])
def test_wrong_format_echo(asked: str, echoed: str) -> None:
    wanted = {"type": asked, "rate": 24000} if asked == "audio/pcm" else {"type": asked}
    (echo,) = Driven(faults=("wrong_format_echo",)).update(audio={"output": {"format": wanted}})
    assert echo["session"]["audio"]["output"]["format"]["type"] == echoed


def test_expire_and_error_event() -> None:
    session = Driven(faults=("expire=2", "error_event=insufficient_quota"))
    assert session.events[1]["error"]["code"] == "insufficient_quota"
    session.run(2.5)
    assert session.events[-1]["error"]["code"] == "session_expired"
    assert session.close == Close(1001, "session_expired")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("quota", "insufficient_quota"),
        ("rate_limit", "rate_limit_exceeded"),
        ("server_error", "server_error"),
    ],
)
def test_the_first_response_fails_and_the_second_does_not(name: str, code: str) -> None:
    session = _asked(name)
    session.send("response.create")
    session.run()
    first, second = (event["response"] for event in session.of("response.done"))
    assert (first["status"], first["status_details"]["error"]["code"]) == ("failed", code)
    assert second["status"] == "completed"


def test_no_response() -> None:
    session = _asked("no_response")
    assert session.of("input_audio_buffer.committed")
    assert not session.of("response.created")


@pytest.mark.parametrize(("fault", "ending"), [("no_transcript", None), ("transcription_failed", "failed")])
def test_transcripts_that_fail_or_never_come(fault: str, ending: str | None) -> None:
    found = [kind for kind in _asked(fault).types() if "input_audio_transcription" in kind]
    assert [kind.rpartition(".")[2] for kind in found] == ([ending] if ending else [])


def test_delay_ms_holds_every_event_back_in_order() -> None:
    session = Driven(SCRIPT, faults=("delay_ms=300",))
    assert session.events == []
    session.update()
    session.run(0.2)
    assert session.events == []
    session.run(0.2)
    assert session.types() == ["session.created", "session.updated"]


def test_a_turn_of_the_script_may_have_faults_of_its_own() -> None:
    session = Driven('[[turn]]\nuser = "x"\nsay = "y"\nfaults = ["drop"]')
    session.listen()
    session.ask()
    session.run()
    assert session.outputs[-1] == Abort()
    assert all(isinstance(output, Send) for output in session.outputs[:-1])
