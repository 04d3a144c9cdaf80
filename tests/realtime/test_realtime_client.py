"""The adapter against a real WebSocket server on loopback: opening, talking, every way to end, no leaks."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pybase64
import pytest
from websockets.asyncio.server import ServerConnection

from sipua.errors import (
    RealtimeClosed,
    RealtimeError,
    RealtimeRefused,
    RealtimeRejectedConfig,
    RealtimeTooSlow,
    RealtimeUnreachable,
)
from sipua.realtime import events as ev
from sipua.realtime.backend import OpenAIBackend, VoiceBackend, VoiceSession
from sipua.realtime.client import RealtimeSession
from sipua.realtime.config import AudioFormat
from sipua.realtime.names import Service
from sipua.realtime.outbox import Outbox, QueueFullError

from .realtime_peer import Peer, peer, until
from .realtime_wire import CONFIG, audio, created, error, response, session, updated, wire

FRAME = bytes(range(160))


@pytest.fixture(autouse=True)
async def _no_leaks() -> AsyncIterator[None]:
    """Neither tasks nor file descriptors outlive a test."""
    descriptors = len(os.listdir("/proc/self/fd"))
    yield
    await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert [task.get_name() for task in left] == []


async def listening(peer: Peer, ws: ServerConnection) -> None:
    await peer.greet(ws)
    await peer.listen(ws)


async def collect(voice: VoiceSession, into: list[ev.Event] | None = None) -> list[ev.Event]:
    seen = [] if into is None else into
    async for event in voice.events():
        seen.append(event)
    return seen


async def test_azure_is_asked_for_a_deployment_with_its_own_header() -> None:
    async with peer(listening) as service:
        base = f"http://127.0.0.1:{service.port}"
        backend = OpenAIBackend(base, "the-key", service=Service.AZURE)
        voice = await backend.open(replace(CONFIG, model="our deployment"))
        await voice.close()
        assert service.paths == ["/openai/v1/realtime?model=our+deployment"]
        assert service.headers["api-key"] == "the-key"
        assert "Authorization" not in service.headers


async def test_open_talk_close() -> None:
    async def answers(peer: Peer, ws: ServerConnection) -> None:
        await peer.greet(ws)
        await peer.expect(ws, "response.create")
        await ws.send(response("response.created", "r1", "in_progress"), text=True)
        await ws.send(audio("r1", b"hello"), text=True)
        await ws.send(response("response.done", "r1", "completed"), text=True)
        await peer.listen(ws)

    async with peer(answers) as service:
        backend: VoiceBackend = service.backend()
        voice = await backend.open(CONFIG)
        assert (voice.session_id, voice.config) == ("sess_1", CONFIG)
        assert voice.echoed["audio"]["output"]["format"] == {"type": "audio/pcmu"}
        voice.append(FRAME)
        event_id = voice.response_create("Greet.")
        seen: list[ev.Event] = []
        async for event in voice.events():
            seen.append(event)
            if isinstance(event, ev.ResponseDone):
                break
        await voice.close()
        await voice.close()
        assert await collect(voice) == []
    kinds = [ev.SessionCreated, ev.SessionUpdated, ev.ResponseCreated, ev.AudioDelta, ev.ResponseDone]
    assert [type(event) for event in seen] == kinds
    assert service.types() == ["session.update", "input_audio_buffer.append", "response.create"]
    assert pybase64.b64decode(service.received[1]["audio"]) == FRAME
    assert service.received[2]["event_id"] == event_id
    assert service.paths == ["/v1/realtime?model=gpt-realtime-2.1"]
    assert service.headers["Authorization"] == "Bearer sk-test"
    assert "OpenAI-Beta" not in service.headers
    counters = voice.counters
    assert (counters.appends_sent, counters.appends_dropped, counters.controls_sent) == (1, 0, 2)
    assert counters.bytes_sent > 0
    assert counters.events["response.output_audio.delta"] == 1


async def test_audio_goes_to_the_callback_in_its_turn_and_the_rest_to_the_iterator() -> None:
    """Here all of it has come before anybody asks for it."""

    async def speaks(peer: Peer, ws: ServerConnection) -> None:
        await peer.greet(ws)
        await ws.send(response("response.created", "r1", "in_progress"), text=True)
        for number in range(5):
            await ws.send(audio("r1", bytes([number]), number), text=True)
        await ws.send(response("response.done", "r1", "completed"), text=True)
        await peer.listen(ws)

    seen: list[type[ev.Event] | bytes] = []
    async with peer(speaks) as service:
        voice = await service.backend().open(CONFIG, on_audio=lambda delta: seen.append(delta.audio))
        await until(lambda: "response.done" in voice.counters.events)
        assert seen == []
        async for event in voice.events():
            seen.append(type(event))
            if isinstance(event, ev.ResponseDone):
                break
        await voice.close()
    opened: list[type[ev.Event] | bytes] = [ev.SessionCreated, ev.SessionUpdated, ev.ResponseCreated]
    assert seen == [*opened, *(bytes([number]) for number in range(5)), ev.ResponseDone]


@pytest.mark.parametrize(
    ("status", "body", "wanted", "hint"),
    [
        (401, b"", RealtimeRefused, "HTTP 401 Unauthorized; check OPENAI_API_KEY"),
        (403, b"", RealtimeRefused, "check that OPENAI_API_KEY may use this model"),
        (404, b"", RealtimeRefused, "check OPENAI_BASE_URL and the model"),
        (400, b'{"error":{"code":"beta_api_shape_disabled"}}', RealtimeRefused, "beta_api_shape_disabled"),
        (429, b'{"error":{"code":"insufficient_quota"}}', RealtimeRefused, "insufficient_quota"),
        (429, b'{"error":{"code":"rate_limit_exceeded"}}', RealtimeUnreachable, "try again later"),
        (503, b"<html>", RealtimeUnreachable, "HTTP 503"),
    ],
)
async def test_refused_upgrade(status: int, body: bytes, wanted: type[RealtimeError], hint: str) -> None:
    async with peer(listening, refuse=(status, body, {})) as service:
        with pytest.raises(wanted, match=hint) as caught:
            await service.backend().open(CONFIG)
    assert f"127.0.0.1:{service.port}" in str(caught.value)
    assert "sk-test" not in str(caught.value)


async def test_a_redirect_is_not_followed() -> None:
    async with peer(listening) as other:
        refuse = (307, b"", {"Location": f"http://127.0.0.1:{other.port}/v1/realtime"})
        async with peer(listening, refuse=refuse) as service:
            with pytest.raises(RealtimeRefused, match="HTTP 307"):
                await service.backend().open(CONFIG)
        assert other.paths == []


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(RealtimeUnreachable, match=f"127.0.0.1:{port}: .*check OPENAI_BASE_URL"):
            await Peer(port).backend().open(CONFIG)


async def test_a_server_that_is_silent_or_no_websocket() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example ESMTP\r\n")
        writer.close()

    for behave, hint in ((silent, "no answer within 0.2 s"), (rude, "does not speak WebSocket")):
        server = await asyncio.start_server(behave, "127.0.0.1", 0)
        async with server:
            backend = Peer(server.sockets[0].getsockname()[1]).backend(open_timeout_s=0.2)
            with pytest.raises(RealtimeUnreachable, match=hint):
                await backend.open(CONFIG)
        await asyncio.sleep(0.02)


async def test_hang_before_created_and_before_updated() -> None:
    async def mute(peer: Peer, ws: ServerConnection) -> None:
        await peer.listen(ws)

    async def half(peer: Peer, ws: ServerConnection) -> None:
        await ws.send(created(), text=True)
        await peer.listen(ws)

    for script, missing in ((mute, "session.created"), (half, "session.updated")):
        async with peer(script) as service:
            with pytest.raises(RealtimeUnreachable, match=f"no {missing} within 0.1 s"):
                await service.backend(open_timeout_s=0.1).open(CONFIG)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("invalid_api_key", RealtimeRefused),
        ("model_not_found", RealtimeRefused),
        ("server_error", RealtimeUnreachable),
    ],
)
async def test_an_error_event_instead_of_created(code: str, wanted: type[RealtimeError]) -> None:
    async def refuses(peer: Peer, ws: ServerConnection) -> None:
        await ws.send(error(code), text=True)
        await peer.listen(ws)

    async with peer(refuses) as service:
        with pytest.raises(wanted, match=code):
            await service.backend().open(CONFIG)


async def test_refused_session_update() -> None:
    async def refuses(peer: Peer, ws: ServerConnection) -> None:
        await ws.send(created(), text=True)
        update = await peer.expect(ws, "session.update")
        await ws.send(error("unknown_parameter", event_id=update["event_id"], param="session.x"), text=True)
        await peer.listen(ws)

    async with peer(refuses) as service:
        with pytest.raises(RealtimeRejectedConfig, match=r"unknown_parameter: no \(param session.x\)"):
            await service.backend().open(CONFIG)


async def test_an_echo_of_another_codec_is_refused() -> None:
    async def other(peer: Peer, ws: ServerConnection) -> None:
        await ws.send(created(), text=True)
        await peer.expect(ws, "session.update")
        await ws.send(wire("session.updated", session=session(AudioFormat.PCMA)), text=True)
        await peer.listen(ws)

    async with peer(other) as service:
        with pytest.raises(RealtimeRejectedConfig, match="echoed input format"):
            await service.backend().open(CONFIG)


@pytest.mark.parametrize(
    ("close_code", "reason", "wanted"),
    [
        (1011, "", RealtimeClosed),
        (4000, "beta_api_shape_disabled", RealtimeRefused),
    ],
)
async def test_closed_while_opening(close_code: int, reason: str, wanted: type[RealtimeError]) -> None:
    async def leaves(peer: Peer, ws: ServerConnection) -> None:
        await ws.close(close_code, reason)

    async with peer(leaves) as service:
        with pytest.raises(wanted, match=str(close_code)) as caught:
            await service.backend().open(CONFIG)
    assert caught.value.code == (reason or None)


async def test_the_caller_hangs_up_while_the_session_opens() -> None:
    async def mute(peer: Peer, ws: ServerConnection) -> None:
        await peer.listen(ws)

    async with peer(mute) as service:
        opening = asyncio.create_task(service.backend().open(CONFIG))
        await until(lambda: bool(service.paths))
        await asyncio.sleep(0.02)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening


async def test_the_server_fails_mid_way() -> None:
    async def fails(peer: Peer, ws: ServerConnection) -> None:
        await peer.greet(ws)
        await ws.send(response("response.created", "r1", "in_progress"), text=True)
        await ws.close(1011, "internal error")

    async with peer(fails) as service:
        voice = await service.backend().open(CONFIG)
        seen: list[ev.Event] = []
        with pytest.raises(RealtimeClosed, match="closed by the service with 1011") as caught:
            await collect(voice, seen)
        assert isinstance(seen[-1], ev.ResponseCreated), "what came before the end is delivered first"
        assert (caught.value.close_code, caught.value.retryable) == (1011, True)
        voice.append(FRAME)
        assert voice.counters.appends_dropped == 1
        with pytest.raises(RealtimeClosed, match="not open"):
            voice.commit()
        await voice.close()


@pytest.mark.parametrize(
    ("code", "retryable"), [("session_expired", True), ("insufficient_quota", False), (None, True)]
)
async def test_the_end_carries_the_services_code(code: str | None, retryable: bool) -> None:
    async def expires(peer: Peer, ws: ServerConnection) -> None:
        await peer.greet(ws)
        if code is not None:
            await ws.send(error(code), text=True)
        await ws.close(1001)

    async with peer(expires) as service:
        voice = await service.backend().open(CONFIG)
        with pytest.raises(RealtimeClosed) as caught:
            await collect(voice)
        await voice.close()
    assert (caught.value.close_code, caught.value.code) == (1001, code)
    assert caught.value.retryable is retryable


async def test_the_connection_is_cut() -> None:
    async def cut(peer: Peer, ws: ServerConnection) -> None:
        await peer.greet(ws)
        ws.transport.abort()

    async with peer(cut) as service:
        voice = await service.backend().open(CONFIG)
        with pytest.raises(RealtimeClosed, match="lost without a close frame") as caught:
            await collect(voice)
        await voice.close()
    assert caught.value.close_code == 0


async def test_garbage_and_news_are_events_and_the_session_lives() -> None:
    async def garbles(peer: Peer, ws: ServerConnection) -> None:
        await peer.greet(ws)
        await ws.send("{not json")
        await ws.send(b"\x00\x01")
        await ws.send(wire("response.telepathy"), text=True)
        await ws.send(wire("response.created"), text=True)
        await ws.send(wire("input_audio_buffer.cleared"), text=True)
        await peer.listen(ws)

    async with peer(garbles) as service:
        voice = await service.backend().open(CONFIG)
        seen = []
        async for event in voice.events():
            seen.append(type(event))
            if isinstance(event, ev.InputCleared):
                break
        await voice.close()
    fault = ev.ProtocolFault
    assert seen[2:] == [fault, fault, ev.UnknownEvent, fault, ev.InputCleared]
    assert (voice.counters.invalid, voice.counters.unknown) == (3, 1)


async def test_a_required_update_that_is_refused_ends_the_session() -> None:
    async def refuses(peer: Peer, ws: ServerConnection) -> None:
        await peer.greet(ws)
        update = await peer.expect(ws, "session.update")
        await ws.send(error("invalid_value", event_id=update["event_id"]), text=True)
        await peer.listen(ws)

    async with peer(refuses) as service:
        voice = await service.backend().open(CONFIG)
        voice.session_update({"instructions": "x"}, required=True)
        with pytest.raises(RealtimeRejectedConfig):
            await collect(voice)
        await voice.close()


async def test_every_request_reaches_the_service_in_order() -> None:
    async with peer(listening) as service:
        voice = await service.backend().open(CONFIG)
        voice.append(FRAME)
        voice.append(b"")
        voice.commit()
        voice.clear()
        voice.truncate("item_1", 0, 900)
        voice.item_create({"type": "message", "role": "user", "content": []})
        voice.item_delete("item_1")
        voice.function_call_output("call_1", "{}")
        voice.session_update({"tools": []})
        assert voice.response_cancel() is None
        voice.response_create()
        await until(lambda: len(service.received) == 10)
        await voice.close()
    assert service.types() == [
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "conversation.item.truncate",
        "conversation.item.create",
        "conversation.item.delete",
        "conversation.item.create",
        "session.update",
        "response.create",
    ]
    assert len({event["event_id"] for event in service.received}) == 10


async def slow_reader(peer: Peer, ws: ServerConnection) -> None:
    """Takes nothing after the opening until the test ends."""
    await peer.greet(ws)
    ws.transport.pause_reading()
    await ws.wait_closed()


async def fill(voice: RealtimeSession, outbox: Outbox) -> None:
    """Append until the kernel's buffers are full and appends begin to wait."""
    for _ in range(3000):
        voice.append(bytes(8000))
        await asyncio.sleep(0)
        if len(outbox) == 2:
            return
    pytest.fail("nothing waits")


