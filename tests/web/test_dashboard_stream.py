"""Server-sent events of the dashboard: what a page gets, what it missed, and when it is let go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from sipua.clock import SystemClock
from sipua.feed import Feed
from sipua.web.dashboard_board import Board
from sipua.web.dashboard_sessions import COOKIE
from sipua.web.dashboard_stream import OF_ONE_LOGIN, WAITING_MAX, Events, Hub, Stream, frames
from sipua.web.problem import Problem
from tests.web.test_dashboard_board import INCOMING, ROW, of
from tests.web.test_dashboard_login import a_site


@dataclass
class Event:
    """One event as the standard has it."""

    id: str = ""
    name: str = ""
    data: Any = None


@dataclass
class Page:
    """A browser's side of a stream."""

    chunks: AsyncIterator[bytes]
    text: str = ""
    seen: list[Event] = field(default_factory=list)

    async def next(self) -> Event:
        while "\n\n" not in self.text:
            self.text += (await anext(self.chunks)).decode()
        block, _, self.text = self.text.partition("\n\n")
        event = Event()
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            match name:
                case "id":
                    event.id = value
                case "event":
                    event.name = value
                case "data":
                    event.data = json.loads(value) if value.startswith("{") else value
        if not event.name:  # a comment, or how long to wait
            return await self.next()
        self.seen.append(event)
        return event


@dataclass
class Scene:
    hub: Hub
    feed: Feed
    board: Board

    async def page(self, key: str = "k", last_id: str = "") -> Page:
        return Page(frames(self.hub, await self.hub.open(key, last_id), lambda: True))

    def ring(self, id: str = "a") -> None:
        self.feed.publish(INCOMING | {"call": id})


