"""Callers of a closed line: what they hear, the call-back that they ask for, and who is told of it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rtp.wav import read_wav
from sipua.languages import load_languages
from sipua.opening import DAYS
from sipua.resources import shipped_conf
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import similarity, until

pytestmark = pytest.mark.peer

LANGUAGES = load_languages(shipped_conf())
ENGLISH = "+12025550123"
TRUNKS = {"plain": '["127.0.0.1/32"]', "night": '["127.0.0.2/32"]'}
# The model asks for the same twice, then for a transfer to people who are not there.
SCRIPT = """
user_prefix = ""
[greeting]
say = "We are closed."
[[greeting.tool]]
name = "request_callback"
arguments = { department = "support", when = "tomorrow morning", notes = "a lost bag" }
[[greeting.tool]]
name = "request_callback"
arguments = { department = "support", when = "Tomorrow  morning", notes = "A lost bag" }
[[greeting.tool]]
name = "transfer_to_human"
arguments = { department = "support", reason = "a lost bag" }
"""
TELL = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"


def closed(day: datetime) -> str:
    """Lines and people who open in three days; today is a holiday."""
    hours = f'hours = ["{DAYS[(day.weekday() + 3) % 7]} 08:00-17:00"]'
    return f"""
timezone = "UTC"
[holidays]
{day.date() - timedelta(days=1)} = "Heroes' Day"
{day.date()} = "Heroes' Day"
{day.date() + timedelta(days=1)} = "Heroes' Day"
[departments.support]
target = "+250788000001"
{hours}
[lines.day]
{hours}
[lines.night]
trunks = ["night"]
{hours}
closed = "hang_up"
"""


def callbacks(agent: Agent) -> list[dict[str, Any]]:
    return agent.select("SELECT * FROM sipua.callback_requests")


def test_callers_of_a_closed_line(
    start_emulator: Callable[..., Emulator],
    start_agent: Callable[..., Agent],
    sipp: StartSipp,
    phone: Phone,
    tmp_path: Path,
) -> None:
    (tmp_path / "script.toml").write_text(SCRIPT)
    told = tmp_path / "told.json"
    agent = start_agent(
        start_emulator("--script", str(tmp_path / "script.toml")).base_url,
        trunks=TRUNKS,
        departments=closed(datetime.now(UTC)),
        SIPUA_CALLBACKS__NOTIFY_COMMAND=json.dumps([sys.executable, "-c", TELL, str(told)]),
    )
    with Phone(host="127.0.0.2") as night:
        turned_away = sipp(
            agent.sip, "call_until_bye", caller=ENGLISH, source="127.0.0.2", rtp_port=night.port
        )
        helped = sipp(agent.sip, "call", caller=ENGLISH, rtp_port=phone.port, duration_ms=1500)
        call = agent.closed_call(helped.wait().call_id)
        recorded = agent.closed_call(turned_away.wait(15).call_id)
        spoken = read_wav(shipped_conf() / "languages" / "en" / "closed.wav")
        assert similarity(night.audio(), spoken) > 0.9
    assert (recorded["status"], recorded["outcome"]) == ("completed", "closed")
    assert agent.sessions(recorded) == []  # nothing was asked of the service
    said = agent.select("SELECT role, content FROM transcripts WHERE call_id = %s", recorded["id"])
    assert said == [{"role": "system", "content": LANGUAGES.of("en").phrases.closed}]

    (session,) = agent.sessions(call)
    assert "This line is closed today (Heroes' Day), opens on " in session["instructions"]
    assert {"request_callback", "transfer_to_human"} <= {tool["name"] for tool in session["tools"]}
    rows = agent.select("SELECT tool, result FROM mcp_tool_calls WHERE call_id = %s ORDER BY t", call["id"])
    first, again, transfer = (row["result"] for row in rows)
    assert (transfer["status"], transfer["holiday"]) == ("closed", "Heroes' Day")
    assert "request_callback" in transfer["next"]
    assert first["reference"] == again["reference"]
    (row,) = until(lambda: [each for each in callbacks(agent) if each["notified_at"]], "somebody is told")
    assert (row["reference"], row["number"], row["department"], row["wanted_at"], row["call_id"]) == (
        first["reference"], ENGLISH, "support", "tomorrow morning", call["id"],
    )  # fmt: skip
    assert json.loads(told.read_text())["data"]["reference"] == first["reference"]

    (tmp_path / "agent0" / "conf" / "departments.toml").unlink()  # open, and nobody to transfer to
    agent.signal(signal.SIGHUP)
    until(lambda: "languages and instructions read again" in agent.stderr, "the files are read")
    caller = sipp(agent.sip, "call", source="127.0.0.2", rtp_ip="127.0.0.2", duration_ms=300)
    (session,) = agent.sessions(agent.closed_call(caller.wait().call_id))
    assert "closed today" not in session["instructions"]
    assert not {"request_callback", "transfer_to_human"} & {tool["name"] for tool in session["tools"]}
