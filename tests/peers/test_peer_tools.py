"""Models that call tools in whole calls: what the caller hears, how the call ends and what the ledger says."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from rtp.wav import read_wav
from sipua.resources import shipped_speech
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import until

pytestmark = pytest.mark.peer
ROOT = Path(__file__).resolve().parents[2]

# One response with a preamble and four tools, of which two are wrong; then a goodbye with the wish to hang up.
SCRIPT = """
user_prefix = ""
[greeting]
say = "Hello, this is the ride desk. How can I help you?"
audio = "greeting_en.wav"
[[greeting.tool]]
name = "wrap_up"
arguments = { intent = "a test", outcome = "resolved", note = "One word." }
[[greeting.tool]]
name = "teleport"
undeclared = true
[[greeting.tool]]
name = "set_language"
arguments = { language = "fr" }
padding = 1_000_000
[[greeting.tool]]
name = "hang_up"
say = "I am sorry, I did not catch that. Could you say it again, please?"
audio = "fallback_en.wav"
"""


def test_the_agent_uses_tools_says_goodbye_and_hangs_up(
    start_emulator: Callable[..., Emulator],
    start_agent: Callable[..., Agent],
    sipp: StartSipp,
    phone: Phone,
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.toml"
    script.write_text(SCRIPT)
    emulator = start_emulator("--script", str(script))
    agent = start_agent(emulator.base_url, trunks={"plain": '["127.0.0.1/32"]'})
    caller = sipp(agent.sip, "call_until_bye", rtp_port=phone.port)
    call = agent.closed_call(caller.wait().call_id)
    assert (call["status"], call["outcome"], call["intent"]) == ("completed", "resolved", "a test")
    assert (call["metadata"]["end_reason"], call["last_note"]) == ("agent_hangup", "One word.")
    rows = {
        row["tool"]: row
        for row in agent.select("SELECT * FROM mcp_tool_calls WHERE call_id = %s", call["id"])
    }
    assert {name: row["success"] for name, row in rows.items()} == {
        "wrap_up": True, "teleport": False, "set_language": False, "hang_up": True,
    }  # fmt: skip
    assert rows["teleport"]["error"] == "there is no tool named teleport"
    assert rows["set_language"]["args"] is None
    assert "too long" in rows["set_language"]["error"]
    assert rows["hang_up"]["args"] == {}
    assert agent.events(call).count("tool_call") == 4
    assert (
        agent.events(call).count("openai_response_created") == 1
    )  # a goodbye that was said is not said again
    spoken_ms = 20 * sum(packet.payload.strip(b"\xff\x7f") != b"" for packet in phone.heard)
    assert spoken_ms > 2500  # the last words are heard to their end
    (session,) = agent.sessions(call)
    assert {tool["name"] for tool in session["tools"]} >= {"hang_up", "set_language", "wrap_up"}
    assert agent.metric("sipua_tool_calls_total", outcome="error") == 2


# The caller asks; the answer needs two services, and is not said before both have answered.
QUESTION = """
user_prefix = ""
[greeting]
say = "Hello, this is the ride desk. How can I help you?"
audio = "greeting_en.wav"
[[turn]]
user = "Hello, can you help me find a taxi to the airport tomorrow morning?"
[[turn.tool]]
name = "distance"
arguments = { start = "A", end = "B" }
[[turn.tool]]
name = "set_language"
arguments = { language = "fr" }
[[turn.tool]]
name = "book_taxi"
arguments = { seats = 2 }
say = "Thank you. Your ride is booked for seven o'clock. The driver will call you ten minutes before."
audio = "booked_en.wav"
"""


class Bookings(BaseHTTPRequestHandler):
    """The operator's service."""

    ids: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.ids.append(self.headers["webhook-id"])
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"reference": "A1"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """Nothing."""


@pytest.fixture
def bookings() -> Iterator[int]:
    """Its port."""
    with HTTPServer(("127.0.0.1", 0), Bookings) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_tools_of_an_http_service_and_of_an_mcp_server_serve_one_answer(
    start_emulator: Callable[..., Emulator],
    start_agent: Callable[..., Agent],
    sipp: StartSipp,
    phone: Phone,
    bookings: int,
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.toml"
    script.write_text(QUESTION)
    command = [sys.executable, "-m", "tests.tools.mcp_server"]
    secret = tmp_path / "secret"
    secret.write_text("of the tests")
    tools = {
        "maps": f'kind = "mcp"\nname = "maps"\ncommand = {command}\ncwd = "{ROOT}"\nstart_timeout_s = 30\n',
        "book": f'kind = "http"\nname = "book_taxi"\ndescription = "Books."\nsecret_file = "{secret}"\n'
        f'url = "http://127.0.0.1:{bookings}/"\n',
    }
    emulator = start_emulator("--script", str(script))
    agent = start_agent(emulator.base_url, trunks={"plain": '["127.0.0.1/32"]'}, tools=tools)
    caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=8000)
    until(lambda: phone.target, "the call is up")
    phone.say(read_wav(shipped_speech("question_en.wav")))
    call = agent.closed_call(caller.wait().call_id)
    rows = {
        row["tool"]: row
        for row in agent.select("SELECT * FROM mcp_tool_calls WHERE call_id = %s", call["id"])
    }
    assert {name: (row["server"], row["success"]) for name, row in rows.items()} == {
        "distance": ("maps", True),
        "set_language": ("sipua", True),
        "book_taxi": (f"http://127.0.0.1:{bookings}", True),
    }
    assert rows["distance"]["result"]["distance"] == 4.5
    assert (rows["book_taxi"]["args"], rows["book_taxi"]["result"]) == ({"seats": 2}, {"reference": "A1"})
    assert (call["locale"], call["metadata"]["language"]) == ("fr", "asked")
    assert Bookings.ids == [str(rows["book_taxi"]["id"])]
    said = agent.select(
        "SELECT content FROM transcripts WHERE call_id = %s AND role = 'assistant' ORDER BY t", call["id"]
    )
    assert said[-1]["content"].startswith("Thank you. Your ride is booked")
    # greeting, the response that calls both, one answer
    assert agent.events(call).count("openai_response_created") == 3


def test_a_tool_is_offered_by_trunk_and_from_the_next_reading_on(
    start_emulator: Callable[..., Emulator],
    start_agent: Callable[..., Agent],
    sipp: StartSipp,
    phone: Phone,
    tmp_path: Path,
) -> None:
    own = 'kind = "own"\nname = "{}"\ntrunks = ["{}"]\n'
    tools = {"a": own.format("wrap_up", "plain"), "b": own.format("set_language", "another")}
    agent = start_agent(start_emulator().base_url, trunks={"plain": '["127.0.0.1/32"]'}, tools=tools)

    file = tmp_path / "agent0" / "conf" / "tools" / "a.toml"

    def offered() -> set[str]:
        caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=300)
        (session,) = agent.sessions(agent.closed_call(caller.wait().call_id))
        return {tool["name"] for tool in session["tools"]} & {"hang_up", "set_language", "wrap_up"}

    assert offered() == {"hang_up", "wrap_up"}
    file.write_text(own.format("wrap_up", "another"))
    agent.signal(signal.SIGHUP)
    until(lambda: "tools read again" in agent.stderr, "the files are read again")
    assert offered() == {"hang_up"}
    file.write_text(own.format("teleport", "plain"))
    agent.signal(signal.SIGHUP)
    until(lambda: "tools were not read again" in agent.stderr, "the bad file is refused")
    assert "'teleport' is no tool of ours" in agent.stderr
    assert offered() == {"hang_up"}
