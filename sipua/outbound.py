"""One outbound call with fail-over: it feeds what the SIP thread tells about its legs to the machine in
``trunks.attempt`` and performs what that returns, until one leg is answered or none will be.

Each leg has a key, RTP sockets and an SDP of its own, so that what a loser still sends reaches nobody. A leg that was
given up may answer nevertheless; pjsip ACKs and BYEs it by itself. What the calls of a process share is in ``dialler``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import UUID, uuid4

from rtp.errors import RtpError
from sipua.accounts import account_name
from sipua.errors import LocalError, SipuaError
from sipua.media_ports import Sockets
from sipua.our_number import from_of, headers_of
from sipua.outcome import Ending
from sipua.ports import AttemptMade, OutboundSip
from sipua.redirect import RefusedRedirect, redirected_to
from sipua.resolve import UnresolvedName
from sipua.sip_events import (
    EndpointFailed,
    KeyAnswered,
    KeyPressed,
    LegChanged,
    LegProgress,
    LegState,
    MediaChanged,
    MediaDescription,
    SipEvent,
    TransferProgress,
)
from sipua.trunk import Trunk
from sipua.trunk_rules import limits_of, sdp_plan_of
from sipua.trunks.attempt import Attempt, CallRules, LegRules
from sipua.trunks.attempt_events import (
    AckBye,
    Action,
    Cancel,
    CancelledByUser,
    Event,
    Failed,
    Final,
    Finish,
    Invite,
    NoSlot,
    NotSent,
    Provisional,
    Record,
    Ringing,
    Started,
    Timer,
)
from sipua.trunks.policy import Fault, Verdict
from sipua.trunks.routing import Address, Route, Target

if TYPE_CHECKING:
    from sipua.dialler import Dialler

log = logging.getLogger(__name__)


# pjsip ends an INVITE that got no response with codes of its own
_FAULTS = {408: Fault.NO_RESPONSE, 502: Fault.DNS, 503: Fault.TRANSPORT}
_SINCE_ANSWER = (LegState.CONNECTING, LegState.CONFIRMED, LegState.DISCONNECTED)


@dataclass(frozen=True, slots=True)
class Trying:
    """An INVITE goes out."""

    trunk: str
    target: str


@dataclass(frozen=True, slots=True)
class Rings:
    """A leg rings; ``has_media``: with early media."""

    has_media: bool


@dataclass(frozen=True, slots=True)
class Alerted:
    """What became of an attempt heals only when somebody mends it: refused credentials, a suspended account, TLS."""

    trunk: str
    reason: str


OutboundProgress = Trying | Rings | AttemptMade | Alerted
Tell = Callable[[OutboundProgress], None]


class EarlyMedia(Protocol):
    """Who listens to legs that are not answered (yet): to one at a time, as they ring one after the other."""

    def hear(self, sockets: Sockets, media: MediaDescription) -> None:
        """What was negotiated with the leg that rings now; from here on its sockets are the listener's."""

    def silence(self) -> None:
        """The leg is given up: its sockets are to be closed and given back."""


@dataclass(frozen=True, slots=True)
class Winner:
    """The leg that was answered; its sockets are the caller's to close now."""

    key: UUID
    trunk: str
    sockets: Sockets


@dataclass(frozen=True, slots=True)
class Carried:
    """The leg that was answered, or the last one; headers of its last response."""

    key: UUID
    trunk: str
    headers: Mapping[str, tuple[str, ...]]

    def header(self, name: str) -> str:
        return next(iter(self.headers.get(name.lower(), ())), "")


@dataclass(slots=True)
class _Leg:
    """What is kept of one INVITE."""

    name: str  # for slots and health
    key: UUID
    target: Target
    sockets: Sockets | None = None
    is_redirected: bool = False
    is_over: bool = False
    is_cancelled: bool = False
    is_heard: bool = False  # its sockets are the listener's
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of the last response
    story: list[SipEvent] = field(default_factory=list)  # from its answer on, until the machine has chosen it


