"""Calls at OpenAI when the database is away, a process dies, or another has the webhook already; consent; one row."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
from psycopg import conninfo

from tests.openai_calls.house import CALLER, OUR_LINE, a_house, rows
from tests.openai_calls.test_openai_webhook import SID, event
from tests.openai_calls.test_signed_webhook import headers_of
from tests.openai_calls.test_whole_calls import SCRIPT

FROM, TO = f"<sip:{CALLER}@carrier.example.org>", f"<sip:{OUR_LINE}@sip.api.openai.com>"


async def test_a_webhook_that_another_process_had_is_a_duplicate(tmp_path: Path, database: str) -> None:
    """Or this one, before it was started again."""
    (tmp_path / "second").mkdir()
    async with a_house(tmp_path, database, script=SCRIPT) as house:
        call = await house.dial()
        await house.said("Hello.")
        await house.drive(call, "hangup")
        await house.ended()
        async with a_house(tmp_path / "second", database, worker=1) as another, httpx.AsyncClient() as client:
            body = event(("From", FROM), ("To", TO), call_id=call["call_id"])
            headers = headers_of(body, id=call["webhook_id"], at=time.time())
            answer = await client.post(another.url, content=body, headers=headers)
            assert answer.json() == {"status": "duplicate"}
            headers = headers_of(body, id="wh_other", at=time.time())
            answer = await client.post(another.url, content=body, headers=headers)
            assert answer.json() == {"status": "accepted"}  # of a call that has ended: it is gone
            await another.until("SELECT 1 FROM voice_events WHERE type = 'webhook'", 2)
            async with asyncio.timeout(15):
                await another.idle()
    (row,) = rows(database, "SELECT * FROM voice_calls")
    assert (row["status"], row["outcome"]) == ("completed", "caller_hangup")  # the first end counts


async def test_the_database_is_away_during_a_call(tmp_path: Path, database: str) -> None:
    """It is refused every connection from before the webhook until the caller has hung up."""
    name = conninfo.conninfo_to_dict(database)["dbname"]
    server = conninfo.make_conninfo(database, dbname="postgres")

    def let_in(allowed: str) -> None:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allowed}'.encode())
            ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            connection.execute(ends, (name,))

    async with a_house(tmp_path, database, script=SCRIPT) as house:
        let_in("false")
        call = await house.dial(deliveries=2)
        assert call["answers"] == [200, 200]
        await house.joined(call, 1)
        await house.drive(call, "hangup")
        async with asyncio.timeout(15):
            await house.idle()
        let_in("true")
        (row,) = await house.ended()
    assert (row["status"], row["outcome"], row["openai_call_id"]) == (
        "completed",
        "caller_hangup",
        call["call_id"],
    )
    (webhook,) = rows(database, "SELECT * FROM sipua.webhooks")
    assert (webhook["id"], webhook["outcome"]) == (call["webhook_id"], "accepted")
    assert len(rows(database, "SELECT 1 FROM voice_events WHERE type = 'webhook'")) == 1


async def test_a_call_that_twilio_told_of_before_is_the_same_row(tmp_path: Path, database: str) -> None:
    first = uuid4()
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO voice_calls (id, direction, twilio_call_sid, provider) VALUES (%s, 'inbound', %s, 'twilio')",
            (first, SID),
        )
    async with a_house(tmp_path, database, script=SCRIPT) as house:
        call = await house.dial(headers={"From": FROM, "To": TO, "X-Twilio-CallSid": SID})
        await house.said("Hello.")
        await house.drive(call, "hangup")
        (row,) = await house.ended()
    assert (row["id"], row["openai_call_id"], row["outcome"]) == (first, call["call_id"], "caller_hangup")
    assert len(rows(database, "SELECT 1 FROM voice_calls")) == 1


CONSENT = """
user_prefix = ""
[greeting]
say = "May we keep what is said?"
audio = "greeting_en.wav"
[[turn]]
user = "Yes."
[[turn.tool]]
name = "record_consent"
arguments = { agreed = true, words = "yes" }
say = "Thank you."
audio = "booked_en.wav"
"""


async def test_what_is_said_before_a_yes_is_not_kept(tmp_path: Path, database: str) -> None:
    sections = {"consent": {"transcripts": "with_consent"}}
    async with a_house(tmp_path, database, script=CONSENT, sections=sections) as house:
        call = await house.dial()
        await house.until("SELECT 1 FROM voice_events WHERE type = 'openai_response_done'")
        await house.drive(call, "say")
        await house.said("Thank you.")
        await house.drive(call, "hangup")
        (row,) = await house.ended()
    assert (row["consent_obtained"], row["consent_channel"]) == (True, "voice")
    (answer,) = rows(database, "SELECT * FROM call_consents")
    assert (answer["consent_result"], answer["audio_url"]) == (True, None)
    assert "May we" not in str(rows(database, "SELECT content FROM transcripts"))
