"""One whole call, looked at as an operator does: its figures, its trace, and every line of the log at debug as JSON."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rtp.wav import read_wav
from sipua.metrics import Metrics
from sipua.resources import shipped_speech
from tests.observability.receiver import Receiver, attributes_of
from tests.peers.agent import KEY, STRANGER, Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import until

pytestmark = pytest.mark.peer
CALLER, SECRET = "+250788000123", "whsec_c2VjcmV0LW9mLXRoZS10ZXN0cw=="
QUESTION = "Hello, can you help me find a taxi to the airport tomorrow morning?"
ANSWER = "Your ride is booked for seven o'clock."
SCRIPT = f"""
user_prefix = ""
[greeting]
say = "Hello, this is the ride desk. How can I help you?"
audio = "greeting_en.wav"
[[turn]]
user = "{QUESTION}"
[[turn.tool]]
name = "book_taxi"
arguments = {{ phone = "{CALLER}" }}
[[turn.tool]]
name = "teleport"
undeclared = true
say = "{ANSWER}"
audio = "booked_en.wav"
"""


class Broken(BaseHTTPRequestHandler):
    """A service that gives a number away in its error."""

    parents: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.parents.append(self.headers["traceparent"])
        self.rfile.read(int(self.headers["Content-Length"]))
        body = orjson.dumps({"error": f"no seat for {CALLER}"})
        self.send_response(500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """Nothing."""


@pytest.fixture
def broken() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_call_is_seen_and_nothing_private_is(
    start_emulator: Callable[..., Emulator],
    start_agent: Callable[..., Agent],
    sipp: StartSipp,
    phone: Phone,
    broken: int,
    tmp_path: Path,
) -> None:
    (tmp_path / "script.toml").write_text(SCRIPT)
    (tmp_path / "secret").write_text(SECRET)
    tool = (
        f'kind = "http"\nname = "book_taxi"\ndescription = "Books."\nsecret_file = "{tmp_path}/secret"\n'
        f'url = "http://127.0.0.1:{broken}/book"\n'
    )
    emulator = start_emulator("--script", str(tmp_path / "script.toml"))
    with Receiver() as receiver:
        agent = start_agent(
            emulator.base_url,
            trunks={"plain": '["127.0.0.1/32"]'},
            tools={"book": tool},
            SIPUA_LOG__LEVEL="debug",
            SIPUA_LOG__FORMAT="json",
            SIPUA_TRACING__ENDPOINT=receiver.endpoint,
        )
        sipp(agent.sip, "refused", source=STRANGER).wait()
        caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=8000, caller=CALLER)
        until(lambda: phone.target, "the call is up")
        phone.say(read_wav(shipped_speech("question_en.wav")))
        call = agent.closed_call(caller.wait().call_id)
        until(lambda: {"call", "ledger"} <= {each.name for each in receiver.spans}, "the trace has come")
        scrape = figures_of(agent)
        agent.end()
    look_at_figures(scrape)
    look_at_trace(receiver, call, agent)
    look_at_lines(agent.stderr, str(call["id"]))


def figures_of(agent: Agent) -> str:
    with urllib.request.urlopen(f"http://{agent.ready['http']}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def look_at_figures(text: str) -> None:
    """Every family that the documents name is there, and those that this call moved have moved."""
    families = {each.name: each for each in text_string_to_metric_families(text)}
    described = Metrics(node="", worker=0, instance="", version="").described
    assert {each.name.removesuffix("_total") for each in described} - families.keys() == set()

    def total(name: str, **labels: str) -> float:
        family = families[name.removesuffix("_count").removesuffix("_total")]
        return sum(
            each.value
            for each in family.samples
            if each.name == name and labels.items() <= each.labels.items()
        )

    assert total("sipua_calls_total", status="completed", trunk="plain") == 1
    assert total("sipua_call_duration_seconds_count") == 1
    assert total("sipua_turn_latency_seconds_count") == 1
    assert total("sipua_realtime_connect_seconds_count", why="first") == 1
    assert total("sipua_realtime_bytes_total", direction="sent") > 10_000
    assert total("sipua_playout_frames_total", kind="spoken") > 10
    assert total("sipua_rtp_pacer_lateness_seconds_count") > 50
    assert total("sipua_ledger_facts_written_total") > 10
    assert total("sipua_ledger_write_seconds_count") >= 1
    assert total("sipua_ledger_facts_dropped_total") == 0
    assert total("sipua_database_up") == 1
    assert total("sipua_database_connects_total") == 1
    assert total("sipua_call_slots") >= 4
    assert total("sipua_media_ports_in_use") == 0
    assert total("sipua_tool_calls_total", tool="book_taxi", outcome="error") == 1
    assert total("sipua_log_lines_total", level="info") >= 4
    assert total("sipua_event_loop_lag_seconds_count") > 4
    assert total("process_open_fds") > 10


def look_at_trace(receiver: Receiver, call: dict[str, Any], agent: Agent) -> None:
    spans = [each for each in receiver.spans if each.trace_id == call["id"].bytes]
    by_name: dict[str, list[Any]] = {}
    for each in spans:
        by_name.setdefault(each.name, []).append(each)
    assert by_name.keys() >= {"call", "setup", "voice connect", "voice session", "turn", "tool", "ledger"}
    (root,) = by_name["call"]
    assert all(each.parent_span_id == root.span_id for each in spans if each is not root)
    assert attributes_of(root)["sipua.trunk"] == "plain"
    tools = {attributes_of(each)["sipua.tool"]: each for each in by_name["tool"]}
    assert tools.keys() == {"book_taxi", "teleport"}
    assert Broken.parents[-1] == f"00-{call['id'].hex}-{tools['book_taxi'].span_id.hex()}-01"
    row = agent.select("SELECT id FROM mcp_tool_calls WHERE call_id = %s AND tool = 'book_taxi'", call["id"])
    assert tools["book_taxi"].span_id == row[0]["id"].bytes[:8]
    (turn,) = by_name["turn"]
    assert 0 < turn.end_time_unix_nano - turn.start_time_unix_nano < 8e9
    seen = repr(receiver.spans)
    assert not any(each in seen for each in PRIVATE)


PRIVATE = (
    CALLER, CALLER[1:], QUESTION, ANSWER, "How can I help you", "no seat for", SECRET, SECRET[6:], KEY
)  # fmt: skip


def look_at_lines(stderr: str, call: str) -> None:
    lines = [orjson.loads(line) for line in stderr.splitlines()]  # each is an object, whatever it tells
    assert len(lines) >= 6
    for line in lines:
        assert line.keys() >= {"timestamp", "level", "logger", "event", "node", "instance"}, line
        assert "Traceback" not in line["event"]
    for private in PRIVATE:
        assert private not in stderr
    of_call = [line for line in lines if line.get("call") == call]
    assert len(of_call) >= 4
    named = ("call=", "tool book_taxi", "tool teleport", "session sess")
    for line in lines:
        if any(each in line["event"] for each in named):
            assert line.get("call") == call, line
    assert {line["logger"] for line in of_call} >= {
        "sipua.switchboard",
        "sipua.tools.box",
        "sipua.realtime.client",
    }
    (refused,) = [line for line in lines if line["event"].startswith("< INVITE from 127.0.0.9")]
    assert "call" not in refused
