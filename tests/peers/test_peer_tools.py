"""Models that call tools in whole calls: what the caller hears, how the call ends and what the ledger says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone

pytestmark = pytest.mark.peer

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
