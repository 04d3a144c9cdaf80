"""The sideband of a call: what becomes of commands and responses while it is lost, and how its end is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from sipua.call_leg import CallOver
from sipua.clock import SystemClock
from sipua.errors import RealtimeClosed, RealtimeError, RealtimeRefused, RealtimeUnreachable
from sipua.outcome import CALLER_HUNG_UP, MAX_DURATION, TRANSFERRED, Ending
from sipua.realtime import events as ev
from sipua.sideband import Sideband, ending_of_close


class Session:
    """A session that a test speaks for: ``say`` an event, or the error that ends it."""

    def __init__(self) -> None:
        self.session_id = "sess_1"
        self.sent: list[str] = []
        self.is_over = False
        self._said: asyncio.Queue[ev.Event | RealtimeError] = asyncio.Queue()

    def say(self, *what: ev.Event | RealtimeError) -> None:
        for each in what:
            self.is_over = self.is_over or isinstance(each, RealtimeError)
            self._said.put_nowait(each)

    async def events(self) -> AsyncIterator[ev.Event]:
        while True:
            each = await self._said.get()
            if isinstance(each, RealtimeError):
                raise each
            yield each

    def response_create(
        self, instructions: str | None = None, *, options: Mapping[str, Any] | None = None
    ) -> str:
        return self._send(f"response {instructions}")

    def item_create(self, item: Mapping[str, Any], previous_item_id: str | None = None) -> str:
        return self._send(str(item.get("type")))

    def session_update(self, changes: Mapping[str, Any], *, required: bool = False) -> str:
        return self._send(f"update {sorted(changes)}")

    def _send(self, what: str) -> str:
        if self.is_over:
            raise RealtimeClosed("over")
        self.sent.append(what)
        return "sipua_1"

    async def close(self) -> None:
        self.is_over = True


class Watch:
    """``sipua.voice_sessions.Observer``."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def opened(self, session: Any, why: str, connect_s: float) -> None:
        self.told.append(f"opened {why}")

    def ended(self, session: Any, *, failed: bool) -> None:
        self.told.append(f"ended {failed}")

    def fault(self, error: RealtimeError) -> None:
        self.told.append(f"fault {error.reason}")

    def outage(self, seconds: float) -> None:
        self.told.append("outage")

    def answered(self, item_id: str, seconds: float) -> None:
        raise AssertionError("when it is heard is the service's affair")

    def comfort(self) -> None:
        raise AssertionError("nothing of ours can be heard")


def sideband(*joins: Session | RealtimeError, rejoin_s: float = 30.0) -> tuple[Sideband, Watch]:
    """That is given these, one after another."""
    left, watch = list(joins), Watch()

    async def join() -> Any:
        found = left.pop(0)
        if isinstance(found, RealtimeError):
            raise found
        return found

    return Sideband(join, watch, SystemClock(), rejoin_s, lambda: 0.5, lambda event: None), watch


def gone() -> RealtimeRefused:
    error = RealtimeRefused("no such call")
    error.http_status = 404
    return error


async def ending(link: Sideband) -> BaseException:
    with pytest.raises((CallOver, RealtimeError)) as end:
        async for _ in link.events():
            pass
    return end.value


DROPPED = RealtimeClosed("lost")
ENDS: list[tuple[RealtimeError, Ending | None]] = [
    (RealtimeClosed("closed", close_code=1000), CALLER_HUNG_UP),
    (RealtimeClosed("closed", close_code=1001, code="session_expired"), MAX_DURATION),
    (RealtimeClosed("closed", close_code=1011), None),
    (DROPPED, None),
    (gone(), CALLER_HUNG_UP),
    (RealtimeUnreachable("down"), None),
]


@pytest.mark.parametrize(("error", "told"), ENDS)
def test_how_a_close_is_read(error: RealtimeError, told: Ending | None) -> None:
    assert ending_of_close(error) == told


async def test_what_was_wanted_while_it_was_lost_is_sent_then_in_order() -> None:
    first, second = Session(), Session()
    link, watch = sideband(first, RealtimeUnreachable("not yet"), second)
    await link.open()
    link.response_create("hello")
    reading = asyncio.create_task(ending(link))
    first.say(DROPPED)
    await told(watch, "fault realtime_closed")
    link.session_update({"instructions": "in another language"})
    link.function_call_output("call_1", "{}")
    link.response_create("then")
    await told(watch, "outage")
    assert first.sent == ["response hello"]
    assert second.sent == ["update ['instructions']", "function_call_output", "response then"]
    second.say(RealtimeClosed("bye", close_code=1000))
    over = await reading
    assert isinstance(over, CallOver)
    assert over.ending == CALLER_HUNG_UP
    assert link.is_over
    await link.close()
    assert watch.told == ["opened first", "fault realtime_closed", "outage", "ended False"]


async def told(watch: Watch, what: str) -> None:
    async with asyncio.timeout(5):
        while True:
            if what in watch.told:
                return
            await asyncio.sleep(0.005)


async def test_the_end_of_a_response_is_told_once() -> None:
    done = ev.ResponseDone("resp_1", "completed", None, None, None, None)
    session = Session()
    link, _ = sideband(session)
    await link.open()
    session.say(ev.ResponseCreated("resp_1"), done, done, RealtimeClosed("bye", close_code=1000))
    seen = []
    with contextlib.suppress(CallOver):
        async for event in link.events():
            seen.append(event)
    assert seen == [ev.ResponseCreated("resp_1"), done]
    await link.close()


@pytest.mark.parametrize(
    ("joins", "expected"),
    [
        ([gone(), gone(), Session()], None),  # not known everywhere yet
        ([RealtimeUnreachable("down"), Session()], None),
        ([RealtimeRefused("key")], RealtimeRefused),
    ],
)
async def test_joining_right_after_the_accept(joins: list[Any], expected: type[BaseException] | None) -> None:
    link, _ = sideband(*joins)
    if expected is None:
        await link.open()
        await link.close()
        return
    with pytest.raises(expected):
        await link.open()


async def test_a_call_that_is_gone_when_it_is_joined_again_has_ended_as_a_transfer_wants() -> None:
    session = Session()
    link, _ = sideband(session, gone())
    await link.open()
    link.hung_up = TRANSFERRED
    session.say(DROPPED)
    over = await ending(link)
    assert isinstance(over, CallOver)
    assert over.ending == TRANSFERRED
    await link.close()


async def test_a_service_that_stays_away_is_given_up() -> None:
    session = Session()
    link, watch = sideband(session, *[RealtimeUnreachable("down")] * 9, rejoin_s=0.4)
    await link.open()
    session.say(DROPPED)
    assert isinstance(await ending(link), RealtimeUnreachable)
    assert not link.is_over  # so the call is to be hung up
    await link.close(failed=True)
    assert watch.told[-1] == "ended True"