async def settled() -> None:
    """Every task has had its turns."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(streams_max: int = 16, up: tuple[str, ...] = ()) -> AsyncIterator[Scene]:
    feed, board = Feed(), Board()
    hub = Hub(board, feed, SystemClock(), lambda: up, (), streams_max)
    task = asyncio.create_task(hub.run())
    await asyncio.sleep(0)  # it listens
    try:
        yield Scene(hub, feed, board)
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_a_page_gets_everything_and_then_what_changes() -> None:
    async with running() as scene:
        page = await scene.page()
        first = await page.next()
        assert (first.name, first.data["calls"], first.data["up"]) == ("snapshot", [], 0)
        scene.ring()
        change = await page.next()
        assert (change.name, change.data["calls"][0]["id"], change.data["up"]) == ("changes", "a", 1)
        scene.feed.publish(of("transcript", role="user", item="i", text="Hi", lang="en"))
        assert (await page.next()).data["lines"][0]["text"] == "Hi"


async def test_a_call_that_was_up_before_anybody_looked_is_shown_with_what_was_said() -> None:
    async with running() as scene:
        scene.ring()
        scene.feed.publish(of("transcript", role="user", item="i", text="Hi", lang="en"))
        await settled()
        (call,) = (await (await scene.page()).next()).data["calls"]
        assert [line["text"] for line in call["lines"]] == ["Hi"]


async def test_nothing_is_measured_while_nobody_looks_on() -> None:
    async with running() as scene:
        assert not scene.feed.is_watched
        page = await scene.page()
        await page.next()
        scene.ring()
        await page.next()
        assert scene.feed.is_watched
        scene.hub.close()
        assert (await page.next()).data == "draining"
        with pytest.raises(StopAsyncIteration):
            await page.next()
        assert not scene.feed.is_watched


async def test_who_comes_back_gets_what_was_missed_while_another_looked_on() -> None:
    async with running() as scene:
        witness, page = await scene.page(), await scene.page()
        await witness.next()
        last = await page.next()
        await page.chunks.aclose()  # type: ignore[attr-defined]  # a connection that broke
        scene.ring()
        await witness.next()
        back = await scene.page(last_id=last.id)
        missed = await back.next()
        assert (missed.name, missed.data["calls"][0]["id"]) == ("changes", "a")
        assert missed.id == witness.seen[-1].id


UNKNOWN = ["", "x", "-", "00000000-5", "{epoch}-99999", "{epoch}--1", "{epoch}-²", "{epoch}-" + "9" * 400]


@pytest.mark.parametrize("last_id", UNKNOWN)
async def test_who_comes_back_with_a_mark_that_is_none_of_ours_gets_everything(last_id: str) -> None:
    async with running() as scene:
        epoch = (await (await scene.page()).next()).id.partition("-")[0]
        page = await scene.page(last_id=last_id.replace("{epoch}", epoch))
        assert (await page.next()).name == "snapshot"


async def test_calls_of_other_processes_are_those_of_now_and_not_of_the_last_look() -> None:
    async with running() as scene:
        page = await scene.page()
        scene.board.see_others([ROW])
        assert (await page.next()).data["up"] == 0
        assert (await page.next()).data["up"] == 1
        await page.chunks.aclose()  # type: ignore[attr-defined]
        assert (await (await scene.page()).next()).data["calls"] == []


async def test_who_was_the_only_one_and_comes_back_gets_everything() -> None:
    async with running() as scene:
        page = await scene.page()
        last = await page.next()
        await page.chunks.aclose()  # type: ignore[attr-defined]
        scene.ring()
        await asyncio.sleep(0)
        back = await (await scene.page(last_id=last.id)).next()
        assert (back.name, back.data["up"]) == ("snapshot", 1)


async def test_a_page_that_reads_too_slowly_is_let_go_and_its_frames_with_it() -> None:
    stream = Stream("k")
    for _ in range(WAITING_MAX):
        stream.put(b"x")
    assert stream.why == ""
    stream.put(b"x")
    assert (stream.why, await stream.next()) == ("slow", None)
    stream.put(b"x")
    assert await stream.next() is None


async def test_streams_are_bounded_by_all_and_by_login() -> None:
    async with running(OF_ONE_LOGIN + 1) as scene:
        pages = [await scene.page("a") for _ in range(OF_ONE_LOGIN)]
        with pytest.raises(Problem) as refused:
            await scene.page("a")
        assert refused.value.status == 429
        await scene.page("b")
        with pytest.raises(Problem) as refused:
            await scene.page("c")
        assert refused.value.status == 503
        await pages[0].next()
        await pages[0].chunks.aclose()  # type: ignore[attr-defined]
        await scene.page("c")


async def test_a_page_that_is_gone_before_its_first_frame_takes_no_place() -> None:
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        gone.set()
        await asyncio.Event().wait()  # its socket is full

    async with running(1) as scene:
        answer = Events(scene.hub, await scene.hub.open("k", ""), lambda: True, {})
        await answer({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)  # as uvicorn has it
        await scene.page()


async def test_entries_that_were_lost_leave_no_call_that_has_ended() -> None:
    async with running(up=("b",)) as scene:
        page = await scene.page()
        await page.next()
        scene.ring("a")
        scene.ring("b")
        await page.next()
        scene.feed.publish({"event": "dropped", "entries": 7})
        assert [gone["id"] for gone in (await page.next()).data["gone"]] == ["a"]


async def test_a_part_that_cannot_be_looked_at_costs_nothing_else() -> None:
    board, feed = Board(), Feed()

    async def broken() -> None:
        raise RuntimeError("a bug")

    async def fine() -> None:
        board.show("fine", 1)

    hub = Hub(board, feed, SystemClock(), lambda: (), ((0.01, broken), (0.01, fine)), 4)
    task = asyncio.create_task(hub.run())
    page = Page(frames(hub, await hub.open("k", ""), lambda: True))
    assert (await page.next()).name == "snapshot"
    assert (await page.next()).data == {"fine": 1}
    task.cancel()
    await asyncio.wait((task,))


# ---- at the real server ------------------------------------------------------------------------------------------


async def test_the_stream_ends_with_the_session() -> None:
    async with a_site() as site:
        assert (await site.client.get("/dashboard/events")).status_code == 401
        await site.log_in()
        async with site.client.stream("GET", "/dashboard/events") as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            page = Page(answer.aiter_bytes())
            assert (await page.next()).name == "snapshot"
            cookie = site.client.cookies[COOKIE]
            await site.client.delete("/dashboard/session", headers={"X-Sipua-Dashboard": "1"})
            assert (await page.next()).data == "session"
            with pytest.raises(StopAsyncIteration):
                await page.next()
        gone = await site.client.get("/dashboard/events", headers={"Cookie": f"{COOKIE}={cookie}"})
        assert gone.status_code == 401


async def test_the_stream_ends_when_the_process_does_and_no_other_begins() -> None:
    async with a_site() as site:
        await site.log_in()
        async with site.client.stream("GET", "/dashboard/events") as answer:
            page = Page(answer.aiter_bytes())
            await page.next()
            site.hub.close()
            assert (await page.next()).data == "draining"
        assert (await site.client.get("/dashboard/events")).status_code == 503


async def test_a_session_that_has_ended_by_itself_takes_its_stream_along() -> None:
    async with a_site() as site:
        await site.log_in()
        async with site.client.stream("GET", "/dashboard/events") as answer:
            page = Page(answer.aiter_bytes())
            await page.next()
            site.tokens.tokens = ()
            (stream,) = site.hub._streams
            stream.put(b"event: x\ndata: secret\n\n")
            assert (await page.next()).data == "session"
