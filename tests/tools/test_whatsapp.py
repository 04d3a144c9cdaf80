"""``send_whatsapp`` against an HTTP server of the test's own, and the webhook over our real server."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.rows import dict_row
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sipua.clock import SystemClock
from sipua.desk import Desk
from sipua.http import bind_tcp, running
from sipua.memory import MemorySettings
from sipua.tools.registry import Registry
from sipua.tools.whatsapp import SendWhatsApp
from sipua.web.whatsapp import BODIES_MAX, SMALL_BODY_BYTES, whatsapp_router
from sipua.webhook import BODY_MAX_BYTES, WhatsAppWebhook
from sipua.whatsapp import News, Reply, Status, WhatsAppSettings, may_write_freely, read_webhook
from storage.facts import CallCreated
from storage.writer import LedgerWriter
from tests.sipua.test_ledger import OPENING
from tests.tools import calls
from tests.web.serving import serving

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ANN = "+250788123456"
NUMBER = "123456789"
ACCEPTED = {"messages": [{"id": "wamid.1"}], "contacts": [{"wa_id": "250788123456"}]}
CLOSED = {"error": {"code": 131047, "message": "Re-engagement message"}}


class CloudApi:
    """Answers in turn with what it was told to; the last one stays."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[str] = []

    async def answer(self, request: Request) -> Response:
        self.asked.append(json.loads(await request.body()))
        self.headers.append(f"{request.url.path} {request.headers['Authorization']}")
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Response(body if isinstance(body, bytes) else json.dumps(body), status)


class Threads:
    """What the tool asks and notes."""

    def __init__(self, replied: datetime | None = None) -> None:
        self.replied = replied
        self.begun: list[tuple[UUID, str, str]] = []

    async def replied_at(self, msisdn: str) -> datetime | None:
        return self.replied

    def thread_begun(self, id: UUID, *, call_id: UUID, msisdn: str, message_id: str, at: datetime) -> None:
        self.begun.append((id, msisdn, message_id))


@asynccontextmanager
async def sending(api: CloudApi, threads: Any, **changes: Any) -> AsyncIterator[calls.Desk]:
    app = Starlette(routes=[Route("/v1/{number}/messages", api.answer, methods=["POST"])])
    async with running(app, bind_tcp("127.0.0.1", 0, "the stand-in")) as (host, port):
        settings = WhatsAppSettings(
            phone_number_id=NUMBER, token_file="t", template="after_call",
            base_url=f"http://{host}:{port}/v1", **changes,
        )  # fmt: skip
        async with SendWhatsApp(settings, "secret", threads, SystemClock()) as tool:
            registry = Registry()
            registry.add(tool)
            yield calls.Desk(registry)


async def test_the_first_message_is_the_template_in_the_language_of_the_call() -> None:
    api, threads = CloudApi((200, ACCEPTED)), Threads()
    async with sending(api, threads, template_languages={"en": "en", "rw": "rw_RW"}) as desk:
        assert await desk.use("send_whatsapp", {"message": "K7M2QX\n\tKimironko"}) == {"status": "sent"}
        await desk.use("send_whatsapp", {"message": "and this"})
    assert api.asked[0] == {
        "messaging_product": "whatsapp", "recipient_type": "individual", "to": "250788123456", "type": "template",
        "template": {
            "name": "after_call", "language": {"code": "rw_RW"},
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "K7M2QX Kimironko"}]}],
        },
    }  # fmt: skip
    assert api.headers[0] == f"/v1/{NUMBER}/messages Bearer secret"
    assert [begun[1:] for begun in threads.begun] == [(ANN, "wamid.1")] * 2
    assert len({begun[0] for begun in threads.begun}) == 1  # of one call


@pytest.mark.parametrize(
    ("hours", "answers", "kinds"),
    [
        (1.0, [(200, ACCEPTED)], ["text"]),
        (23.99, [(200, ACCEPTED)], ["template"]),
        (30.0, [(200, ACCEPTED)], ["template"]),
        (1.0, [(400, CLOSED), (200, ACCEPTED)], ["text", "template"]),
    ],
)
async def test_free_text_only_within_a_day_of_a_reply(
    hours: float, answers: list[tuple[int, Any]], kinds: list[str]
) -> None:
    api = CloudApi(*answers)
    async with sending(api, Threads(datetime.now(UTC) - timedelta(hours=hours))) as desk:
        assert (await desk.use("send_whatsapp", {"message": "hello"}))["status"] == "sent"
    assert [asked["type"] for asked in api.asked] == kinds


