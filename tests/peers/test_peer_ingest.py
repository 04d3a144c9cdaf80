"""The routes of the former function and a SIP call of the same CallSid, against the running agent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from sipua.web.guard import Role
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.processes import until
from tests.postgres import create_database, drop_database
from tests.web.serving import bearer, token

pytestmark = pytest.mark.peer

CALLER, OURS = "+12025550101", "+12025550100"
PATH = "/openai-realtime"
TRUNKS = {"plain": '["127.0.0.1/32"]\nprovider = "twilio"\ndirection = "inbound"'}


@pytest.fixture(scope="module")
def told(session_folder: Path, emulator: Emulator, postgres_server: str, template: str) -> Iterator[Agent]:
    """An agent whose trunk is Twilio's, with a token for each role and the former function's prefix."""
    folder = session_folder / "told"
    folder.mkdir()
    tokens = folder / "tokens"
    tokens.write_text("".join(f"{token(role).line()}\n" for role in Role))
    tokens.chmod(0o600)
    dsn = create_database(postgres_server, template)
    process = Agent(
        folder / "agent", dsn, emulator.base_url, trunks=TRUNKS, SIPUA_HTTP__TOKENS_FILE=str(tokens),
        SIPUA_HTTP__PATH_PREFIX="/functions/v1",
    )  # fmt: skip
    yield process
    process.end()
    drop_database(postgres_server, dsn)


@pytest.fixture
def http(told: Agent) -> Iterator[httpx.Client]:
    base = f"http://{told.ready['http']}/functions/v1"
    with httpx.Client(base_url=base, headers=bearer(Role.INGEST), timeout=10) as client:
        yield client


def begin(http: httpx.Client, sid: str) -> dict[str, Any]:
    answer = http.post(PATH, json={"callSid": sid, "from": CALLER, "to": OURS, "locale": "fr"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def event(http: httpx.Client, call: str, type: str, **more: Any) -> int:
    answer = http.post(f"{PATH}/events", json={"callId": call, "event": {"type": type, **more}})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["recorded"])


def test_a_call_from_its_beginning_to_its_end(told: Agent, http: httpx.Client) -> None:
    opened = begin(http, "CA01")
    assert opened["ephemeralKey"].startswith("ek_")
    assert begin(http, "CA01") == opened
    call = opened["callId"]
    assert event(http, call, "session.created", event_id="e1", session={"id": "sess_1", "model": "m"}) == 3
    assert event(http, call, "response.output_audio.delta", event_id="e2", item_id="i2", delta="AAAA") == 1
    for _ in range(2):
        event(
            http,
            call,
            "response.output_audio_transcript.done",
            event_id="e3",
            item_id="i2",
            transcript="Bonjour",
        )
    tool = {"type": "function_call", "status": "completed", "call_id": "c1", "name": "search"}
    event(http, call, "response.output_item.done", event_id="e4", item={**tool, "arguments": '{"a": 1}'})
    result = {"type": "function_call_output", "call_id": "c1", "output": '{"error": "nothing"}'}
    event(http, call, "conversation.item.create", item=result)
    assert (
        http.post(f"{PATH}/events", json={"callId": str(UUID(int=7)), "event": {"type": "error"}}).status_code
        == 404
    )
    ended = http.post(f"{PATH}/end", json={"callId": call, "duration": 12}).json()
    assert (ended["status"], ended["durationSeconds"]) == ("completed", 12)
    assert http.post(f"{PATH}/end", json={"callId": call, "duration": 99}).json() == ended
    assert http.post(PATH, json={"callSid": "CA01", "from": CALLER, "to": OURS}).status_code == 409
    [row] = told.select("SELECT * FROM voice_calls WHERE twilio_call_sid = 'CA01'")
    assert (str(row["id"]), row["status"], row["duration_seconds"], row["locale"]) == (
        call,
        "completed",
        12,
        "fr",
    )
    assert (row["from_e164"], row["first_time_to_assistant_seconds"] is not None) == (CALLER, True)
    assert sorted(told.events(row)) == [
        "answered", "call_ended", "call_started", "openai_session_created", "tool_call", "transcript_segment",
    ]  # fmt: skip
    [tool_row] = told.select("SELECT * FROM mcp_tool_calls WHERE call_id = %s", call)
    assert (tool_row["args"], tool_row["success"], tool_row["error"]) == ({"a": 1}, False, "nothing")
    [session] = told.sessions(row)
    assert (str(session["id"]), session["status"]) == (opened["sessionId"], "completed")
    assert "ek_" not in json.dumps(told.select("SELECT * FROM openai_sessions"), default=str) + told.stderr
    assert CALLER not in told.stderr


@pytest.mark.parametrize("is_sip_first", [False, True], ids=["http first", "sip first"])
def test_a_sip_call_of_the_same_call_sid_is_the_same_call(
    told: Agent, http: httpx.Client, sipp: StartSipp, is_sip_first: bool
) -> None:
    sid = f"CA02{is_sip_first}"
    opened = {} if is_sip_first else begin(http, sid)
    call = sipp(told.sip, "call_of_twilio", sid=sid, duration_ms=2500)
    until(
        lambda: told.select(
            "SELECT 1 FROM voice_calls WHERE status = 'in_progress' AND sip_session_id <> ''"
        ),
        "talk",
    )
    opened = begin(http, sid)
    assert (
        event(http, opened["callId"], "response.output_audio_transcript.done", item_id="x", transcript="Told")
        > 0
    )
    call.wait()
    [row] = told.closed_calls(call.call_id)
    assert (row["twilio_call_sid"], row["status"], row["outcome"]) == (sid, "completed", "caller_hangup")
    assert "twilio_call_sid_repeated" not in row["metadata"]
    assert (
        len(
            told.select(
                "SELECT 1 FROM voice_calls WHERE twilio_call_sid = %s OR metadata::text LIKE %s",
                sid,
                f"%{sid}%",
            )
        )
        == 1
    )
    spoken = {
        each["content"] for each in told.select("SELECT * FROM transcripts WHERE call_id = %s", row["id"])
    }
    assert "Told" in spoken
    assert len(spoken) > 1
    ended = http.post(f"{PATH}/end", json={"callId": opened["callId"]}).json()
    assert (ended["status"], ended["callId"]) == ("completed", opened["callId"])


def test_the_end_hangs_up_the_leg(told: Agent, http: httpx.Client, sipp: StartSipp) -> None:
    call = sipp(told.sip, "call_until_bye_of_twilio", sid="CA03", duration_ms=20_000)
    until(
        lambda: told.select(
            "SELECT 1 FROM voice_calls WHERE status = 'in_progress' AND twilio_call_sid = 'CA03'"
        ),
        "talk",
    )
    opened = begin(http, "CA03")
    ended = http.post(f"{PATH}/end", json={"callId": opened["callId"]}).json()
    assert ended["endedAt"] is None
    call.wait()
    [row] = told.closed_calls(call.call_id)
    assert row["status"] == "completed"


def test_a_row_of_the_former_function_is_taken_over(told: Agent, http: httpx.Client, sipp: StartSipp) -> None:
    [theirs] = told.select(
        "INSERT INTO voice_calls (direction, from_e164, twilio_call_sid, started_at) "
        "VALUES ('inbound', %s, 'CA04', now()) RETURNING id", CALLER,
    )  # fmt: skip
    call = sipp(told.sip, "call_of_twilio", sid="CA04", duration_ms=500)
    call.wait()
    row = told.closed_call(call.call_id)
    assert row["id"] == theirs["id"]
    assert row["trunk"] == "plain"


def test_health_says_what_is(http: httpx.Client) -> None:
    answer = http.get(f"{PATH}/health")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["features"] == {"twilio_sip": "active", "mtn_sip": "off", "openai_realtime": "active"}
    assert body["status"] == "healthy"


def test_another_role_may_not(told: Agent, http: httpx.Client) -> None:
    for headers in (bearer(Role.OPERATE), bearer(Role.READ)):
        assert http.get(f"{PATH}/health", headers=headers).status_code == 403
    assert http.get(f"{PATH}/health", headers={"Authorization": "Bearer sipua_wrong"}).status_code == 401
