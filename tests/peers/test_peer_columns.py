"""Whole calls that fill every column which docs/columns.md says is written, and none that it says stays NULL."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from rtp.wav import WavWriter
from sipua.feed import Feed
from sipua.ledger import Ledger
from sipua.ports import CallOpening, Moment
from tests.columns import columns_of
from tests.peers.agent import Agent, write_conf
from tests.peers.conftest import StartSipp
from tests.peers.hand_service import HandService, Talk
from tests.peers.phone import Phone
from tests.peers.processes import until
from tests.postgres import create_database, drop_database
from tests.storage.rows import EIGHT

pytestmark = pytest.mark.peer

CUSTOMER, COMPLAINER = "+12025550123", "+12025550124"
QUIET = np.zeros(800, np.int16)
RIDE = {"vehicle_type": "moto", "pickup_location": "Remera", "dropoff_location": "Airport"}
DEPARTMENTS = '[departments.support]\nabout = "complaints"\ntarget = "+250788000001"\n'
SECRET = "of-the-app"


async def use(talk: Talk, number: int, name: str, arguments: Any) -> None:
    """As Talk.use does it; notes of the agent's come between."""
    await talk.call(name, number, json.dumps(arguments))
    while True:
        item = (await talk.until("conversation.item.create"))["item"]
        await talk.send("conversation.item.added", previous_item_id=None, item=item)
        if item["type"] == "function_call_output":
            break
    await talk.until("response.create")


async def customer(talk: Talk) -> None:
    """Says nothing at first, then agrees, orders, leaves a number and a name, and gets it in writing."""
    await use(talk, 1, "record_consent", {"agreed": True, "words": "Yes"})
    await talk.send("input_audio_buffer.committed", item_id="u1", previous_item_id=None)
    await talk.item("u1", "user")
    await talk.heard("u1", "A moto, please.", logprobs=[{"token": "a", "logprob": -0.1, "bytes": [97]}])
    await use(talk, 2, "book_transport", RIDE)
    await use(talk, 3, "request_callback", {"department": "support", "name": "Ann", "notes": "A lost bag."})
    await use(talk, 4, "remember", {"topic": "vehicle", "value": "moto", "agreed": True})
    await use(talk, 5, "send_whatsapp", {"message": "It is booked."})
    await use(talk, 6, "book_transport", {"vehicle_type": "rocket"})
    await talk.say("r1", "a1", QUIET, "It is booked.")
    await use(talk, 7, "wrap_up", {"intent": "a ride", "outcome": "booked", "note": "Be quick."})


async def complainer(talk: Talk) -> None:
    await talk.call("transfer_to_human", 1, json.dumps({"department": "support", "reason": "angry"}))


