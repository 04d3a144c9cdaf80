"""Calls that come in at OpenAI: `sipua serve` is killed amid one, and ends in order amid another."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.peers.agent import Agent, Emulator
from tests.peers.processes import until
from tests.ports import free_port

pytestmark = pytest.mark.peer

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
TRUNKS = {"plain": '["127.0.0.1/32"]'}


def test_a_killed_process_and_one_that_ends(tmp_path: Path, database: str) -> None:
    secret, port = tmp_path / "secret", free_port()
    secret.write_text(SECRET)
    hook = f"http://127.0.0.1:{port}/webhooks/openai"
    emulator = Emulator(
        tmp_path / "emulator.log", "--speed", "20", "--webhook", hook, "--webhook-secret", str(secret)
    )

    def agent(name: str) -> Agent:
        return Agent(
            tmp_path / name, database, emulator.base_url, trunks=TRUNKS, SIPUA_HTTP__PORT=str(port),
            SIPUA_OPENAI_WEBHOOK__SECRET_FILE=str(secret), SIPUA_OPENAI_WEBHOOK__INCOMING="accept",
        )  # fmt: skip

    root = emulator.base_url.removesuffix("/v1")
    with httpx.Client(base_url=root, timeout=15) as client:

        def dialled(agent: Agent) -> str:
            """A call in which the agent has greeted."""
            before = len(agent.select("SELECT 1 FROM transcripts"))
            call = client.post("/emulator/calls", json={"from": "+250788000123"}).json()
            assert call["answers"] == [200]
            until(lambda: len(agent.select("SELECT 1 FROM transcripts")) > before, "a greeting in the ledger")
            return str(call["call_id"])

        def row(agent: Agent, call_id: str) -> dict[str, Any]:
            query = "SELECT * FROM voice_calls WHERE openai_call_id = %s AND ended_at IS NOT NULL"
            found: list[dict[str, Any]] = until(lambda: agent.select(query, call_id), f"{call_id} closed")
            return found[0]

        first = agent("first")
        lost = dialled(first)
        first.kill()
        second = agent("second")
        closed = row(second, lost)
        assert (closed["status"], closed["outcome"]) == ("failed", "process_lost")
        until(lambda: client.get(f"/emulator/calls/{lost}").json()["state"] == "over", "it costs no more")
        ended = dialled(second)
        second.end()
        closed = row(second, ended)
        assert (closed["status"], closed["outcome"]) == ("completed", "agent_shutdown")
        assert client.get(f"/emulator/calls/{ended}").json()["state"] == "over"
        sessions = second.select("SELECT status, ended_at FROM openai_sessions ORDER BY started_at")
        assert [each["status"] for each in sessions] == ["failed", "completed"]
        assert None not in [each["ended_at"] for each in sessions]
    emulator.end()
