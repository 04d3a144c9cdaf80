"""``POST /webhooks/openai`` behind the real server: what is refused writes nothing, what is taken is taken once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from openai.types.webhooks import RealtimeCallIncomingWebhookEvent

from sipua.clock import SystemClock
from sipua.metrics import Metrics
from sipua.openai_webhook import BODY_MAX_BYTES, Told
from sipua.web.openai_webhook import PATH, openai_webhook_router
from tests.openai_calls.house import KEY, SECRET
from tests.openai_calls.test_openai_webhook import FROM, TO, event
from tests.openai_calls.test_signed_webhook import STRANGE_KEY, headers_of
from tests.web.serving import serving


@dataclass
class Taken:
    """Who takes webhooks; ``client`` sends them."""

    client: httpx.AsyncClient
    metrics: Metrics
    told: list[Told] = field(default_factory=list)

    async def post(self, body: bytes, path: str = PATH, **signed: Any) -> httpx.Response:
        return await self.client.post(
            path, content=body, headers=headers_of(body, **({"at": time.time()} | signed))
        )

    def count(self, kind: str, result: str) -> float:
        return float(self.metrics.webhooks.labels(kind, result)._value.get())


@asynccontextmanager
async def taking(**site: Any) -> AsyncIterator[Taken]:
    metrics, told = Metrics(node="n", worker=0, instance="i", version="0"), []

    async def received(each: Told) -> str:
        told.append(each)
        return "noted"

    router = openai_webhook_router((KEY,), received, metrics, SystemClock())
    async with serving([], prefixed=[router], **site) as client:
        yield Taken(client, metrics, told)


INCOMING = event(FROM, TO)
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "by a stranger": ({"keys": (STRANGE_KEY,)}, 401, "forged"),
    "replayed": ({"at": time.time() - 3600}, 401, "stale"),
    "ahead of its time": ({"at": time.time() + 3600}, 401, "stale"),
    "unsigned": ({"keys": ()}, 401, "unsigned"),
}


@pytest.mark.parametrize(("signed", "status", "reason"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_not_genuine_is_told_to_nobody(
    signed: dict[str, Any], status: int, reason: str
) -> None:
    async with taking() as taken:
        answer = await taken.post(INCOMING, **signed)
        assert (answer.status_code, answer.json()["reason"], taken.told) == (status, reason, [])
        assert answer.headers["content-type"] == "application/problem+json"
        assert taken.count("unknown", reason) == 1


async def test_what_is_signed_and_no_event_is_a_bad_request() -> None:
    async with taking() as taken:
        answer = await taken.post(b"{}")
        assert (answer.status_code, answer.json()["reason"], taken.told) == (400, "invalid", [])
        assert taken.count("unknown", "invalid") == 1


async def test_it_needs_no_token_and_stands_below_the_prefix_too() -> None:
    async with taking(path_prefix="/functions/v1") as taken:
        for path in (PATH, f"/functions/v1{PATH}"):
            answer = await taken.post(INCOMING, path)
            assert (answer.status_code, answer.json()) == (200, {"status": "noted"})
        assert [each.kind for each in taken.told] == ["realtime.call.incoming"] * 2


async def test_ten_megabytes_are_not_read() -> None:
    """Of an honest length by its word, of another by what has come."""

    async def without_length() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b"x" * 65_536

    async with taking() as taken:
        body = b"x" * (10 << 20)
        answer = await taken.client.post(PATH, content=body, headers=headers_of(body, at=time.time()))
        assert answer.status_code == 413
        headers = headers_of(body, at=time.time())
        answer = await taken.client.post(PATH, content=without_length(), headers=headers)
        assert answer.status_code == 413
        just = event(FROM, TO, padding="x" * (BODY_MAX_BYTES - 600))
        assert (await taken.post(just)).status_code == 200
        assert len(taken.told) == 1


async def test_the_sdk_and_we_take_the_same() -> None:
    client = OpenAI(api_key="none", webhook_secret=SECRET)
    async with taking() as taken:
        for key in (KEY, STRANGE_KEY):
            headers = headers_of(INCOMING, at=time.time(), keys=(key,))
            answer = await taken.client.post(PATH, content=INCOMING, headers=headers)
            try:
                unwrapped = client.webhooks.unwrap(INCOMING, headers)
            except InvalidWebhookSignatureError:
                assert answer.status_code == 401
            else:
                assert isinstance(unwrapped, RealtimeCallIncomingWebhookEvent)
                assert (answer.status_code, taken.told[0].object_id) == (200, unwrapped.data.call_id)