async def test_a_slow_reader_costs_no_audio_and_never_blocks() -> None:
    async def catches_up(peer: Peer, ws: ServerConnection) -> None:
        await peer.greet(ws)
        ws.transport.pause_reading()
        await caught_up.wait()
        ws.transport.resume_reading()
        await peer.listen(ws)

    caught_up = asyncio.Event()
    async with peer(catches_up) as service:
        outbox = Outbox()
        voice = RealtimeSession(service.backend().endpoint("m"), CONFIG, outbox=outbox)
        await voice.open()
        await fill(voice, outbox)
        started = time.perf_counter()
        voice.append(FRAME)
        assert time.perf_counter() - started < 0.05
        event_id = voice.commit()
        caught_up.set()
        await until(lambda: event_id in [event["event_id"] for event in service.received[-1:]])
        appends = service.types().count("input_audio_buffer.append")
        assert (voice.counters.appends_dropped, appends) == (0, voice.counters.appends_sent)
        numbers = [int(event["event_id"].split("_")[1]) for event in service.received]
        assert numbers == sorted(numbers), "queued and direct sends kept their order"
        await voice.close()


async def test_a_service_that_is_too_far_behind_ends_the_session_with_a_named_error() -> None:
    async with peer(slow_reader) as service:
        outbox = Outbox(appends_max=3)
        voice = RealtimeSession(service.backend().endpoint("m"), CONFIG, outbox=outbox)
        await voice.open()
        await fill(voice, outbox)
        for _ in range(3):
            voice.append(FRAME)
        with pytest.raises(
            RealtimeTooSlow, match=r"audio .* full \(3 packets\): connection given up"
        ) as told:
            await collect(voice)
        assert told.value.retryable
        await voice.close()


