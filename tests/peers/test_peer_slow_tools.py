"""Tools that take longer than their session lives, or for ever, in whole calls: the caller is told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tests.peers.agent import Agent
from tests.peers.conftest import StartSipp
from tests.peers.hand_service import HandService, Talk
from tests.peers.phone import Phone
from tests.postgres import create_database, drop_database

pytestmark = pytest.mark.peer

CUT_OFF, PATIENT = "+12025550101", "+12025550102"
QUIET = np.zeros(1600, np.int16)
TAKES_S = 2.0
TOOL = """kind = "http"
name = "{name}"
description = "Books."
secret_file = "{secret}"
url = "http://127.0.0.1:{port}/{name}"
timeout_s = {timeout_s}
"""


async def cut_off(talk: Talk) -> None:
    """The session is lost while the tool runs; the next one reads out what it has brought."""
    if talk.number == 1:
        await talk.call("slow", 1)
        talk.ws.transport.abort()
        return
    (output,) = [each for each in talk.items() if each["type"] == "function_call_output"]
    await talk.say("r2", "a2", QUIET, output["output"])


async def patient(talk: Talk) -> None:
    told = await talk.use(1, "never", {})
    await talk.say("r1", "a1", QUIET, f"I am sorry: {told['error']}")


class Service(BaseHTTPRequestHandler):
    """Of the operator's: one answer comes late, the other never."""

    ended = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.ended.wait(TAKES_S if self.path == "/slow" else None)
        body = b'{"reference": "R7"}'
        with contextlib.suppress(OSError):  # nobody waits any more
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """Nothing."""


@pytest.fixture
def bookings() -> Iterator[int]:
    """Its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        Service.ended.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def service() -> Iterator[HandService]:
    with HandService({CUT_OFF: cut_off, PATIENT: patient}) as running:
        yield running


@pytest.fixture
def agent_with_tools(
    service: HandService, bookings: int, tmp_path: Path, postgres_server: str, template: str
) -> Iterator[Agent]:
    secret = tmp_path / "secret"
    secret.write_text("of the tests")
    tools = {
        name: TOOL.format(name=name, secret=secret, port=bookings, timeout_s=timeout_s)
        for name, timeout_s in (("slow", 10), ("never", 1))
    }
    dsn = create_database(postgres_server, template)
    agent = Agent(
        tmp_path / "agent", dsn, service.base_url, trunks={"plain": '["127.0.0.1/32"]'}, tools=tools,
        SIPUA_REALTIME__INSTRUCTIONS="You talk with {{caller}}.",
    )  # fmt: skip
    yield agent
    agent.end()
    drop_database(postgres_server, dsn)


def test_a_tool_that_outlives_its_session_and_one_that_never_returns(
    agent_with_tools: Agent, service: HandService, sipp: StartSipp
) -> None:
    agent = agent_with_tools
    with ExitStack() as stack:
        callers = {
            number: sipp(
                agent.sip, "call", caller=number, rtp_port=stack.enter_context(Phone()).port, duration_ms=4500
            )
            for number in (CUT_OFF, PATIENT)
        }
        calls = {number: agent.closed_call(caller.wait().call_id) for number, caller in callers.items()}
    told, rows = {}, {}
    for number, call in calls.items():
        assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
        assert service.talks[number].faults == []
        said = agent.select("SELECT content FROM transcripts WHERE call_id = %s ORDER BY t", call["id"])
        told[number] = [row["content"] for row in said]
        (rows[number],) = agent.select("SELECT * FROM mcp_tool_calls WHERE call_id = %s", call["id"])
    assert [json.loads(words) for words in told[CUT_OFF]] == [{"reference": "R7"}]
    assert (rows[CUT_OFF]["success"], rows[CUT_OFF]["result"]) == (True, {"reference": "R7"})
    query = "SELECT metadata, status FROM openai_sessions WHERE call_id = %s ORDER BY started_at"
    sessions = agent.select(query, calls[CUT_OFF]["id"])
    assert [(row["metadata"]["opened_for"], row["status"]) for row in sessions] == [
        ("first", "failed"), ("reconnect", "completed"),
    ]  # fmt: skip
    assert told[PATIENT] == [f"I am sorry: {rows[PATIENT]['error']}"]
    assert (rows[PATIENT]["success"], rows[PATIENT]["result"]) == (False, None)
