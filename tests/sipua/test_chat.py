"""`sipua chat`: whole conversations in writing against the emulator, their rows, and what is shown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from psycopg.rows import dict_row

from sipua.chat_input import LINE_MAX, LineReader
from sipua.chat_screen import Lines, Text
from sipua.chat_service import ChatOptions, run_chat
from sipua.cli.chat import chat
from sipua.errors import ConfigError
from sipua.outcome import Ending
from sipua.realtime.commands import text_item
from sipua.realtime.config import AudioFormat
from sipua.settings import Settings
from sipua.texts import TextFiles
from sipua.tools.files import NO_TOOL_FILES
from sipua.voice_settings import text_config
from tests.emulator.test_emulator_server import emulator
from tests.link.fake import CLIENT_EVENT
from tests.peers.processes import until

CALLERS = {"en": "+447700900123", "sw": "+254700000123", "fr": "+33199000123", "rw": "+250788000123"}
LINE = "+250788000001"
# What is asked for is found in no catalogue; the order is a row of its own.
SCRIPT = """
user_prefix = ""
[greeting]
say = "Hello."
[[turn]]
user = "-"
[[turn.tool]]
name = "book_transport"
arguments = { vehicle_type = "moto", pickup_location = "Market", dropoff_location = "Airport" }
say = "It is booked."
[[turn]]
user = "-"
[[turn.tool]]
name = "set_language"
arguments = { language = "OTHER" }
[[turn.tool]]
name = "transfer_to_human"
arguments = { department = "support", reason = "a test" }
[[turn.tool]]
name = "record_consent"
arguments = { agreed = true, words = "yes" }
say = "Something else."
[[turn]]
user = "-"
say = "Goodbye."
[[turn.tool]]
name = "wrap_up"
arguments = { intent = "a ride", outcome = "booked" }
[[turn.tool]]
name = "hang_up"
"""
DEPARTMENTS = '[departments.support]\nabout = "Everything"\ntarget = "+250788000009"\n'


class Shown(list[Mapping[str, Any]]):
    """``sipua.chat_screen.View``."""

    def show(self, event: Mapping[str, Any]) -> None:
        self.append(event)

    def said(self) -> list[tuple[str, str]]:
        return [(each["role"], each["text"]) for each in self if each["event"] == "transcript"]


def settings(address: str, database: str | None = None, **sections: Any) -> Settings:
    values = {
        "openai_base_url": f"http://{address}/v1",
        "openai_api_key": "sk-test",
        "database_url": database,
    }
    return Settings.model_validate(values | sections)


async def talk(
    folder: Path,
    address: str,
    lines: Iterable[str],
    options: ChatOptions,
    database: str | None = None,
    stop: asyncio.Event | None = None,
    **sections: Any,
) -> tuple[Ending, Shown]:
    """One chat, from its first line to the last."""
    shown, left = Shown(), iter(lines)

    async def read_line() -> str | None:
        return next(left, None)

    chosen = settings(address, database, **sections)
    texts = TextFiles(folder)
    async with asyncio.timeout(30):
        ending = await run_chat(
            chosen, texts, NO_TOOL_FILES, options, shown, read_line, stop or asyncio.Event()
        )
    return ending, shown


def rows(database: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(database, row_factory=dict_row) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.mark.parametrize(("locale", "other"), [("en", "fr"), ("sw", "en"), ("fr", "rw"), ("rw", "sw")])
async def test_a_whole_conversation_with_tools_and_its_rows(
    locale: str, other: str, tmp_path: Path, database: str
) -> None:
    (tmp_path / "departments.toml").write_text(DEPARTMENTS)
    script = tmp_path / "script.toml"
    script.write_text(SCRIPT.replace("OTHER", other))
    recording = {"enabled": True, "dir": str(tmp_path / "recordings")}
    async with emulator(script=script) as address:
        ending, shown = await talk(
            tmp_path,
            address,
            ["A moto to the airport, please.", "", "Another language!", "Bye.", "never read"],
            ChatOptions(caller=CALLERS[locale], line=LINE),
            database,
            recording=recording,
        )
    assert (ending.status, ending.reason) == ("completed", "agent_hangup")
    (call,) = rows(database, "SELECT * FROM voice_calls")
    assert {
        key: call[key]
        for key in ("channel", "direction", "from_e164", "to_e164", "locale", "status", "outcome", "intent")
    } == {
        "channel": "text", "direction": "inbound", "from_e164": CALLERS[locale], "to_e164": LINE,
        "locale": other, "status": "completed", "outcome": "booked", "intent": "a ride",
    }  # fmt: skip
    assert call["ended_at"] is not None
    # no line carried it, nothing was heard, nobody was handed over
    assert {
        call[key]
        for key in (
            "provider",
            "trunk",
            "sip_session_id",
            "twilio_call_sid",
            "mtn_call_sid",
            "handoff_target",
        )
    } == {None}
    assert call["first_time_to_assistant_seconds"] is None
    assert not {"rtp", "codec", "from_uri", "source", "sip_code"} & call["metadata"].keys()
    assert (call["consent_obtained"], call["consent_channel"]) == (True, "text")
    said = rows(database, "SELECT role, content, lang FROM transcripts ORDER BY t")
    assert [(each["role"], each["content"]) for each in said] == [
        ("assistant", "Hello."),
        ("user", "A moto to the airport, please."), ("assistant", "It is booked."),
        ("user", "Another language!"), ("assistant", "Something else."),
        ("user", "Bye."), ("assistant", "Goodbye."),
    ]  # fmt: skip
    assert [each["lang"] for each in said] == [locale] * 4 + [other] * 3
    assert shown.said() == [(each["role"], each["content"]) for each in said]
    tools = {each["tool"]: each for each in rows(database, "SELECT * FROM mcp_tool_calls")}
    assert {name: each["success"] for name, each in tools.items()} == {
        "book_transport": True, "set_language": True, "transfer_to_human": False, "record_consent": True,
        "wrap_up": True, "hang_up": True,
    }  # fmt: skip
    assert "no telephone line" in tools["transfer_to_human"]["error"]
    (order,) = rows(database, "SELECT * FROM sipua.service_requests")
    assert order["reference"] == tools["book_transport"]["result"]["reference"]
    (session,) = rows(database, "SELECT * FROM openai_sessions")
    assert (session["modalities"], session["turn_detection"], session["status"]) == (
        ["text"], None, "completed",
    )  # fmt: skip
    types = {each["type"] for each in rows(database, "SELECT type FROM voice_events")}
    assert types >= {"call_started", "answered", "openai_response_done", "tool_call", "call_ended"}
    assert "ringing" not in types
    assert not (tmp_path / "recordings").exists()


async def test_who_writes_may_choose_a_language_and_be_remembered(tmp_path: Path, database: str) -> None:
    script = tmp_path / "script.toml"
    (tmp_path / "instructions").mkdir()
    (tmp_path / "instructions" / "default.md").write_text("Be kind. {{memory}}")
    script.write_text(
        '[greeting]\nsay = "Bonjour."\n[[turn]]\nuser = "-"\n[[turn.tool]]\nname = "remember"\n'
        'arguments = { topic = "vehicle", value = "moto", agreed = true }\nsay = "Noted."\n'
    )
    options = ChatOptions(caller=CALLERS["en"], locale="fr")
    memory = {"enabled": True}
    async with emulator(script=script) as address:
        ending, _ = await talk(tmp_path, address, ["A moto."], options, database, memory=memory)
        await talk(tmp_path, address, [], ChatOptions(caller=CALLERS["en"]), database, memory=memory)
    assert ending.reason == "caller_left"
    calls = rows(database, "SELECT locale, metadata FROM voice_calls ORDER BY started_at")
    assert [each["locale"] for each in calls] == ["fr", "fr"]  # chosen, then remembered
    assert calls[0]["metadata"]["language"] == "wanted"
    first, second = rows(database, "SELECT instructions FROM openai_sessions ORDER BY started_at")
    assert "moto" not in first["instructions"]
    assert "vehicle: moto" in second["instructions"]


async def test_without_a_ledger_nothing_is_offered_that_would_need_one(tmp_path: Path) -> None:
    async with emulator() as address:
        ending, shown = await talk(tmp_path, address, ["Hello?", "Seven."], ChatOptions(has_ledger=False))
    assert ending.reason == "caller_left"
    assert [role for role, _ in shown.said()] == ["assistant", "user", "assistant", "user", "assistant"]
    assert shown[-1]["event"] == "ended"


async def test_transcripts_wait_for_consent_where_they_depend_on_it(tmp_path: Path, database: str) -> None:
    script = tmp_path / "script.toml"
    script.write_text(
        '[greeting]\nsay = "Hello."\n[[turn]]\nuser = "-"\n[[turn.tool]]\nname = "record_consent"\n'
        'arguments = { agreed = true, words = "yes" }\nsay = "Thanks."\n'
    )
    async with emulator(script=script) as address:
        await talk(
            tmp_path, address, ["Yes."], ChatOptions(), database, consent={"transcripts": "with_consent"}
        )
    assert [each["content"] for each in rows(database, "SELECT content FROM transcripts")] == ["Thanks."]


@pytest.mark.parametrize("fault", ["drop=45", "close_1011=45"])
async def test_a_session_that_is_lost_amid_an_answer_is_followed_by_another(
    fault: str, tmp_path: Path, database: str
) -> None:
    greeting, answer = (
        " ".join(["hello"] * 20),
        " ".join(["yes"] * 12),
    )  # the 45th event is a word of the answer
    script = tmp_path / "script.toml"
    script.write_text(f'[greeting]\nsay = "{greeting}"\n[[turn]]\nuser = "-"\nsay = "{answer}"\n')
    async with emulator(fault, script=script) as address:
        ending, shown = await talk(tmp_path, address, ["Hello?"], ChatOptions(), database)
    assert ending.reason == "caller_left"
    assert shown.said() == [("assistant", greeting), ("user", "Hello?"), ("assistant", answer)]
    sessions = rows(database, "SELECT status FROM openai_sessions ORDER BY started_at")
    assert [each["status"] for each in sessions] == ["failed", "completed"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("error_event=insufficient_quota", "realtime_refused"),
        ("reject_session_update", "realtime_rejected_config"),
    ],
)
async def test_what_the_service_refuses_is_told_and_ends_in_order(
    fault: str, reason: str, tmp_path: Path, database: str
) -> None:
    async with emulator(fault) as address:
        ending, shown = await talk(tmp_path, address, ["Hello?"], ChatOptions(), database)
    assert (ending.status, ending.reason) == ("failed", reason)
    assert [each["reason"] for each in shown if each["event"] in ("error", "ended")] == [reason, reason]
    (call,) = rows(database, "SELECT * FROM voice_calls")
    assert (call["status"], call["outcome"], call["ended_at"] is None) == ("failed", reason, False)


async def test_two_chats_at_once_leave_each_others_rows_alone(tmp_path: Path, database: str) -> None:
    waits, stop = asyncio.Event(), asyncio.Event()

    async def ever() -> str | None:
        waits.set()
        await asyncio.Event().wait()
        return None

    async with emulator() as address:
        chosen, texts = settings(address, database), TextFiles(tmp_path)
        first = asyncio.create_task(
            run_chat(chosen, texts, NO_TOOL_FILES, ChatOptions(), Shown(), ever, stop)
        )
        await waits.wait()
        await talk(tmp_path, address, [], ChatOptions(), database)
        living = rows(database, "SELECT ended_at FROM voice_calls ORDER BY started_at")
        assert [each["ended_at"] is None for each in living] == [True, False]
        stop.set()
        assert (await first).reason == "caller_left"
    assert rows(database, "SELECT count(*) AS n FROM voice_calls WHERE ended_at IS NULL") == [{"n": 0}]


# ---- the process ---------------------------------------------------------------------------------------------


def environment(address: str, folder: Path) -> dict[str, str]:
    return os.environ | {
        "OPENAI_BASE_URL": f"http://{address}/v1", "OPENAI_API_KEY": "sk-test", "TERM": "xterm",
        "SIPUA_CONF": str(folder), "SIPUA_STATE_DIR": str(folder),
    }  # fmt: skip


def command() -> list[str]:
    return [sys.executable, "-m", "sipua", "chat", "--no-ledger"]


async def test_by_pipe_there_are_lines_without_colours(tmp_path: Path) -> None:
    async with emulator() as address:
        done = await asyncio.to_thread(
            subprocess.run, command(), input=b"Hello?\nAt seven.\n", timeout=30,
            env=environment(address, tmp_path), capture_output=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    lines = done.stdout.decode().splitlines()
    assert [line.partition(":")[0] for line in lines[:5]] == ["agent", "you", "agent", "you", "agent"]
    assert lines[5:] == ["· ended: caller_left"]


async def test_at_a_terminal_ctrl_c_ends_in_order(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    seen = b""

    def shows(wanted: bytes) -> Callable[[], bool]:
        def look() -> bool:
            nonlocal seen
            with contextlib.suppress(BlockingIOError):
                seen += os.read(ours, 4096)
            return wanted in seen

        return look

    async with emulator() as address:
        process = await asyncio.create_subprocess_exec(
            *command(), stdin=theirs, stdout=theirs, stderr=theirs, env=environment(address, tmp_path)
        )
        try:
            await asyncio.to_thread(until, shows(b"you: "), "the prompt")
            os.write(ours, b"Hello?\n")
            await asyncio.to_thread(until, shows(b"picked up?"), "the answer")
            process.send_signal(signal.SIGINT)
            await asyncio.to_thread(until, shows(b"\x1b[2m\xc2\xb7 ended: caller_left\x1b[0m"), "the end")
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
            os.close(theirs)
            os.close(ours)
    assert seen.count(b"Hello?") == 1  # what the terminal echoes is not said again


@pytest.mark.parametrize(
    ("option", "told"), [({"language": "xx"}, "allowed: en"), ({"caller": "0788"}, r"E\.164")]
)
def test_an_unknown_language_or_number_is_named(option: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises((typer.BadParameter, ConfigError), match=told):
        chat(conf=tmp_path, **option)


# ---- what is shown and read ------------------------------------------------------------------------------------

DELTA = {"event": "transcript_delta", "role": "assistant", "item": "i1"}
WHOLE = {"event": "transcript", "role": "assistant", "item": "i1", "text": "Hello."}
USER = {"event": "transcript", "role": "user", "item": "u1", "text": "Hi"}
SHOWN: list[tuple[str, list[dict[str, Any]], str]] = [
    ("streamed once", [DELTA | {"text": "Hel"}, DELTA | {"text": "lo."}, WHOLE], "agent: Hello.\n"),
    ("whole where nothing was streamed", [WHOLE], "agent: Hello.\n"),
    ("a tool amid an answer", [DELTA | {"text": "Wait"}, {"event": "tool", "tool": "t", "args": {"a": 1}}],
     'agent: Wait\n· t {"a":1}\n'),
    ("an error of a tool", [{"event": "tool_done", "tool": "t", "error": "no"}], "· t failed: no\n"),
    ("an item that breaks off", [DELTA | {"text": "Wai"}, DELTA | {"item": "i2", "text": "Hello"}],
     "agent: Wai\nagent: Hello"),
    ("escape codes", [WHOLE | {"text": "\x1b[31mred\x07\u202e"}], "agent: [31mred\n"),
    ("who writes", [USER], "you: Hi\n"),
    ("words of ours", [{"event": "transcript", "role": "system", "item": "s", "text": "Wait."}], "· Wait.\n"),
    ("what is not for people", [{"event": "call", "state": "incoming"}], ""),
]  # fmt: skip


@pytest.mark.parametrize(("events", "text"), [row[1:] for row in SHOWN], ids=[row[0] for row in SHOWN])
def test_what_is_shown(events: list[dict[str, Any]], text: str) -> None:
    written: list[str] = []
    view = Text(written.append, is_terminal=False, echoes=True)
    for event in events:
        view.show(event)
    assert "".join(written) == text
    lines: list[str] = []
    for event in events:
        Lines(lines.append).show(event)
    assert [json.loads(line) for line in lines] == events


def test_a_terminal_has_the_line_already() -> None:
    written: list[str] = []
    view = Text(written.append, is_terminal=True, echoes=False)
    view.prompt()
    view.show(USER)
    view.show(WHOLE)
    view.prompt()
    view.show({"event": "ended", "reason": "caller_left"})
    assert "".join(written) == "you: agent: Hello.\nyou: \n\x1b[2m· ended: caller_left\x1b[0m\n"


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (b"", [None]),
        (b"one\ntwo\n", ["one", "two", None]),
        (b"one\nrest", ["one", "rest", None]),
        (b"\n\xff\n", ["", "\ufffd", None]),
        (b"x" * LINE_MAX + b"yz\nnext\n", ["x" * LINE_MAX, "yz", "next", None]),
    ],
)
async def test_lines_are_read_from_any_file(given: bytes, lines: list[str | None], tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(given)
    with (tmp_path / "lines").open("rb") as file:
        reader = LineReader(file.fileno())
        assert [await reader.line() for _ in lines] == lines


async def test_a_key_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        await talk(tmp_path, "127.0.0.1:1", [], ChatOptions(has_ledger=False), openai_api_key=None)


def test_what_a_chat_sends_is_what_the_sdks_types_allow() -> None:
    session = text_config(settings("127.0.0.1:1"), AudioFormat.PCMU).to_session()
    assert (session["output_modalities"], session["audio"]["input"]["turn_detection"]) == (["text"], None)
    for event in (
        {"type": "session.update", "session": session},
        {"type": "conversation.item.create", "item": text_item("sipua_typed_1", "user", "Hello?")},
    ):
        CLIENT_EVENT.validate_python(event, strict=True)