async def test_a_full_control_queue_is_a_named_error() -> None:
    async with peer(slow_reader) as service:
        outbox = Outbox(controls_max=3)
        voice = RealtimeSession(service.backend().endpoint("m"), CONFIG, outbox=outbox)
        async with voice:
            await fill(voice, outbox)
            for _ in range(3):
                voice.commit()
            with pytest.raises(QueueFullError, match=r"control events .* full \(3\)"):
                voice.commit()


async def test_a_peer_that_takes_nothing_is_given_up_and_closing_is_bounded() -> None:
    async with peer(slow_reader) as service:
        outbox = Outbox()
        voice = RealtimeSession(service.backend().endpoint("m"), CONFIG, send_timeout_s=0.1, outbox=outbox)
        await voice.open()
        await fill(voice, outbox)
        with pytest.raises(RealtimeClosed, match=r"took no data for 0\.1 s"):
            await collect(voice)
        await voice.close()
        outbox = Outbox()
        stuck = RealtimeSession(service.backend().endpoint("m"), CONFIG, outbox=outbox)
        await stuck.open()
        await fill(stuck, outbox)
        async with asyncio.timeout(4):
            await stuck.close()


async def test_a_consumer_that_hangs_ends_the_session_with_a_named_error() -> None:
    async def chatters(peer: Peer, ws: ServerConnection) -> None:
        await peer.greet(ws)
        for _ in range(100):
            await ws.send(wire("input_audio_buffer.cleared"), text=True)
        await peer.listen(ws)

    async with peer(chatters) as service:
        voice = RealtimeSession(service.backend().endpoint("m"), CONFIG, events_max=20)
        await voice.open()
        await until(lambda: voice.counters.event_queue_overflows == 1)
        seen: list[ev.Event] = []
        with pytest.raises(QueueFullError, match="20 events wait"):
            await collect(voice, seen)
        assert len(seen) == 20
        await voice.close()


