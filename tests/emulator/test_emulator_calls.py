"""Calls that the emulated service terminates itself: OpenAI's own client asks about them; events are judged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx
import openai
import orjson
import pytest
from openai import AsyncOpenAI
from openai.types.webhooks import RealtimeCallIncomingWebhookEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.exceptions import ConnectionClosed

from sipua.http import bind_tcp, running
from sipua.realtime.emulator import Hook
from tests.emulator.driven import judge
from tests.openai_calls.house import KEY, SECRET, emulated

MODEL = "gpt-realtime-2.1"


@dataclass
class Desk:
    """Takes webhooks with the SDK, and asks about calls with it."""

    client: AsyncOpenAI
    caller: httpx.AsyncClient
    told: list[RealtimeCallIncomingWebhookEvent] = field(default_factory=list)

    async def dial(self, **asked: Any) -> str:
        answer = await self.caller.post("/emulator/calls", json={"from": "+250788000123"} | asked)
        assert answer.json()["answers"] == [200]
        return self.told[-1].data.call_id

    async def look(self, call_id: str) -> dict[str, Any]:
        told: dict[str, Any] = (await self.caller.get(f"/emulator/calls/{call_id}")).json()
        return told

    async def drive(self, call_id: str, deed: str) -> None:
        assert (await self.caller.post(f"/emulator/calls/{call_id}/{deed}")).status_code == 200


@asynccontextmanager
async def desk(*faults: str, **options: Any) -> AsyncIterator[Desk]:
    async def webhook(request: Request) -> Response:
        found = at.client.webhooks.unwrap(await request.body(), request.headers)
        at.told.append(RealtimeCallIncomingWebhookEvent.model_validate(found.model_dump(), strict=True))
        return Response()

    app = Starlette(routes=[Route("/hook", webhook, methods=["POST"])])
    async with (
        running(app, bind_tcp("127.0.0.1", 0, "HTTP")) as (host, port),
        emulated(Hook(f"http://{host}:{port}/hook", KEY), *faults, **options) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as caller,
        AsyncOpenAI(
            api_key="k", base_url=f"http://{address}/v1", webhook_secret=SECRET, max_retries=0
        ) as client,
    ):
        at = Desk(client, caller)
        yield at


async def test_a_call_from_its_webhook_to_its_end() -> None:
    async with desk() as at:
        call_id = await at.dial(to="+250788000001")
        assert {each.name for each in at.told[0].data.sip_headers} == {"From", "To", "Call-ID"}
        calls = at.client.realtime.calls
        await calls.accept(
            call_id, type="realtime", model=MODEL, instructions="Be kind.",
            audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": True}}},
        )  # fmt: skip
        seen: list[str] = []
        async with at.client.realtime.connect(call_id=call_id) as wire:
            await wire.response.create()
            while "output_audio_buffer.stopped" not in seen:
                seen.append(await heard(wire))
            await at.drive(call_id, "say")
            while seen.count("output_audio_buffer.stopped") < 2:
                seen.append(await heard(wire))
            await at.drive(call_id, "key")
            while seen[-1] != "input_audio_buffer.dtmf_event_received":
                seen.append(await heard(wire))
            await calls.hangup(call_id)
            assert await closed(wire) == 1000
        assert seen[0] == "session.created"
        assert "response.output_audio.delta" not in seen
        turns = ("input_audio_buffer.s", "output_audio_buffer", "response.done")
        turn = [each for each in seen if each.startswith(turns)]
        assert turn == [
            "output_audio_buffer.started", "response.done", "output_audio_buffer.stopped",
            "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped",
            "output_audio_buffer.started", "response.done", "output_audio_buffer.stopped",
        ]  # fmt: skip
        assert (await at.look(call_id))["state"] == "over"


async def heard(wire: Any) -> str:
    """The type of the next event, which the SDK's models must know as it is."""
    async with asyncio.timeout(20):
        event = await wire.recv_bytes()
    told = orjson.loads(event)
    judge(told)
    return str(told["type"])


async def closed(wire: Any) -> int:
    """The code, after whatever is said before."""
    try:
        while True:
            await heard(wire)
    except ConnectionClosed as end:
        return end.rcvd.code if end.rcvd is not None else 0


async def test_an_interruption_is_cut_off_by_the_service() -> None:
    async with desk(speed=4.0) as at:
        call_id = await at.dial()
        await at.client.realtime.calls.accept(call_id, type="realtime", model=MODEL)
        seen: list[str] = []
        async with at.client.realtime.connect(call_id=call_id) as wire:
            await wire.response.create()
            while "output_audio_buffer.started" not in seen:
                seen.append(await heard(wire))
            await at.drive(call_id, "say")
            while "conversation.item.truncated" not in seen:
                seen.append(await heard(wire))
        assert seen[-3:] == [
            "input_audio_buffer.speech_started", "output_audio_buffer.cleared", "conversation.item.truncated",
        ]  # fmt: skip


@pytest.mark.parametrize("code", [486, None])
async def test_a_call_is_rejected(code: int | None) -> None:
    async with desk() as at:
        call_id = await at.dial()
        calls = at.client.realtime.calls
        await (calls.reject(call_id, status_code=code) if code else calls.reject(call_id))
        assert await at.look(call_id) == {"call_id": call_id, "state": "rejected", "status_code": code or 603}
        with pytest.raises(openai.NotFoundError):
            await calls.accept(call_id, type="realtime", model=MODEL)


@pytest.mark.parametrize(("stays", "state"), [(False, "left"), (True, "up")])
async def test_a_caller_is_referred(stays: bool, state: str) -> None:
    async with desk() as at:
        call_id = await at.dial(stays=stays)
        calls = at.client.realtime.calls
        await calls.accept(call_id, type="realtime", model=MODEL)
        with pytest.raises(openai.BadRequestError):
            await calls.refer(call_id, target_uri="nobody")
        await calls.refer(call_id, target_uri="tel:+250788000009")
        if not stays:
            async with at.client.realtime.connect(call_id=call_id) as wire:
                assert await closed(wire) == 1000
        told = await at.look(call_id)
        assert (told["referred_to"], told["state"]) == ("tel:+250788000009", state)


async def test_what_is_wrong_is_said() -> None:
    async with desk("1:call_error=1", "2:call_gone") as at:
        calls, call_id = at.client.realtime.calls, await at.dial()
        with pytest.raises(openai.InternalServerError):
            await calls.accept(call_id, type="realtime", model=MODEL)
        with pytest.raises(openai.BadRequestError, match="does not exist"):
            await calls.accept(call_id, type="realtime", model="gpt-9")
        with pytest.raises(openai.BadRequestError, match="Unknown parameter"):
            await calls.accept(call_id, type="realtime", model=MODEL, extra_body={"temperature": 1})
        with pytest.raises(openai.BadRequestError, match="is ringing"):
            await calls.hangup(call_id)
        await calls.accept(call_id, type="realtime", model=MODEL)
        with pytest.raises(openai.BadRequestError, match="not ringing"):
            await calls.accept(call_id, type="realtime", model=MODEL)
        for gone in (await at.dial(), "rtc_nobody"):
            with pytest.raises(openai.NotFoundError) as error:
                await calls.hangup(gone)
            assert error.value.code == "call_id_not_found"
        async with httpx.AsyncClient(base_url=str(at.client.base_url)) as stranger:
            assert (
                await stranger.post(f"realtime/calls/{call_id}/hangup")
            ).status_code == HTTPStatus.UNAUTHORIZED
