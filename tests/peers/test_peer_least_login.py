"""`sipua serve` and its commands with a login that is a member of sipua_writer and no more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg import conninfo
from twilio.request_validator import RequestValidator

from sipua.web.guard import Role
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.processes import run as run_command
from tests.storage.rows import rows, run
from tests.web.serving import bearer, token

pytestmark = pytest.mark.peer

CALLER, OURS = "+12025550101", "+12025550100"
TRUNKS = {"plain": '["127.0.0.1/32"]\nprovider = "twilio"\ndirection = "inbound"'}
AUTH_TOKEN = "the auth token of the tests"


@pytest.fixture
def login(database: str) -> Iterator[str]:
    """DSN of a member of sipua_writer."""
    name = f"least_{os.getpid()}"
    run(database, f"CREATE ROLE {name} LOGIN IN ROLE sipua_writer")
    yield conninfo.make_conninfo(database, user=name)
    run(database, f"DROP OWNED BY {name}; DROP ROLE {name}")


def secret_file(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def told(http: httpx.Client, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    answer = http.post(f"/openai-realtime{path}", json=body, headers=bearer(Role.INGEST))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_calls_webhooks_reads_and_what_is_forgotten(
    tmp_path: Path, emulator: Emulator, database: str, login: str, sipp: StartSipp
) -> None:
    agent = Agent(
        tmp_path / "agent", login, emulator.base_url, trunks=TRUNKS,
        SIPUA_HTTP__TOKENS_FILE=secret_file(
            tmp_path / "tokens", "".join(f"{token(role).line()}\n" for role in Role)
        ),
        SIPUA_TWILIO__AUTH_TOKEN_FILE=secret_file(tmp_path / "twilio", AUTH_TOKEN),
        SIPUA_TWILIO__SIP_URI="sip:agent@127.0.0.1",
    )  # fmt: skip
    url = f"http://{agent.ready['http']}"
    with httpx.Client(base_url=url, timeout=10) as http:
        form = {"CallSid": "CA11", "CallStatus": "ringing", "From": CALLER, "To": OURS}
        signature = RequestValidator(AUTH_TOKEN).compute_signature(f"{url}/twilio/status", form)
        answer = http.post("/twilio/status", data=form, headers={"X-Twilio-Signature": signature})
        assert answer.status_code == 204
        call = sipp(agent.sip, "call_of_twilio", sid="CA11", duration_ms=500)
        call.wait()
        row = agent.closed_call(call.call_id)
        assert (row["twilio_call_sid"], row["status"]) == ("CA11", "completed")

        id = told(http, "", {"callSid": "CA12", "from": CALLER, "to": OURS})["callId"]
        for event in (
            {"type": "session.created", "event_id": "e1"},
            {"type": "response.output_text.done", "item_id": "i1", "text": "hello"},
        ):
            told(http, "/events", {"callId": id, "event": event})
        assert told(http, "/end", {"callId": id, "duration": 3})["status"] == "completed"

        def read(path: str) -> Any:
            answer = http.get(path, headers=bearer(Role.READ))
            assert answer.status_code == 200, (path, answer.text)
            return answer.json()

        assert len(read("/calls")["calls"]) == 2
        assert [each["content"] for each in read(f"/calls/{id}")["transcripts"]] == ["hello"]
        assert read("/analytics/live-calls")["calls"] == []
        read("/readyz")
        read("/trunks")
    agent.end()
    assert "permission denied" not in agent.stderr
    env = {"DATABASE_URL": login, "SIPUA_STATE_DIR": str(agent.state)}
    done = run_command(["purge", "--caller", CALLER], env=env)
    assert (done.returncode, "all of it is gone" in done.stdout) == (0, True), done.stderr
    left = rows(database, f"SELECT from_e164 FROM voice_calls WHERE from_e164 = '{CALLER}'")
    assert left == []