async def test_a_bug_in_on_audio_reaches_the_consumer() -> None:
    async def speaks(peer: Peer, ws: ServerConnection) -> None:
        await peer.greet(ws)
        await ws.send(audio("r1", b"x"), text=True)
        await peer.listen(ws)

    def broken(_: ev.AudioDelta) -> None:
        raise ZeroDivisionError

    async with peer(speaks) as service:
        voice = await service.backend().open(CONFIG, on_audio=broken)
        with pytest.raises(ZeroDivisionError):
            await collect(voice)
        await voice.close()


async def test_closing_ends_the_iterator_of_another_task() -> None:
    async with peer(listening) as service:
        voice = await service.backend().open(CONFIG)
        consumer = asyncio.create_task(collect(voice))
        await asyncio.sleep(0)
        await asyncio.gather(voice.close(), voice.close())
        assert len(await consumer) == 2


async def test_a_server_that_does_not_answer_the_close_is_cut() -> None:
    async def deaf(peer: Peer, ws: ServerConnection) -> None:
        await peer.greet(ws)
        ws.transport.pause_reading()
        await released.wait()
        ws.transport.abort()

    released = asyncio.Event()
    async with peer(deaf) as service:
        voice = await service.backend().open(CONFIG)
        async with asyncio.timeout(3):
            await voice.close()
        released.set()


async def test_neither_key_nor_audio_is_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    async with peer(listening, logger=logging.getLogger("quiet.server")) as service:
        logging.getLogger("quiet.server").setLevel(logging.INFO)
        with caplog.at_level(logging.DEBUG):
            voice = await service.backend().open(CONFIG)
            voice.append(FRAME)
            await until(lambda: len(service.received) == 2)
            await voice.close()
    assert "sk-test" not in caplog.text
    assert service.received[1]["audio"][:20] not in caplog.text


async def test_twenty_sessions_one_after_another_and_four_at_once() -> None:
    async def one(service: Peer) -> None:
        async with RealtimeSession(service.backend().endpoint("m"), CONFIG) as voice:
            for _ in range(10):
                voice.append(FRAME)

    async with peer(listening) as service:
        for _ in range(20):
            await one(service)
        await asyncio.gather(*(one(service) for _ in range(4)))
        assert len(service.paths) == 24


def test_the_peer_of_these_tests_speaks_json() -> None:
    shown: list[dict[str, Any]] = [orjson.loads(raw) for raw in (created(), updated(), error("x"))]
    assert [event["type"] for event in shown] == ["session.created", "session.updated", "error"]