class CloudApi(BaseHTTPRequestHandler):
    """WhatsApp, as far as it takes a message."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"messages": [{"id": "wamid.1"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, template: str) -> Iterator[Agent]:
    folder = tmp_path_factory.mktemp("columns")
    for name, text in (("token", "t"), ("secret", SECRET), ("verify", "v")):
        (folder / name).write_text(text)
    with ExitStack() as stack:
        dsn = create_database(postgres_server, template)
        stack.callback(drop_database, postgres_server, dsn)
        service = stack.enter_context(HandService({CUSTOMER: customer, COMPLAINER: complainer}))
        api = ThreadingHTTPServer(("127.0.0.1", 0), CloudApi)
        threading.Thread(target=api.serve_forever, daemon=True).start()
        stack.callback(api.server_close)
        stack.callback(api.shutdown)
        conf = write_conf(
            folder / "conf",
            {"twilio": '["127.0.0.1/32"]', "mtn": '["127.0.0.2/32"]'},
            departments=DEPARTMENTS,
        )
        for trunk in ("twilio", "mtn"):
            file = conf / "trunks" / f"{trunk}.toml"
            file.write_text(file.read_text().replace('provider = "loopback"', f'provider = "{trunk}"'))
        (conf / "languages" / "en").mkdir(parents=True)
        for phrase in ("consent_question", "consent_yes", "consent_no", "transferring"):
            with WavWriter(conf / "languages" / "en" / f"{phrase}.wav", 8000) as sound:
                sound.write(np.round(4000 * np.sin(np.arange(800) / 3)).astype(np.int16))
        agent = Agent(
            folder / "agent",
            dsn,
            service.base_url,
            trunks={},
            SIPUA_CONF=str(conf),
            SIPUA_LEDGER__PROJECT_ID="kigali",
            SIPUA_REALTIME__INSTRUCTIONS="You talk with {{caller}}.",
            SIPUA_RECORDING__ENABLED="true",
            SIPUA_RECORDING__MIN_FREE_MB="0",
            SIPUA_CONSENT__ANSWER_S="2",  # who says nothing is asked twice
            SIPUA_WHATSAPP__PHONE_NUMBER_ID="1",
            SIPUA_WHATSAPP__TEMPLATE="hello",
            SIPUA_WHATSAPP__TOKEN_FILE=str(folder / "token"),
            SIPUA_WHATSAPP__APP_SECRET_FILE=str(folder / "secret"),
            SIPUA_WHATSAPP__VERIFY_TOKEN_FILE=str(folder / "verify"),
            SIPUA_WHATSAPP__BASE_URL=f"http://127.0.0.1:{api.server_port}/v1",
        )
        stack.callback(agent.end)
        yield agent


def whatsapp_tells(agent: Agent, status: dict[str, Any]) -> None:
    """The webhook, signed."""
    value = {"metadata": {"phone_number_id": "1"}, "statuses": [status]}
    body = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    request = urllib.request.Request(
        f"http://{agent.ready['http']}/whatsapp", body, {"X-Hub-Signature-256": f"sha256={signature}"}
    )
    urllib.request.urlopen(request, timeout=5).close()


def test_every_column_is_written_that_is_said_to_be(agent: Agent, sipp: StartSipp) -> None:
    with Phone() as phone, Phone() as other:
        first = sipp(
            agent.sip,
            "call",
            rtp_port=phone.port,
            caller=CUSTOMER,
            duration_ms=6800,
            flags=("-s", "+250788000777"),
        )
        second = sipp(
            agent.sip,
            "call_referred",
            rtp_port=other.port,
            caller=COMPLAINER,
            source="127.0.0.2",
            rtp_ip="127.0.0.1",
        )
        referred = agent.closed_call(second.wait().call_id)
        call = agent.closed_call(first.wait().call_id)
    whatsapp_tells(
        agent,
        {"id": "wamid.1", "status": "delivered", "timestamp": "1767323045", "conversation": {"id": "conv1"}},
    )
    until(lambda: agent.select("SELECT 1 FROM wa_threads WHERE wa_conversation_id = 'conv1'"), "the thread")
    until(lambda: agent.select("SELECT 1 FROM call_consents WHERE audio_url IS NOT NULL"), "the recording")
    lacking, surplus = [], []
    for table in EIGHT:
        found = agent.select(f"SELECT * FROM public.{table}")
        for column, is_written in columns_of(table).items():
            has_value = any(row[column] is not None for row in found)
            if is_written and not has_value and (table, column) != ("voice_calls", "openai_call_id"):
                lacking.append(f"{table}.{column}")
            if not is_written and has_value:
                surplus.append(f"{table}.{column}")
    assert (lacking, surplus) == ([], [])
    assert (call["intent"], call["outcome"], call["lead_name"], call["last_note"]) == (
        "a ride", "booked", "Ann", "Be quick.",
    )  # fmt: skip
    assert (call["project_id"], call["lead_phone"], call["transcript_status"]) == (
        "kigali",
        CUSTOMER,
        "completed",
    )
    assert "user: A moto, please." in call["transcript"]
    assert (referred["handoff"], referred["intent"], referred["last_note"]) == (
        True,
        "transfer to human",
        "angry",
    )
    for each in (call, referred):
        times = agent.select("SELECT t, type FROM voice_events WHERE call_id = %s ORDER BY t", each["id"])
        assert len({row["t"] for row in times}) == len(times)
        types = [row["type"] for row in times]
        assert [each for each in types if each in ("call_started", "ringing", "answered", "call_ended")] == [
            "call_started", "ringing", "answered", "call_ended",
        ]  # fmt: skip
        assert {"tool_call", "openai_session_created"} <= set(types)


def test_the_id_of_a_call_that_openai_brings_is_its_own_column() -> None:
    """What tests/ingest has in whole: here, that a record says it."""
    told: list[Any] = []

    class Queue:
        def put(self, group: Any) -> None:
            told.extend(group)

    opening: dict[str, Any] = dict.fromkeys(
        ("from_uri", "to_uri", "sip_call_id", "provider", "trunk", "source"), ""
    )
    call = CallOpening(
        id=uuid4(), direction="inbound", from_number=None, to_number=None, carrier_sid=None,
        locale="en", country=None, openai_call_id="rtc_1", **opening,
    )  # fmt: skip
    Ledger(Queue(), Feed(), {}).open(call, Moment(0.0, datetime.now(UTC)))
    assert [fact.openai_call_id for fact in told if getattr(fact, "openai_call_id", None)] == ["rtc_1"]
