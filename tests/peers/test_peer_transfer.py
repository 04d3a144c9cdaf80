"""Callers who are transferred by REFER: what their line does, how the call ends, what the ledger says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sipua.languages import load_languages
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.postgres import create_database, drop_database

pytestmark = pytest.mark.peer

SCRIPT = """
user_prefix = ""
[greeting]
say = "One moment, I am connecting you."
[[greeting.tool]]
name = "transfer_to_human"
arguments = { department = "support", reason = "a complaint" }
"""
DEPARTMENTS = """
[departments.support]
about = "complaints"
target = "+250788000001"
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, template: str) -> Iterator[Agent]:
    """An agent that transfers every caller at once."""
    folder = tmp_path_factory.mktemp("transfer")
    script = folder / "script.toml"
    script.write_text(SCRIPT)
    with ExitStack() as stack:
        dsn = create_database(postgres_server, template)
        stack.callback(drop_database, postgres_server, dsn)
        emulator = Emulator(folder / "emulator.log", "--script", str(script))
        stack.callback(emulator.end)
        trunks = {"plain": '["127.0.0.1/32"]\nrtp_timeout_s = 60'}
        agent = Agent(folder / "agent", dsn, emulator.base_url, trunks=trunks, departments=DEPARTMENTS)
        stack.callback(agent.end)
        yield agent


def tool(desk: Agent, call: dict[str, Any]) -> dict[str, Any]:
    (row,) = desk.select("SELECT * FROM mcp_tool_calls WHERE call_id = %s", call["id"])
    return row


def test_a_caller_who_reaches_the_person_leaves_us(desk: Agent, sipp: StartSipp, phone: Phone) -> None:
    caller = sipp(desk.sip, "call_referred", rtp_port=phone.port).wait()
    call = desk.closed_call(caller.call_id)
    assert (call["handoff"], call["handoff_target"], call["outcome"]) == (True, "support", "transferred")
    assert call["metadata"]["transfer"] == {"department": "support", "state": "done", "code": 200}
    assert desk.events(call).count("openai_response_created") == 1  # nothing is said to who has left
    row = tool(desk, call)
    assert (row["success"], row["result"]["status"]) == (True, "connected")


FAILURES = {
    "call_refers_not": ("refused", 603, "does not allow transfers"),
    "call_referred_busy": ("not_reached", 486, "the line is busy"),
    "call_referred_silently": ("never_notified", 202, "nobody told how"),
}


def test_a_transfer_that_fails_brings_the_caller_back(desk: Agent, sipp: StartSipp, phone: Phone) -> None:
    """All at once: who is never notified of anything waits for 15 s."""
    phrases = load_languages(Path("conf")).of("rw").phrases
    callers = {
        scenario: sipp(
            desk.sip,
            scenario,
            rtp_port=phone.port,
            duration_ms=17_000 if scenario == "call_referred_silently" else 1500,
            timeout_s=50,
            code=603,
        )
        for scenario in FAILURES
    }
    for scenario, (cause, code, told) in FAILURES.items():
        call = desk.closed_call(callers[scenario].wait(50).call_id)
        assert (call["handoff"], call["handoff_target"]) == (False, None)
        assert call["outcome"] == "caller_hangup"
        state = {"department": "support", "state": "failed", "code": code, "cause": cause}
        assert call["metadata"]["transfer"] == state
        row = tool(desk, call)
        assert row["success"] is False
        assert told in row["error"]
        query = "SELECT content FROM transcripts WHERE call_id = %s AND role = 'system' ORDER BY sequence"
        said = [each["content"] for each in desk.select(query, call["id"])]
        assert said == [phrases.transferring, phrases.transfer_failed]
