"""Keeps one account registered: performs what the core ``trunks.registration`` says, on the SIP side behind a port.

One task per account. It waits for an answer, for a wish (drain, another address of ours) or for the core's next time,
whichever is first; nothing else decides when a REGISTER is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from sipua.errors import SipuaError
from sipua.ports import Clock, Moment
from sipua.sip_events import RegistrationAnswered
from sipua.tasks import tell_of_a_bug
from sipua.trunks.answers import Contact, asked_to_wait, granted, min_expires
from sipua.trunks.registration import (
    Action,
    Alert,
    Changed,
    Phase,
    Registration,
    RegistrationRules,
    RegistrationView,
    Send,
)

log = logging.getLogger(__name__)


class RegisterPort(Protocol):
    """``sipua.pj.endpoint.SipEndpoint``: sends one REGISTER; the answer comes as RegistrationAnswered."""

    async def register(self, account: str, expires_s: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Registered:
    """Who is registered by whom. ``account`` is the SIP side's name for it."""

    account: str
    trunk: str
    contact: Contact


class _Drain:
    """The wish to end."""


@dataclass(frozen=True, slots=True)
class _Move:
    """We are elsewhere; ``is_lost``: nobody will answer the REGISTER that was under way."""

    contact: Contact
    is_lost: bool


_News = RegistrationAnswered | _Move | _Drain


class Registrar:
    """``changed`` gets every step of the core with the moment it was taken; ``alerted`` what an operator must mend."""

    def __init__(
        self,
        who: Registered,
        rules: RegistrationRules,
        sip: RegisterPort,
        clock: Clock,
        rng: random.Random,
        changed: Callable[[Registered, Changed, Moment], None],
        alerted: Callable[[Registered, Alert], None],
    ) -> None:
        self.who = who
        self._core = Registration(rules, rng)
        self._sip = sip
        self._clock = clock
        self._changed = changed
        self._alerted = alerted
        # an answer per REGISTER (one at a time), and a wish now and then
        self._inbox: asyncio.Queue[_News] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()  # no REGISTER is under way

    def start(self) -> None:
        """Registers, and stays registered until ``drain``."""
        self._task = asyncio.create_task(self._work(), name=f"registrar-{self.who.account}")
        self._task.add_done_callback(tell_of_a_bug)

    def deliver(self, event: RegistrationAnswered) -> None:
        """An answer of our registrar."""
        self._inbox.put_nowait(event)

    def address_changed(self, contact: Contact, *, is_lost: bool = False) -> None:
        """Our contact is another one now: it is registered at once, and the trunk stays usable meanwhile.

        ``is_lost``: what was under way then will not be answered any more.
        """
        self._inbox.put_nowait(_Move(contact, is_lost))

    async def settle(self, limit_s: float) -> bool:
        """Waits so long for the answer to a REGISTER that is under way; whether none is (any more)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._settled.wait()
        return self._settled.is_set()

    async def drain(self, limit_s: float) -> None:
        """Takes the binding back; a registrar that does not answer is waited for so long and no longer."""
        if self._task is None:
            return
        self._inbox.put_nowait(_Drain())
        _, pending = await asyncio.wait({self._task}, timeout=limit_s)
        if pending:
            log.warning("registration of %s: not taken back within %g s", self.who.account, limit_s)
            self._task.cancel()
            await asyncio.wait({self._task})
        self._task = None

    def view(self) -> RegistrationView:
        """How it stands."""
        return self._core.view(self._clock.now().monotonic)

    # ---- the task ----------------------------------------------------------------------------------------

    async def _work(self) -> None:
        await self._perform(self._core.start(self._now()))
        while self._core.phase is not Phase.STOPPED:
            await self._perform(self._feed(await self._next()))

    async def _next(self) -> _News | None:
        """What comes next; None when the core's time has come."""
        due = self._core.next_at
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._now())):
                return await self._inbox.get()
        except TimeoutError:
            return None

    def _feed(self, event: _News | None) -> tuple[Action, ...]:
        now = self._now()
        match event:
            case None:
                return self._core.tick(now)
            case _Drain():
                return self._core.drain(now)
            case _Move(contact, is_lost):
                self.who = replace(self.who, contact=contact)
                return self._core.address_changed(now, is_lost=is_lost)
            case RegistrationAnswered(headers=None):
                return self._core.failed(now, event.phrase or f"no answer ({event.code})")
            case RegistrationAnswered(headers=headers):
                assert headers is not None
                return self._core.answered(
                    now,
                    event.code,
                    expires_s=granted(headers, self.who.contact),
                    min_expires_s=min_expires(headers),
                    retry_after_s=asked_to_wait(headers, self._clock.now().wall),
                )

    async def _perform(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            match action:
                case Send(expires_s):
                    await self._send(expires_s)
                case Changed(before=before, after=after, why=why):
                    if after is Phase.REGISTERING:
                        self._settled.clear()
                    else:
                        self._settled.set()
                    log.info("registration of %s: %s → %s: %s", self.who.account, before, after, why)
                    self._changed(self.who, action, self._clock.now())
                case Alert(reason, code):
                    log.error(
                        "registration of %s: refused with %d (%s); this heals only when somebody mends it",
                        self.who.account, code, reason,
                    )  # fmt: skip
                    self._alerted(self.who, action)

    async def _send(self, expires_s: int) -> None:
        try:
            await self._sip.register(self.who.account, expires_s)
        except SipuaError as error:
            await self._perform(self._core.failed(self._now(), str(error)))

    def _now(self) -> float:
        return self._clock.now().monotonic