class OutboundCall:
    """One call. ``dial`` once; ``events`` then tells the story of the winning leg; ``close`` in any case."""

    def __init__(
        self,
        dialler: Dialler,
        sip: OutboundSip,
        route: Route,
        legs: Mapping[str, LegRules],
        rules: CallRules,
        tell: Tell,
        early_media: EarlyMedia | None,
        diverted_from: str = "",
    ) -> None:
        self._dialler = dialler
        self._trunks = dialler.trunks  # those of now: the files may be read again meanwhile
        self._sip = sip
        self._tell = tell
        self._early_media = early_media
        self._diverted_from = diverted_from
        self._id = uuid4().hex
        self._attempt = Attempt(route.targets, legs, rules)
        self._inbox: asyncio.Queue[tuple[float, Event] | LocalError] = asyncio.Queue()  # a handful per leg
        self._legs: list[_Leg] = []
        self._ending: Ending | None = None
        self._winner: _Leg | None = None
        self.events: asyncio.Queue[SipEvent] = asyncio.Queue()  # of the winning leg
        self.attempts: list[AttemptMade] = []

    async def dial(self) -> Winner | Ending:
        """Until somebody answers or nobody will. LocalError if the SIP thread died."""
        try:
            await self._take(Started(), time.monotonic())
            while self._ending is None:
                now, event = await self._next()
                await self._take(event, now)
        except BaseException:  # nobody waits any longer: nothing may go on ringing
            for leg in self._legs:
                if not leg.is_over and not leg.is_cancelled:
                    self._dialler.occupancy.abandoned(leg.name, time.monotonic(), was_heard=True)
                    with contextlib.suppress(SipuaError):
                        await self._sip.hang_up(leg.key)
            raise
        winner = self._winner
        if winner is None:
            return self._ending
        assert winner.sockets is not None
        sockets, winner.sockets = winner.sockets, None
        return Winner(winner.key, winner.target.trunk, sockets)

    def cancel(self) -> None:
        """Whoever placed the call gives up."""
        self._inbox.put_nowait((time.monotonic(), CancelledByUser()))

    def carried_by(self) -> Carried | None:
        """None if nothing was sent."""
        leg = self._winner or (self._legs[-1] if self._legs else None)
        return None if leg is None else Carried(leg.key, leg.target.trunk, leg.headers)

    def close(self) -> None:
        """Gives back sockets and channels. Slots of abandoned legs are free when pjsua has ended them."""
        for leg in self._legs:
            self._close_sockets(leg)
        for name in self._trunks:
            self._dialler.occupancy.release(name, self._id)

    # ---- from the SIP side -------------------------------------------------------------------------------

    def deliver(self, event: SipEvent) -> None:
        """One event about a leg of ours."""
        now = time.monotonic()
        if isinstance(event, EndpointFailed):
            self._inbox.put_nowait(LocalError(f"the SIP thread died: {event.message}"))
            self.events.put_nowait(event)
            return
        if isinstance(event, KeyPressed | KeyAnswered | TransferProgress):
            self._deliver_key(event)
            return
        if not isinstance(event, LegChanged | LegProgress | MediaChanged):
            return
        number, leg = next((n, each) for n, each in enumerate(self._legs) if each.key == event.key)
        if isinstance(event, LegChanged) and event.headers:
            leg.headers = event.headers
        if leg is self._winner:
            self.events.put_nowait(event)
        elif isinstance(event, MediaChanged) or (
            isinstance(event, LegChanged) and event.state in _SINCE_ANSWER
        ):
            leg.story.append(event)
        if isinstance(event, LegProgress):
            self._inbox.put_nowait((now, Provisional(number, event.code, event.has_sdp)))
        elif isinstance(event, MediaChanged):
            self._listen(leg, event.media)
        elif event.state in (LegState.CONNECTING, LegState.CONFIRMED) and not leg.is_over:
            leg.is_over = True
            self._inbox.put_nowait((event.at, Final(number, event.code, event.headers)))
        elif event.state is LegState.DISCONNECTED:
            self._dialler.occupancy.disconnected(leg.name)
            if not leg.is_over:
                leg.is_over = True
                self._inbox.put_nowait((event.at, _final(number, event)))

    def _deliver_key(self, event: KeyPressed | KeyAnswered | TransferProgress) -> None:
        """Those of legs that ring are nobody's."""
        if self._winner is not None and self._winner.key == event.key:
            self.events.put_nowait(event)

    def _listen(self, leg: _Leg, media: MediaDescription | None) -> None:
        """To early media. Once the leg is answered its story tells of its media."""
        if self._early_media is None or leg.sockets is None or leg.is_over or media is None:
            return
        if leg.is_heard or media.codec:
            leg.is_heard = True
            self._early_media.hear(leg.sockets, media)

    async def _next(self) -> tuple[float, Event]:
        """The next event, or Timer when the machine's time has come."""
        due = self._attempt.next_at
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                found = await self._inbox.get()
        except TimeoutError:
            return time.monotonic(), Timer()
        if isinstance(found, LocalError):
            raise found
        return found

    # ---- what the machine says ---------------------------------------------------------------------------

    async def _take(self, event: Event, now: float) -> None:
        for action in self._attempt.feed(event, now):
            await self._perform(action, now)

    async def _perform(self, action: Action, now: float) -> None:
        match action:
            case Invite():
                refusal = await self._invite(action, now)
                if refusal is not None:
                    self._inbox.put_nowait((time.monotonic(), refusal))
            case Cancel(number, was_heard):
                leg = self._legs[number]
                leg.is_cancelled = True
                self._dialler.occupancy.abandoned(leg.name, now, was_heard=was_heard)
                self._close_sockets(leg)
                await self._sip.hang_up(leg.key)
            case AckBye(number):
                log.info("call=%s < late answer of an abandoned leg", self._legs[number].key)
                await self._sip.hang_up(self._legs[number].key)
            case Ringing(number, has_media):
                leg = self._legs[number]
                if not leg.is_redirected:
                    self._dialler.health.progressed(leg.target.key, now, leg.name)
                self._tell(Rings(has_media))
            case Record():
                self._record(action, now)
            case Finish(ending, number):
                self._ending = ending
                if number is not None:
                    self._winner = self._legs[number]
                    for event in self._winner.story:
                        self.events.put_nowait(event)

    async def _invite(self, action: Invite, now: float) -> Event | None:
        """Sends the INVITE; what kept it from being sent otherwise."""
        shared, number = self._dialler, action.leg
        leg = _Leg(f"{self._id}/{number}", uuid4(), action.target, is_redirected=bool(action.redirected_to))
        self._legs.append(leg)
        if not shared.occupancy.take_slot(leg.name, now):
            return NoSlot(number)
        try:
            why_not = await self._send(leg, action, now)
        except BaseException:  # cancelled while a name was looked up: pjsua will report nothing of this leg
            shared.occupancy.disconnected(leg.name)
            shared.disowns(leg.key)
            raise
        if why_not is not None:
            shared.occupancy.disconnected(leg.name)
            shared.disowns(leg.key)
            self._close_sockets(leg)
        return why_not

    async def _send(self, leg: _Leg, action: Invite, now: float) -> Event | None:
        shared, target = self._dialler, leg.target
        trunk = self._trunks[target.trunk]
        try:
            uri, place = await self._aim(action, trunk)
        except UnresolvedName as error:
            log.warning("call=%s > INVITE was not sent: %s", leg.key, error)
            return Failed(action.leg, Fault.DNS)
        except RefusedRedirect as error:
            log.warning("call=%s > INVITE was not sent: %s", leg.key, error)
            return Failed(action.leg, Fault.REDIRECT)
        try:
            opened = shared.ports.open(trunk, place.address)
        except (RtpError, OSError) as error:
            return NotSent(action.leg, f"no media port towards {place.address}: {error}")
        leg.sockets = opened.sockets
        why = shared.occupancy.take(trunk.name, limits_of(trunk), self._id, now)
        if not why and not leg.is_redirected:
            why = shared.health.begin(target.key, now, leg.name)
        if why:
            return NotSent(action.leg, why)
        plan = sdp_plan_of(trunk, opened.address, opened.port)
        host = trunk.domain or place.host
        shared.owns(leg.key, self)
        self._tell(Trying(trunk.name, place.label))
        try:
            await self._sip.invite(
                uri, plan, leg.key, headers_of(trunk, target.dialled, host, self._diverted_from),
                route=place.uri, from_uri=from_of(trunk, target.dialled, host),
                account=account_name(trunk, target.dialled.from_e164),
                # not to where a redirect leads: whoever answers there has no claim to the credential
                authenticated=not leg.is_redirected,
            )  # fmt: skip
        except SipuaError as error:
            log.warning("call=%s > INVITE was not sent: %s", leg.key, error)
            return Failed(action.leg, Fault.TRANSPORT)
        shared.occupancy.made(leg.name)
        return None

    async def _aim(self, action: Invite, trunk: Trunk) -> tuple[str, Address]:
        """Request-URI and address of an INVITE."""
        if not action.redirected_to:
            host = trunk.domain or action.target.to.host
            return f"sip:{action.target.dialled.to_user}@{host}", action.target.to
        place = await redirected_to(action.redirected_to, trunk, action.target.to)
        return action.redirected_to, place

    def _record(self, record: Record, now: float) -> None:
        leg, decision = self._legs[record.leg], record.decision
        if decision.verdict is not Verdict.ANSWERED:
            self._close_sockets(leg)
        if record.is_of_target:
            self._dialler.health.report(record.target.key, now, leg.name, decision)
        if decision.alert:
            log.error(
                "trunk %s: %s (SIP %d): somebody must look", leg.target.trunk, decision.reason, record.code
            )
        made = AttemptMade(
            record.target.trunk, record.target.to.label, record.code, decision.reason, record.ms,
            decision.verdict.value,
        )  # fmt: skip
        self.attempts.append(made)
        self._tell(made)
        if decision.alert:
            self._tell(Alerted(made.trunk, made.reason))

    def _close_sockets(self, leg: _Leg) -> None:
        if leg.sockets is None:
            return
        if self._early_media is not None and leg.is_heard:
            self._early_media.silence()
        else:
            self._dialler.ports.give_back(leg.sockets)
        leg.sockets = None


def _final(number: int, event: LegChanged) -> Event:
    """How a leg ended that was not answered: what the peer said, or why nothing came from it."""
    if event.is_untrusted:
        return Failed(number, Fault.TLS)
    if event.headers is None and event.code in _FAULTS:
        return Failed(number, _FAULTS[event.code])
    return Final(number, event.code if event.code >= 300 else 500, event.headers)
