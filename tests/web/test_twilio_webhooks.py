"""Twilio's webhooks over real HTTP, signed by its own package, on a real database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4
from xml.etree import ElementTree

import httpx
import pytest
from pydantic import SecretStr
from starlette.datastructures import MultiDict
from twilio.request_validator import RequestValidator

from sipua.clock import SystemClock
from sipua.twilio_settings import TwilioSettings
from sipua.web.twilio import twilio_router
from storage.writer import LedgerWriter
from tests.storage.rows import rows, run
from tests.web.serving import serving

TOKEN = "12345678901234567890123456789012"
PUBLIC = "https://voice.example.com/behind"
SETTINGS = TwilioSettings(auth_token_file="token", sip_uri="sip:agent@192.0.2.1")
SID, LEG = "CA" + "1" * 32, "CA" + "2" * 32
CALL = {
    "CallSid": SID,
    "From": "+12025550101",
    "To": "+12025550100",
    "Direction": "inbound",
    "CallStatus": "ringing",
}
OF_LEG = {"CallSid": LEG, "ParentCallSid": SID, "Direction": "outbound-dial", "From": "+12025550101"}


@asynccontextmanager
async def webhooks(
    dsn: str, public_url: str = PUBLIC
) -> AsyncIterator[tuple[httpx.AsyncClient, LedgerWriter]]:
    writer = LedgerWriter(dsn, batch_ms=1)
    router = twilio_router(
        SETTINGS, SecretStr(TOKEN), public_url, lambda *facts: writer.put(facts), SystemClock()
    )
    async with serving([], prefixed=[router], path_prefix="/functions/v1") as client:
        yield client, writer
    assert await writer.close(5)


async def send(
    client: httpx.AsyncClient,
    path: str,
    fields: list[tuple[str, str]],
    *,
    public: str = PUBLIC,
    token: str = TOKEN,
) -> httpx.Response:
    signature = RequestValidator(token).compute_signature(public + path, MultiDict(fields))
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    return await client.post(path, content=urlencode(fields), headers=headers)


@pytest.mark.parametrize("prefix", ["", "/functions/v1"])
async def test_a_call_is_sent_to_us_and_has_its_row(database: str, prefix: str) -> None:
    async with webhooks(database) as (client, _):
        fields = [*CALL.items(), ("Duplicate", "b"), ("Duplicate", "a"), ("Empty", "")]
        answer = await send(client, f"{prefix}/twilio/voice?x=1", fields)
        assert answer.status_code == 200, answer.text
        dialled = ElementTree.fromstring(answer.text).find("Dial")
        assert dialled is not None
        assert dialled.get("action") == f"{PUBLIC}{prefix}/twilio/voice"
        assert dialled.findtext("Sip") == f"sip:agent@192.0.2.1?X-Parent-CallSid={SID}"
        over = await send(
            client, f"{prefix}/twilio/voice", [("CallSid", SID), ("DialCallStatus", "no-answer")]
        )
        assert [each.tag for each in ElementTree.fromstring(over.text)] == ["Say", "Hangup"]
        over = await send(
            client, f"{prefix}/twilio/voice", [("CallSid", SID), ("DialCallStatus", "completed")]
        )
        assert [each.tag for each in ElementTree.fromstring(over.text)] == ["Hangup"]
    [row] = rows(database, "SELECT * FROM voice_calls")
    assert (row["twilio_call_sid"], row["from_e164"], row["status"]) == (SID, "+12025550101", "initiated")


async def test_what_is_forged_is_refused_and_changes_nothing(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, fields = "/twilio/status", [*CALL.items()]
    async with webhooks(database) as (client, _):
        assert (await send(client, path, fields, token="another")).status_code == 403
        assert (await send(client, path, fields, public="https://another.example.com")).status_code == 403
        assert (await client.post(path, data=dict(fields))).status_code == 403
        signature = RequestValidator(TOKEN).compute_signature(PUBLIC + path, dict(fields))
        more = {**dict(fields), "CallStatus": "completed"}
        assert (
            await client.post(path, data=more, headers={"X-Twilio-Signature": signature})
        ).status_code == 403
        assert (
            await client.post(path, json=more, headers={"X-Twilio-Signature": signature})
        ).status_code == 403
        assert (await send(client, path, [("CallSid", SID), ("CallStatus", "no")])).status_code == 422
        assert (await send(client, path, [("x", str(n)) for n in range(300)])).status_code == 422
        assert (await send(client, path, [("x", "y" * 40_000)])).status_code == 413
    assert rows(database, "SELECT 1 FROM voice_calls") == []
    assert "+1202" not in caplog.text
    assert caplog.text.count("has not signed") == 1, "a stranger fills no log"


async def test_without_a_public_url_the_address_asked_counts(database: str) -> None:
    async with webhooks(database, "") as (client, _):
        base = str(client.base_url).rstrip("/")
        assert (await send(client, "/twilio/status", [*CALL.items()], public=base)).status_code == 204


STORY: list[dict[str, Any]] = [
    {**CALL, "CallStatus": "ringing", "SequenceNumber": "0"},
    {**OF_LEG, "CallStatus": "initiated", "SequenceNumber": "0"},
    {**OF_LEG, "CallStatus": "ringing", "SequenceNumber": "1"},
    {**OF_LEG, "CallStatus": "in-progress", "SequenceNumber": "2"},
    {**CALL, "CallStatus": "completed", "SequenceNumber": "1", "CallDuration": "42"},
]


@pytest.mark.parametrize("seed", range(3))
async def test_statuses_in_any_order_and_replayed_end_as_one(database: str, seed: int) -> None:
    story = STORY * 2
    random.Random(seed).shuffle(story)
    async with webhooks(database) as (client, writer):
        await send(client, "/twilio/voice", [*CALL.items()])
        answers = await asyncio.gather(*(send(client, "/twilio/status", [*each.items()]) for each in story))
        assert {answer.status_code for answer in answers} == {204}
        assert await writer.flush(5)
    [row] = rows(database, "SELECT * FROM voice_calls")
    assert (row["status"], row["duration_seconds"], row["outcome"]) == ("completed", 42, "twilio_completed")
    assert len(rows(database, "SELECT 1 FROM voice_events WHERE type = 'webhook'")) == len(STORY)
    assert len(rows(database, "SELECT 1 FROM voice_events WHERE type = 'call_ended'")) == 1


async def test_a_call_whose_leg_is_ours_is_ended_by_that_leg(database: str) -> None:
    leg = uuid4()
    run(database, "INSERT INTO voice_calls (id, direction, twilio_call_sid, status, metadata) VALUES "
                  f"('{leg}', 'inbound', '{SID}', 'in_progress', '{{\"instance\": \"x\"}}')")  # fmt: skip
    async with webhooks(database) as (client, _):
        for each in STORY:
            await send(client, "/twilio/status", [*each.items()])
    [row] = rows(database, "SELECT * FROM voice_calls")
    assert (row["id"], row["status"], row["ended_at"]) == (leg, "in_progress", None)
