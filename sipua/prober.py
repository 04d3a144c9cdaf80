"""Sends OPTIONS: one at a time to a target on request (``Pinger``), and to every target when it is due (``Prober``).

When a target is asked and what its answers mean is decided by ``trunks.health``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid4

from sipua.errors import SipuaError
from sipua.ports import Clock
from sipua.sip_events import OptionsAnswered
from sipua.tasks import tell_of_a_bug
from sipua.trunks.answers import Headers, asked_to_wait
from sipua.trunks.health import Health
from sipua.trunks.watch import Key


class OptionsPort(Protocol):
    """``sipua.pj.endpoint.SipEndpoint``: sends one OPTIONS; the answer comes as OptionsAnswered."""

    async def options(self, uri: str, token: UUID, account: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Ask:
    """Where an OPTIONS goes, as which account, and how long its answer may take."""

    uri: str
    account: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pong:
    """What came back after ``seconds``: a code and headers, or nothing and ``why``."""

    code: int
    seconds: float
    headers: Headers
    why: str = ""


class Pinger:
    """The OPTIONS that are under way."""

    def __init__(self, sip: OptionsPort, clock: Clock) -> None:
        self._sip = sip
        self._clock = clock
        self._asked: dict[UUID, asyncio.Future[OptionsAnswered]] = {}

    def deliver(self, event: OptionsAnswered) -> None:
        """An answer; one that nobody waits for any more is dropped."""
        waiting = self._asked.get(event.token)
        if waiting is not None and not waiting.done():
            waiting.set_result(event)

    async def ping(self, ask: Ask) -> Pong:
        """Sends one and waits for its answer."""
        token, began = uuid4(), self._clock.now().monotonic
        answer: asyncio.Future[OptionsAnswered] = asyncio.get_running_loop().create_future()
        self._asked[token] = answer
        try:
            async with asyncio.timeout(ask.timeout_s):
                await self._sip.options(ask.uri, token, ask.account)
                event = await answer
        except TimeoutError:
            return Pong(0, ask.timeout_s, {}, f"no answer within {ask.timeout_s:g} s")
        except SipuaError as error:
            return Pong(0, self._since(began), {}, str(error))
        finally:
            del self._asked[token]
        if event.headers is None:
            return Pong(0, self._since(began), {}, event.phrase or f"no answer ({event.code})")
        return Pong(event.code, self._since(began), event.headers)

    def _since(self, began: float) -> float:
        return self._clock.now().monotonic - began


class Prober:
    """Asks what ``health`` says is due. ``ask_of`` says how a target is asked."""

    def __init__(
        self, health: Health, pinger: Pinger, clock: Clock, ask_of: Callable[[Key], Ask | None]
    ) -> None:
        self._health = health
        self._pinger = pinger
        self._clock = clock
        self._ask_of = ask_of
        self._again = asyncio.Event()
        self._probes: set[asyncio.Task[None]] = set()  # at most one per target
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._work(), name="prober")
        self._task.add_done_callback(tell_of_a_bug)

    def look_again(self) -> None:
        """The targets are others now."""
        self._again.set()

    async def stop(self) -> None:
        """Nothing is sent any more, and nobody waits for what was."""
        tasks = [*self._probes, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            for key in self._health.due(self._clock.now().monotonic):
                probe = asyncio.create_task(self._probe(key), name=f"options-{key.trunk}-{key.address}")
                self._probes.add(probe)
                probe.add_done_callback(self._probes.discard)
                probe.add_done_callback(tell_of_a_bug)
            now = self._clock.now().monotonic
            due = self._health.next_event_at(now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - now)):
                    await self._again.wait()
            self._again.clear()

    async def _probe(self, key: Key) -> None:
        ask = self._ask_of(key)
        if ask is None:  # it has gone since
            return
        pong = await self._pinger.ping(ask)
        now = self._clock.now()
        if pong.code:
            waits_s = asked_to_wait(pong.headers, now.wall)
            self._health.options_answered(key, now.monotonic, pong.code, waits_s)
        else:
            self._health.options_failed(key, now.monotonic, pong.why)