def test_the_window_has_a_margin() -> None:
    assert may_write_freely(T0, T0 + timedelta(hours=23, minutes=57))
    assert not may_write_freely(T0, T0 + timedelta(hours=23, minutes=58))
    assert not may_write_freely(None, T0)


REFUSED: list[Any] = [
    ((400, {"error": {"code": 131026}}), "cannot be reached by WhatsApp"),
    ((401, {"error": {"code": 190, "message": "token secret expired"}}), "cannot be sent"),
    ((500, b"<html>"), "cannot be sent"),
    ((200, {"messages": []}), "cannot be sent"),
    ((200, b"x" * 70_000), "cannot be sent"),
]


@pytest.mark.parametrize(("answer", "told"), REFUSED)
async def test_a_refusal_is_said_to_the_model_and_begins_no_thread(
    answer: tuple[int, Any], told: str
) -> None:
    threads = Threads()
    async with sending(CloudApi(answer), threads) as desk:
        assert told in (await desk.use("send_whatsapp", {"message": "hello"}))["error"]
    assert threads.begun == []


async def test_a_connection_lost_after_the_request_is_not_tried_again() -> None:
    asked: list[bytes] = []

    async def hang_up(reader: Any, writer: Any) -> None:
        asked.append(await reader.read(10_000))
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        settings = WhatsAppSettings(
            phone_number_id=NUMBER, token_file="t", template="t", base_url=f"http://127.0.0.1:{port}/v1"
        )
        async with SendWhatsApp(settings, "secret", Threads(), SystemClock()) as tool:
            registry = Registry()
            registry.add(tool)
            told = await calls.Desk(registry).use("send_whatsapp", {"message": "hello"})
    assert "do not send it again" in told["error"]
    assert len(asked) == 1


def webhook(value: dict[str, Any], number: str = NUMBER) -> bytes:
    metadata = {"metadata": {"phone_number_id": number}}
    return json.dumps({"entry": [{"changes": [{"field": "messages", "value": value | metadata}]}]}).encode()


def reply(id: str = "wamid.9", at: int | str = 1767323045) -> dict[str, Any]:
    return {"messages": [{"from": "250788123456", "id": id, "timestamp": str(at), "text": {"body": "yes"}}]}


READ: list[Any] = [
    pytest.param(webhook(reply()), [Reply("wamid.9", ANN, T0)], id="a reply"),
    pytest.param(webhook(reply(at="9999999999")), [Reply("wamid.9", ANN, T0)], id="from the future"),
    pytest.param(webhook(reply(at="x")), [Reply("wamid.9", ANN, T0)], id="without a time"),
    pytest.param(
        webhook({"statuses": [{"id": "w", "status": "read", "timestamp": "1767323045", "conversation": {"id": "c"}}]}),
        [Status("w", "read", T0, "c", None)], id="a status",
    ),
    pytest.param(
        webhook({"statuses": [{"id": "w", "status": "failed", "errors": [{"code": 131026, "title": "No"}]}]}),
        [Status("w", "failed", T0, None, "131026 No")], id="a failure",
    ),
    pytest.param(webhook(reply(), number="5"), [], id="of another number"),
    pytest.param(webhook({"statuses": [{"id": "w", "status": "eaten"}, 7, {"id": 5}]}), [], id="unknown"),
    pytest.param(b'{"entry": [{"changes": {"a": 1}}, null, 3]}', [], id="another shape"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "news"), READ)
def test_what_a_webhook_tells(body: bytes, news: list[News]) -> None:
    assert read_webhook(body, NUMBER, T0) == news


NAMES = st.sampled_from(["entry", "changes", "value", "metadata", "messages", "statuses", "id", "from"])
JSON = st.recursive(
    st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)
)


@given(JSON)
def test_no_json_raises_anything_else(value: Any) -> None:
    if isinstance(value, dict):
        read_webhook(json.dumps(value).encode(), NUMBER, T0)
    else:
        with pytest.raises(ValueError, match="not a JSON object"):
            read_webhook(json.dumps(value).encode(), NUMBER, T0)


