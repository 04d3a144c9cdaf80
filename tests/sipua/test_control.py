"""The control channel and the feed behind it, over a real Unix socket."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from sipua.control import CLIENT_LIMIT, REQUEST_LIMIT, SOCKET_NAME, ControlServer, NoAgent, ask, watch
from sipua.errors import LocalError
from sipua.feed import QUEUE_LIMIT, Feed


async def status(request: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"pid": 7, "echo": request.get("x")}


async def refuse(_: Mapping[str, Any]) -> Mapping[str, Any]:
    raise LocalError("not now")


@asynccontextmanager
async def serving(state: Path, feed: Feed | None = None) -> AsyncIterator[ControlServer]:
    server = ControlServer(state / SOCKET_NAME, feed or Feed(), {"status": status, "refuse": refuse})
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until it holds; the time limit is a failure, not a wait."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0)


async def exchange(state: Path, line: bytes) -> list[dict[str, Any]]:
    """Sends raw bytes and closes its side; all answers."""
    reader, writer = await asyncio.open_unix_connection(state / SOCKET_NAME)
    writer.write(line)
    writer.write_eof()
    lines = (await reader.read()).splitlines()
    writer.close()
    return [orjson.loads(line) for line in lines]


async def test_status_is_one_line_back(tmp_path: Path) -> None:
    async with serving(tmp_path):
        assert await ask(tmp_path, {"command": "status", "x": 1}) == {"pid": 7, "echo": 1}
        twice = b'{"command":"status"}\n{"command":"status","x":2}\n'
        assert [each["echo"] for each in await exchange(tmp_path, twice)] == [None, 2]


async def test_only_the_owner_may_use_it(tmp_path: Path) -> None:
    async with serving(tmp_path):
        assert stat.S_IMODE((tmp_path / SOCKET_NAME).stat().st_mode) == 0o600
    assert not (tmp_path / SOCKET_NAME).exists()


BAD_REQUESTS = [
    (b"nonsense\n", 'a request is one JSON object a line with a "command"'),
    (b"[]\n", 'a request is one JSON object a line with a "command"'),
    (b'"command"\n', 'a request is one JSON object a line with a "command"'),
    (b"{}\n", 'a request is one JSON object a line with a "command"'),
    (b'{"command":[]}\n', 'a request is one JSON object a line with a "command"'),
    (b"\xff\n", 'a request is one JSON object a line with a "command"'),
    (b'{"command":"dance"}\n', "unknown command 'dance'; allowed: status, refuse, watch"),
    (b'{"command":"refuse"}\n', "not now"),
    (b"x" * (REQUEST_LIMIT + 1) + b"\n", f"request line over {REQUEST_LIMIT} bytes"),
]


@pytest.mark.parametrize(("line", "error"), BAD_REQUESTS, ids=[str(each[0][:16]) for each in BAD_REQUESTS])
async def test_a_bad_request_is_answered_with_what_is_wrong(line: bytes, error: str, tmp_path: Path) -> None:
    async with serving(tmp_path):
        (answer,) = await exchange(tmp_path, line)
        assert answer["error"] == error
        assert answer.get("reason") == ("local" if error == "not now" else None)
        assert (await ask(tmp_path, {"command": "status"}))["pid"] == 7


async def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(NoAgent, match=r"no agent is running.*sipua serve"):
        await ask(tmp_path, {"command": "status"})
    with pytest.raises(NoAgent):
        await anext(watch(tmp_path / "nowhere"))
    (tmp_path / SOCKET_NAME).touch()  # a stale file that is no socket
    with pytest.raises(NoAgent):
        await ask(tmp_path, {"command": "status"})


async def test_an_agent_that_does_not_answer_is_told_from_none(tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(lambda reader, writer: writer.close(), tmp_path / SOCKET_NAME)
    async with server:
        with pytest.raises(
            LocalError, match=r"control\.sock (ended the conversation|does not answer)"
        ) as caught:
            await ask(tmp_path, {"command": "status"})
        assert not isinstance(caught.value, NoAgent)


async def test_an_agent_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(lambda _, writer: writers.append(writer), tmp_path / SOCKET_NAME)
    async with server:
        with pytest.raises(LocalError, match="does not answer"):
            await ask(tmp_path, {"command": "status"}, timeout_s=0.01)
        for writer in writers:
            writer.close()


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    async with serving(tmp_path):
        os.link(tmp_path / SOCKET_NAME, tmp_path / "left")
    os.rename(tmp_path / "left", tmp_path / SOCKET_NAME)  # as a killed process leaves it
    with pytest.raises(NoAgent):
        await ask(tmp_path, {"command": "status"})
    async with serving(tmp_path):
        assert (await ask(tmp_path, {"command": "status"}))["pid"] == 7


async def test_a_living_server_is_not_replaced(tmp_path: Path) -> None:
    async with serving(tmp_path):
        with pytest.raises(LocalError, match=f"another sipua serve uses {tmp_path}: .*SIPUA_STATE_DIR"):
            await ControlServer(tmp_path / SOCKET_NAME, Feed(), {}).start()
        assert (await ask(tmp_path, {"command": "status"}))["pid"] == 7


async def test_a_folder_whose_name_is_too_long_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120) / "state"
    descriptors = len(os.listdir("/proc/self/fd"))
    async with serving(deep):
        assert (deep / SOCKET_NAME).is_socket()
        assert (await ask(deep, {"command": "status"}))["pid"] == 7
        with pytest.raises(LocalError, match="another sipua serve"):
            await ControlServer(deep / SOCKET_NAME, Feed(), {}).start()
    with pytest.raises(NoAgent):
        await ask(deep, {"command": "status"})
    await until(lambda: len(os.listdir("/proc/self/fd")) == descriptors)


async def test_the_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="cannot be made"):
        await ControlServer(tmp_path / "file" / SOCKET_NAME, Feed(), {}).start()


# ---- watching --------------------------------------------------------------------------------------------


async def test_a_watcher_sees_what_is_published_and_the_end(tmp_path: Path) -> None:
    feed = Feed()
    async with serving(tmp_path, feed):
        entries = watch(tmp_path)
        assert await anext(entries) == {"watching": True}
        feed.publish({"event": "call", "n": 1})
        feed.publish({"event": "call", "n": 2})
        assert [(await anext(entries))["n"], (await anext(entries))["n"]] == [1, 2]
    with pytest.raises(StopAsyncIteration):
        await anext(entries)
    assert not feed.is_watched


async def test_a_watcher_who_leaves_is_noticed_though_nothing_happens(tmp_path: Path) -> None:
    feed = Feed()
    async with serving(tmp_path, feed):
        for _ in range(CLIENT_LIMIT + 2):  # else the places would be used up
            entries = watch(tmp_path)
            await anext(entries)
            assert feed.is_watched
            await entries.aclose()  # type: ignore[attr-defined]
            await until(lambda: not feed.is_watched)
        assert (await ask(tmp_path, {"command": "status"}))["pid"] == 7


async def test_one_client_too_many_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path):
        watchers = [watch(tmp_path) for _ in range(CLIENT_LIMIT)]
        for entries in watchers:
            await anext(entries)
        assert await ask(tmp_path, {"command": "status"}) == {
            "error": f"more than {CLIENT_LIMIT} control clients"
        }
        for entries in watchers:
            await entries.aclose()  # type: ignore[attr-defined]


async def test_a_watcher_who_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    feed = Feed()
    published = QUEUE_LIMIT + 200
    async with serving(tmp_path, feed):
        stuck = await asyncio.open_unix_connection(tmp_path / SOCKET_NAME, limit=64 * 1024)
        stuck[1].write(b'{"command":"watch"}\n')  # and does not read until later
        await until(lambda: feed.is_watched)
        quick = watch(tmp_path)
        await anext(quick)
        for number in range(published):
            feed.publish({"event": "x", "n": number, "text": "x" * 8192})
            assert (await anext(quick))["n"] == number
        await anext_line(stuck[0])
        entries = [await anext_line(stuck[0])]
        while entries[-1].get("n") != published - 1:
            entries.append(await anext_line(stuck[0]))
        lost = sum(entry["entries"] for entry in entries if entry["event"] == "dropped")
        numbers = [entry["n"] for entry in entries if entry["event"] == "x"]
        assert lost > 0
        assert len(numbers) + lost == published
        assert numbers == sorted(set(numbers))
        stuck[1].close()


async def anext_line(reader: asyncio.StreamReader) -> dict[str, Any]:
    entry: dict[str, Any] = orjson.loads(await reader.readline())
    return entry


# ---- the feed alone --------------------------------------------------------------------------------------


async def test_a_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    feed = Feed()
    with feed.subscribe() as slow, feed.subscribe() as quick:
        reading = aiter(quick)
        for number in range(QUEUE_LIMIT + 3):
            feed.publish({"event": "x", "n": number})
            assert (await anext(reading))["n"] == number
        entries = aiter(slow)
        assert await anext(entries) == {"event": "dropped", "entries": 3}
        assert [(await anext(entries))["n"] for _ in range(QUEUE_LIMIT)] == [*range(3, QUEUE_LIMIT + 3)]
    assert not feed.is_watched


async def test_a_feed_that_nobody_reads_keeps_nothing() -> None:
    feed = Feed()
    feed.publish({"event": "before"})
    with feed.subscribe() as subscription:
        assert feed.is_watched
        feed.publish({"event": "after"})
        assert await anext(aiter(subscription)) == {"event": "after"}
