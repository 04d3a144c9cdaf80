"""Calls that others hold: opened, told of, ended. What is written are facts of the ledger, by ids of the call itself.

What is known of a call is a ``Story`` in memory, one of the last ``STORIES_MAX``; one that is not among them is looked
up. While the database is away the calls that this process knows go on, of others nothing can be said. A call that a SIP
leg carries (ours or another process's) has rows by that leg too; who ends it is that leg.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from sipua.errors import RealtimeError, RemoteError, SipuaError
from sipua.ingest.ids import call_id_of, row_id
from sipua.ingest.openai import ClientSecret
from sipua.ingest.told import Charge, Story
from sipua.ledger_facts import opened_session
from sipua.locale import country_of, locale_of
from sipua.openai_calls import CallGone
from sipua.ports import CallOpening, Clock, SessionOpening
from sipua.realtime.config import SessionConfig
from storage.errors import StoreError
from storage.facts import CallCreated, CallEnded, Event, Fact, SessionEnded
from storage.told_reads import ToldCall
from storage.words import Status

log = logging.getLogger(__name__)

STORIES_MAX = 4096
LATE = timedelta(minutes=2)  # after the end: the last words are written down by then
SETTLE_S = 0.5  # for the row, before the id is given away
LOOK_UP_S = 1.0
HANG_UP_S = 3.0
KEY_MARGIN_S = 60  # a key that soon ends is not given again
TOLD_BY = "openai-realtime"


class NoSuchCall(SipuaError):
    """404."""

    reason = "unknown_call"


class CallIsOver(SipuaError):
    """409: nothing is revived."""

    reason = "call_is_over"


class CarriedElsewhere(SipuaError):
    """409: a SIP leg of another process has it."""

    reason = "carried_elsewhere"


class CannotLookUp(SipuaError):
    """503: the database is away, and the call is none of those that are known here."""

    retryable = True
    reason = "database_unreachable"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls whom, as the carrier told it. ``locale`` "": that of the caller's number."""

    sid: str
    from_number: str | None
    to_number: str | None
    locale: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    call_id: UUID
    session_id: UUID
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    status: str
    ended_at: datetime | None  # None: its leg has been told to end
    duration_seconds: int | None


