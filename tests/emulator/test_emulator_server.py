"""The emulator over real sockets: the official SDK as its client, keys, refusals, faults, leaks."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import websockets
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from openai.types.realtime.client_secret_create_response import ClientSecretCreateResponse
from websockets.asyncio.client import connect

from rtp.wav import read_wav
from sipua.errors import ConfigError, LocalError
from sipua.realtime.emulator import EmulatorOptions, parse_fault, serve_emulator
from tests.peers.processes import similarity

from .driven import judge, spoken, ulaw

TOOL = {"type": "function", "name": "book", "description": "Books.", "parameters": {"type": "object"}}
TOOL_SCRIPT = """
[greeting]
say = "Hello."
audio = "greeting_en.wav"
[[turn]]
user = "Book me a ride"
[[turn.tool]]
name = "book"
arguments = { seats = 1 }
say = "Booked."
audio = "booked_en.wav"
[fallback]
say = "Pardon?"
audio = "fallback_en.wav"
"""
Wire = websockets.ClientConnection


@asynccontextmanager
async def emulator(*faults: str, **settings: Any) -> AsyncIterator[str]:
    """A running emulator; gives ``host:port``."""
    stop = asyncio.Event()
    where: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    options = EmulatorOptions(faults=[parse_fault(fault) for fault in faults], **{"speed": 20.0, **settings})
    ready: Callable[[str, int], None] = lambda host, port: where.set_result(f"{host}:{port}")  # noqa: E731
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(serve_emulator(options, ready=ready, stop=stop))
        try:
            yield await where
        finally:
            stop.set()


def dial(address: str, model: str | None = "gpt-realtime", **headers: str) -> connect:
    query = f"?model={model}" if model else ""
    sent = {"Authorization": "Bearer key", **headers}
    return connect(f"ws://{address}/v1/realtime{query}", additional_headers=sent, max_size=None, proxy=None)


async def read(wire: Wire) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(await wire.recv())
    return event


async def until(connection: AsyncRealtimeConnection, kind: str) -> list[RealtimeServerEvent]:
    found = []
    async for event in connection:
        judge(event.to_dict(mode="json"))
        found.append(event)
        if event.type == kind:
            break
    return found


def pieces(audio: bytes, size: int = 160) -> list[str]:
    return [base64.b64encode(audio[at : at + size]).decode() for at in range(0, len(audio), size)]


async def test_the_official_sdk_holds_a_conversation(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text(TOOL_SCRIPT)
    async with (
        emulator(script=script) as address,
        AsyncOpenAI(api_key="sk-test", base_url=f"http://{address}/v1") as client,
        client.realtime.connect(model="gpt-realtime-2.1") as connection,
    ):
        await until(connection, "session.created")
        audio: Any = {
            "input": {"format": {"type": "audio/pcmu"}, "transcription": {"model": "gpt-realtime-whisper"}},
            "output": {"format": {"type": "audio/pcmu"}},
        }
        tools: Any = [TOOL]
        await connection.session.update(session={"type": "realtime", "audio": audio, "tools": tools})
        await until(connection, "session.updated")
        await connection.response.create()
        greeting = await until(connection, "response.done")
        heard = [event.delta for event in greeting if event.type == "response.output_audio.delta"]
        assert sum(len(base64.b64decode(delta)) for delta in heard) == pytest.approx(3.5475 * 8000, abs=80)

        for piece in pieces(ulaw(spoken())):
            await connection.input_audio_buffer.append(audio=piece)
        turn = await until(connection, "response.done")
        (call,) = [event for event in turn if event.type == "response.function_call_arguments.done"]
        assert (call.name, call.arguments) == ("book", '{"seats": 1}')

        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "ok"}
        await connection.conversation.item.create(item=output)
        await connection.response.create()
        answer = await until(connection, "response.done")
        (said,) = [event for event in answer if event.type == "response.output_audio_transcript.done"]
        assert said.transcript == "Booked."


@pytest.mark.parametrize(
    ("format", "bytes_per_sample"), [({"type": "audio/pcmu"}, 1), ({"type": "audio/pcm", "rate": 24000}, 6)]
)
async def test_what_callers_say_is_recorded(
    tmp_path: Path, format: dict[str, Any], bytes_per_sample: int
) -> None:
    said = spoken()
    sound = ulaw(said) if bytes_per_sample == 1 else np.repeat(said, 3).astype("<i2").tobytes()
    async with emulator(record=tmp_path) as address:
        for number in (1, 2):
            async with dial(address) as wire:
                await read(wire)
                session = {"type": "realtime", "audio": {"input": {"format": format}}}
                await wire.send(orjson.dumps({"type": "session.update", "session": session}).decode())
                for piece in pieces(sound, 160 * bytes_per_sample)[:: 1 if number == 1 else -1]:
                    event = {"type": "input_audio_buffer.append", "audio": piece}
                    await wire.send(orjson.dumps(event).decode())
                await wire.send('{"type": "input_audio_buffer.clear"}')
                while (await read(wire))["type"] != "input_audio_buffer.cleared":
                    pass
    first, second = (read_wav(tmp_path / f"session-{number}.wav") for number in (1, 2))
    assert first.size == second.size == said.size
    assert similarity(first, said[:-100]) > 0.98  # from 24 kHz it is decimated: 8 samples later
    assert similarity(second, said[:-100]) < 0.5


async def test_a_folder_for_recordings_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with emulator(record=tmp_path / "missing"):
            pass
    assert caught.group_contains(LocalError, match="missing: no such folder")


async def test_a_client_secret_opens_a_session_with_its_configuration() -> None:
    async with emulator(api_key="right") as address:
        async with AsyncOpenAI(api_key="right", base_url=f"http://{address}/v1") as client:
            session: Any = {"type": "realtime", "model": "gpt-realtime-2.1", "instructions": "Be brief."}
            secret = await client.realtime.client_secrets.create(session=session)
        assert secret.value.startswith("ek_")
        ClientSecretCreateResponse.model_validate(secret.to_dict())
        async with dial(address, None, Authorization=f"Bearer {secret.value}") as wire:
            created = (await read(wire))["session"]
            assert (created["model"], created["instructions"]) == ("gpt-realtime-2.1", "Be brief.")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"session": {"type": "realtime", "temperature": 1}}, 400, "unknown_parameter"),
        ({"session": {"type": "realtime", "model": "gpt-9"}}, 400, "model_not_found"),
        ("no json", 400, "invalid_json"),
        ([], 400, "invalid_type"),
    ],
)
async def test_a_bad_request_for_a_secret_is_refused_by_name(body: Any, status: int, code: str) -> None:
    async with emulator() as address, httpx.AsyncClient() as client:
        content = body if isinstance(body, str) else orjson.dumps(body).decode()
        url = f"http://{address}/v1/realtime/client_secrets"
        answer = await client.post(url, content=content, headers={"Authorization": "Bearer x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert (await client.post(url)).status_code == 401


@pytest.mark.parametrize(
    ("api_key", "header", "status"),
    [
        (None, "Bearer anything", 101),
        (None, "Bearer ", 401),
        (None, "", 401),
        ("right", "Bearer right", 101),
        ("right", "Bearer wrong", 401),
        ("right", "Basic right", 401),
        (None, "Bearer ek_unknown", 401),
    ],
)
async def test_the_key_decides_at_the_upgrade(api_key: str | None, header: str, status: int) -> None:
    async with emulator(api_key=api_key) as address:
        if status == 101:
            async with dial(address, Authorization=header) as wire:
                assert (await read(wire))["type"] == "session.created"
            return
        with pytest.raises(websockets.InvalidStatus) as caught:
            await dial(address, Authorization=header)
        assert caught.value.response.status_code == status
        body = orjson.loads(caught.value.response.body or b"")
        assert body["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("model", "headers", "code"),
    [
        ("gpt-realtime", {"OpenAI-Beta": "realtime=v1"}, "beta_api_shape_disabled"),
        ("gpt-4o-realtime-preview", {}, "model_not_found"),
        (None, {}, "missing_model"),
    ],
)
async def test_what_cannot_be_served_is_an_error_and_close_4000(
    model: str | None, headers: dict[str, str], code: str
) -> None:
    async with emulator() as address, dial(address, model, **headers) as wire:
        error = await read(wire)
        judge(error)
        assert error["error"]["code"] == code
        with pytest.raises(websockets.ConnectionClosedError):
            await wire.recv()
        assert wire.close_code == 4000
        assert wire.close_reason == f"invalid_request_error.{code}"


async def test_bad_messages_leave_the_session_open() -> None:
    async with emulator() as address, dial(address) as wire:
        await read(wire)
        for message in ("{", b"\x00\x01", '{"type": "nonsense"}', "[]", ""):
            await wire.send(message)
            assert (await read(wire))["type"] == "error"
        await wire.send('{"type": "input_audio_buffer.clear"}')
        assert (await read(wire))["type"] == "input_audio_buffer.cleared"


async def test_a_client_that_does_not_read_is_not_read_either_and_loses_nothing() -> None:
    async with emulator() as address, dial(address) as wire:
        await read(wire)

        async def flood() -> None:
            for _ in range(5000):
                await wire.send('{"type": "input_audio_buffer.clear"}')

        async with asyncio.TaskGroup() as group:
            group.create_task(flood())
            for _ in range(5000):
                assert (await read(wire))["type"] == "input_audio_buffer.cleared"


async def test_an_append_over_the_limit_is_an_error_and_no_close() -> None:
    async with emulator() as address, dial(address) as wire:
        await read(wire)
        big = base64.b64encode(bytes(15 * 1024 * 1024 + 2)).decode()
        await wire.send(orjson.dumps({"type": "input_audio_buffer.append", "audio": big}))
        assert (await read(wire))["error"]["param"] == "audio"


@pytest.mark.parametrize(("fault", "status"), [("http_401", 401), ("http_500", 500)])
async def test_http_faults(fault: str, status: int) -> None:
    async with emulator(fault) as address:
        with pytest.raises(websockets.InvalidStatus) as caught:
            await dial(address)
        assert caught.value.response.status_code == status


@pytest.mark.parametrize(("fault", "code"), [("drop=1", 1006), ("close_1011=1", 1011), ("expire=0", 1001)])
async def test_connections_that_are_ended(fault: str, code: int) -> None:
    async with emulator(fault) as address, dial(address) as wire:
        await asyncio.wait_for(wire.wait_closed(), 10)
        assert wire.protocol.close_code == code


async def test_a_slow_reader_is_felt_as_back_pressure() -> None:
    async with emulator("slow_reader=200") as address, dial(address) as wire:
        await read(wire)
        start = asyncio.get_running_loop().time()
        for _ in range(3):
            await wire.send('{"type": "input_audio_buffer.clear"}')
        for _ in range(3):
            await read(wire)
        assert asyncio.get_running_loop().time() - start >= 0.4


async def test_stopping_ends_open_sessions() -> None:
    async with emulator() as address:
        wire = await dial(address)
        await read(wire)
    with pytest.raises(websockets.ConnectionClosed):
        await wire.recv()
    await wire.close()


async def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"127.0.0.1:{port}"):
            await serve_emulator(EmulatorOptions(port=port), ready=lambda h, p: None, stop=asyncio.Event())


async def test_a_missing_script_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml"):
        await serve_emulator(
            EmulatorOptions(script=tmp_path / "no.toml"), ready=lambda h, p: None, stop=asyncio.Event()
        )


async def test_twenty_connections_leave_no_task_and_no_descriptor() -> None:
    async with emulator() as address:
        await _converse(address, polite=True)
        await asyncio.sleep(0.5)
        before = _held()
        for number in range(20):
            await _converse(address, polite=number % 2 == 0)
        for _ in range(100):
            if all(now <= then for now, then in zip(_held(), before, strict=True)):
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail(f"tasks and descriptors were {before}, are {_held()}")


async def _converse(address: str, *, polite: bool) -> None:
    """A greeting, cut off in its middle; politely with a close frame, else by breaking the connection."""
    wire = await dial(address)
    await wire.send('{"type": "response.create"}')
    while (await read(wire))["type"] != "response.output_audio.delta":
        pass
    if not polite:
        wire.transport.abort()
    await wire.close()


def _held() -> tuple[int, int]:
    """Numbers of tasks and of open descriptors."""
    gc.collect()
    return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