def signed(body: bytes, secret: str = "app") -> dict[str, str]:
    return {"X-Hub-Signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


@asynccontextmanager
async def served(heard: Any) -> AsyncIterator[httpx.AsyncClient]:
    hook = WhatsAppWebhook(NUMBER, "app", "token é", heard, lambda: datetime.now(UTC))
    async with serving([whatsapp_router(hook)]) as client:
        yield client


async def test_the_route_takes_what_is_signed_and_nothing_else() -> None:
    heard: list[Sequence[News]] = []
    body = webhook(reply())
    async with served(heard.append) as client:
        query = {"hub.mode": "subscribe", "hub.challenge": "42", "hub.verify_token": "token é"}
        good = await client.get("/whatsapp", params=query)
        assert (good.status_code, good.text) == (200, "42")
        for wrong in ({"hub.verify_token": "x"}, {"hub.mode": "unsubscribe"}):
            assert (await client.get("/whatsapp", params=query | wrong)).status_code == 403
        posts = [
            (body, signed(body), 200),
            (body, signed(body, "other"), 401),
            (body, {}, 401),
            (body + b" ", signed(body), 401),
            (b"no", signed(b"no"), 400),
            (b"[" * 100_000, signed(b"[" * 100_000), 400),
            (b" " * SMALL_BODY_BYTES + body, signed(b" " * SMALL_BODY_BYTES + body), 200),
            (b" " * SMALL_BODY_BYTES + body, signed(body), 401),
            (b"x" * (BODY_MAX_BYTES + 1), signed(b""), 413),
        ]
        for content, headers, status in posts:
            assert (await client.post("/whatsapp", content=content, headers=headers)).status_code == status
    assert [len(news) for news in heard] == [1, 1]


async def test_what_nobody_has_signed_is_not_read_and_few_large_webhooks_at_once() -> None:
    heard: list[Sequence[News]] = []
    body = b" " * SMALL_BODY_BYTES + webhook(reply())

    async def begun(
        client: httpx.AsyncClient, *lines: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A request without its body."""
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        head = ("POST /whatsapp HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines, "", "")
        writer.write("\r\n".join(head).encode())
        return reader, writer

    async with served(heard.append) as client, asyncio.timeout(5):
        for wrong in ((), ("X-Hub-Signature-256: sha256=0",)):
            reader, writer = await begun(client, *wrong)
            assert (await reader.read()).startswith(b"HTTP/1.1 401 ")  # to the end of the connection
            writer.close()
        header = f"X-Hub-Signature-256: {signed(body)['X-Hub-Signature-256']}"
        held = [await begun(client, header) for _ in range(BODIES_MAX)]
        while (busy := await client.post("/whatsapp", content=body, headers=signed(body))).status_code != 503:
            assert busy.status_code == 200  # the others' heads are on their way
        assert busy.headers["Retry-After"]
        small = webhook(reply())
        assert (await client.post("/whatsapp", content=small, headers=signed(small))).status_code == 200
        for reader, writer in held:
            writer.write(body)
            assert b"200 OK" in await reader.readuntil(b"\r\n")
            writer.close()
        assert (await client.post("/whatsapp", content=body, headers=signed(body))).status_code == 200


async def test_a_thread_goes_its_way_from_the_tool_to_the_reply(database: str) -> None:
    writer = LedgerWriter(database, batch_ms=5)
    desk = Desk(database, writer, MemorySettings(), SystemClock())

    async def state() -> str:
        assert await writer.flush(5)
        with psycopg.connect(database, row_factory=dict_row) as connection:
            [row] = connection.execute("SELECT * FROM public.wa_threads").fetchall()
        assert row["customer_msisdn"] == ANN
        return str(row["state"])

    now = int(datetime.now(UTC).timestamp())
    delivered = webhook({"statuses": [{"id": "wamid.1", "status": "delivered", "timestamp": str(now)}]})
    api = CloudApi((200, ACCEPTED))
    try:
        writer.put((CallCreated(id=OPENING.id, direction="inbound"),))
        async with sending(api, desk) as call, served(desk.told_by_whatsapp) as client:
            await call.use("send_whatsapp", {"message": "hello"})
            assert await state() == "initiated"
            for body, expected in ((delivered, "active"), (webhook(reply(at=now)), "customer_replied")):
                for _ in range(2):  # Meta repeats
                    assert (
                        await client.post("/whatsapp", content=body, headers=signed(body))
                    ).status_code == 200
                assert await state() == expected
            await call.use("send_whatsapp", {"message": "thank you"})
            assert [asked["type"] for asked in api.asked] == ["template", "text"]
            assert await state() == "customer_replied"
    finally:
        await writer.close(5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"phone_number_id": "1"},
        {"app_secret_file": "a"},
        {"app_secret_file": "a", "verify_token_file": "b"},
        {"base_url": "http://198.51.100.1/v1"},
    ],
)
def test_half_a_configuration_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        WhatsAppSettings(**wrong)  # type: ignore[arg-type]