class Secrets(Protocol):
    """``sipua.ingest.openai.OpenAIHttp`` and ``sipua.openai_calls.OpenAICalls``."""

    async def client_secret(self, config: SessionConfig, lifetime_s: int) -> ClientSecret: ...
    async def hang_up(self, call_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``look_up`` gives None for a call that there is not, and raises StoreError. ``configured``: as for a SIP call.

    ``settle`` waits so long for what was put; ``hang_up`` ends the SIP leg of one of these calls, if there is one here.
    """

    put: Callable[..., None]
    settle: Callable[[float], Awaitable[bool]]
    look_up: Callable[[UUID], Awaitable[ToldCall | None]]
    configured: Callable[[CallOpening], SessionConfig]
    hang_up: Callable[[Collection[UUID]], bool]
    secrets: Secrets
    clock: Clock
    charge: Charge


class _Call:
    """One of the stories, with the key that was given away."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.known: ToldCall | None = None  # as it was looked up
        self.opened: Opened | None = None
        self.key_until = 0.0  # seconds since 1970
        self.ended: Ended | None = None
        self.lock = asyncio.Lock()


class ToldCalls:
    """One per process. ``provider``: whose ids the calls have; ``key_s``: how long a key lives."""

    def __init__(self, world: Surroundings, provider: str, key_s: int) -> None:
        self._world = world
        self._provider = provider
        self._key_s = key_s
        self._calls: dict[UUID, _Call] = {}

    async def open(self, caller: Caller) -> Opened:
        """The call's row and a key for its session; asked again it is the same call. RealtimeError: it has failed."""
        call_id = call_id_of(self._provider, caller.sid)
        now = self._world.clock.now().wall
        async with self._held(call_id, now) as call:
            if call.opened is not None and call.ended is None and now.timestamp() < call.key_until:
                return call.opened
            await self._refresh(call, call_id)
            if call.ended is not None:
                raise CallIsOver(
                    f"call {call_id} has ended ({call.ended.status}); a new one has another callSid"
                )
            opening = opening_of(call_id, caller, self._provider)
            self._world.put(*told_call(opening, now, TOLD_BY))
            try:
                config = self._world.configured(opening)
                secret = await self._world.secrets.client_secret(config, self._key_s)
            except RealtimeError as error:
                await self._failed(call, call_id, error)
                raise
            session = row_id(call_id, "session", "")
            told = SessionOpening(secret.session_id or str(session), config.model, secret.session)
            self._world.put(opened_session(session, call_id, now, told))
            await self._world.settle(SETTLE_S)
            call.opened = Opened(call_id, session, secret.value)
            call.key_until = secret.expires_at - KEY_MARGIN_S
            return call.opened

    async def event(self, call_id: UUID, event: Mapping[str, Any]) -> int:
        """How many rows follow from it; one that has come before changes nothing."""
        call = await self._found(call_id)
        now = self._world.clock.now().wall
        if call.ended is not None and call.ended.ended_at is not None and now - call.ended.ended_at > LATE:
            raise CallIsOver(
                f"call {call_id} has ended at {call.ended.ended_at.isoformat(timespec='seconds')}"
            )
        facts = call.story.on_event(event, now)
        if facts:
            self._world.put(*facts)
        return len(facts)

    async def end(self, call_id: UUID, duration_s: int | None) -> Ended:
        """Its end, once; asked again it is the same answer. Ends the service's call and the SIP leg that there is."""
        call = await self._found(call_id)
        async with call.lock:
            await self._refresh(call, call_id)
            if call.ended is not None:
                return call.ended
            known, id = call.known, call.story.call_id
            if known is not None and known.has_leg:
                if not self._world.hang_up(known.ids) and not await self._hang_up(known):
                    raise CarriedElsewhere(
                        f"call {call_id} is carried by a SIP leg of another process: hang up there"
                    )
                return Ended(known.status, None, None)
            now = self._world.clock.now().wall
            since = call.story.talked_since or call.story.began
            has_talked = call.story.talked_since is not None or (
                known is not None and known.status == "in_progress"
            )
            if duration_s is None:
                duration_s = max(0, round((now - since).total_seconds())) if has_talked else 0
            status: Status = "completed" if has_talked or duration_s else "no_answer"
            call.ended = Ended(status, now, duration_s)
            sessions = {row_id(call_id, "session", ""), *(known.sessions if known is not None else ())}
            self._world.put(
                *(SessionEnded(session, id, now) for session in sorted(sessions)),
                *ended_call(id, now, duration_s, status, "told_to_end"),
            )
            if known is not None:
                await self._hang_up(known)
            await self._world.settle(SETTLE_S)
            return call.ended

    # -- what is known -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _held(self, call_id: UUID, now: datetime) -> AsyncIterator[_Call]:
        """One at a time of each call."""
        call = self._calls.get(call_id) or self._remember(
            call_id, _Call(Story(call_id, now, charge=self._world.charge))
        )
        async with call.lock:
            yield call

    async def _found(self, call_id: UUID) -> _Call:
        call = self._calls.get(call_id)
        if call is not None:
            return call
        try:
            known = await self._looked_up(call_id)
        except (StoreError, TimeoutError):
            raise CannotLookUp(
                f"call {call_id} is not known here, and the database cannot be asked now"
            ) from None
        if known is None:
            raise NoSuchCall(f"call {call_id}: there is none of this id")
        call = self._calls.get(known.id)
        if call is None:
            after = known.last_segment_at
            story = Story(
                known.id, known.started_at, locale=known.locale, after=after, charge=self._world.charge
            )
            call = self._remember(known.id, _Call(story))
        self._take(call, known)
        return self._remember(call_id, call)

    async def _refresh(self, call: _Call, call_id: UUID) -> None:
        """What the database has of it now: another process may have ended it. Away, what we know counts."""
        try:
            known = await self._looked_up(call_id)
        except (StoreError, TimeoutError) as error:
            log.warning("call=%s cannot be looked up: %s", call_id, str(error) or "no answer")
            return
        if known is not None:
            self._take(call, known)

    async def _looked_up(self, call_id: UUID) -> ToldCall | None:
        async with asyncio.timeout(LOOK_UP_S):
            return await self._world.look_up(call_id)

    def _take(self, call: _Call, known: ToldCall) -> None:
        call.known = known
        if known.ended_at is not None:
            call.ended = Ended(known.status, known.ended_at, known.duration_seconds)

    def _remember(self, id: UUID, call: _Call) -> _Call:
        self._calls.pop(id, None)
        self._calls[id] = call
        if len(self._calls) > STORIES_MAX:
            del self._calls[next(iter(self._calls))]
        return call

    # -- what is written -----------------------------------------------------------------------------------

    async def _failed(self, call: _Call, call_id: UUID, error: RealtimeError) -> None:
        """No session, no call; but one that a SIP leg carries goes on by that."""
        now = self._world.clock.now().wall
        said = {"reason": error.reason, "message": str(error)}
        self._world.put(
            Event(row_id(call_id, "event", f"refused {now.timestamp()}"), call_id, "error", now, said),
            *ended_call(call_id, now, 0, "failed", error.reason),
        )
        log.warning("call=%s has no voice session: %s", call_id, error)
        await self._world.settle(SETTLE_S)
        await self._refresh(call, call_id)
        if call.ended is None and (call.known is None or not call.known.has_leg):
            call.ended = Ended("failed", now, 0)

    async def _hang_up(self, known: ToldCall) -> bool:
        """The service's own call, if it is one."""
        if known.openai_call_id is None:
            return False
        try:
            async with asyncio.timeout(HANG_UP_S):
                await self._world.secrets.hang_up(known.openai_call_id)
        except CallGone:
            return True
        except (RemoteError, TimeoutError) as error:
            log.warning(
                "call=%s the voice service did not end its call: %s", known.id, str(error) or "no answer"
            )
            return False
        return True


def opening_of(call_id: UUID, caller: Caller, provider: str) -> CallOpening:
    """What is known of a call that we were told of."""
    return CallOpening(
        id=call_id, direction="inbound", from_uri="", to_uri="", from_number=caller.from_number,
        to_number=caller.to_number, sip_call_id="", carrier_sid=caller.sid, provider=provider, trunk="",
        locale=caller.locale or locale_of(caller.from_number), country=country_of(caller.from_number), source="",
    )  # fmt: skip


def told_call(opening: CallOpening, now: datetime, told_by: str, **more: Any) -> tuple[Fact, ...]:
    """The row of a call that we were told of, and its first event. The same call gives the same rows."""
    sid = opening.carrier_sid
    created = CallCreated(
        id=opening.id, direction=opening.direction, from_e164=opening.from_number, to_e164=opening.to_number,
        twilio_call_sid=sid if opening.provider == "twilio" else None,
        mtn_call_sid=sid if opening.provider == "mtn" else None,
        provider=opening.provider, locale=opening.locale, country=opening.country, started_at=now,
        lead_phone=opening.from_number,
        metadata={"told_by": told_by, **more}, without_leg=True,
    )  # fmt: skip
    first = Event(
        row_id(opening.id, "event", "call_started"), opening.id, "call_started", now,
        {"direction": opening.direction, "told_by": told_by},
    )  # fmt: skip
    return created, first


def ended_call(
    id: UUID, now: datetime, duration_s: int, status: Status, outcome: str, **more: Any
) -> tuple[Fact, ...]:
    """The end of a call as we were told of it."""
    return (
        CallEnded(id, now, duration_s, status, outcome, {"ended_by": "http", **more}, without_leg=True),
        Event(
            row_id(id, "event", "call_ended"), id, "call_ended", now, {"reason": outcome, "status": status}
        ),
    )
