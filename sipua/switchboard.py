"""Where SIP events become calls: starts one coroutine per admitted INVITE and hands each leg its events.

Knows which calls are up; ends them when the process ends. One per process, made by the composition root.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from sipua.admission import Admission
from sipua.call import Call
from sipua.call_leg import CallLeg
from sipua.call_services import CallServices
from sipua.call_state import Phase
from sipua.clock import CallClock
from sipua.dialler import Dialler
from sipua.digest import Proof
from sipua.errand import Errand
from sipua.errors import LocalError, SipuaError
from sipua.inbound import Inbound
from sipua.locale import country_of, locale_of
from sipua.outcome import OPERATOR_HUNG_UP, OPERATOR_HUNG_UP_RINGING, Status, ending_of_code
from sipua.placed import Placed
from sipua.ports import CallOpening, Ledger
from sipua.seldom import Seldom
from sipua.sip_events import (
    EndpointFailed,
    IncomingCall,
    KeyPressed,
    LegChanged,
    LegState,
    MediaChanged,
    RejectedCall,
    RejectedRequest,
    SipEvent,
    TransferProgress,
)
from sipua.sip_message import SipMessage, mask_number, parse_uri, phone_number
from sipua.trunk import CARRIER_SID_HEADERS, PARENT_SID_HEADER, Trunk
from sipua.trunks.routing import Route

log = logging.getLogger(__name__)

STRANGERS_METHODS = frozenset({"MESSAGE", "SUBSCRIBE", "PUBLISH", "INFO", "REFER", "UPDATE"})


class NoRoute(LocalError):
    """No trunk may carry a call to this number now; says why of each."""

    reason = "no_route"

    def __init__(self, to: str, route: Route) -> None:
        reasons = "; ".join(
            f"{each.trunk}{f' {each.address}' if each.address else ''}: {each.reason}"
            for each in route.rejected
        )
        super().__init__(f"{to!r}: no trunk may carry the call: {reasons or 'there is none'}")


class Switchboard:
    """``services`` is set once the SIP endpoint exists (it needs ``on_sip_event`` to be made)."""

    def __init__(
        self,
        ledger: Ledger,
        admission: Admission,
        dialler: Dialler,
        on_failure: Callable[[str], None],
    ) -> None:
        self.services: CallServices | None = None
        self._ledger = ledger
        self._admission = admission
        self._dialler = dialler
        self._on_failure = on_failure
        self._calls: dict[UUID, Call] = {}
        self._legs: dict[UUID, CallLeg] = {}  # of calls that came in
        self._tokens: dict[
            UUID, UUID
        ] = {}  # of legs that pjsua has not reported gone: they outlive their calls
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusals = Seldom()
        self._is_ending = False

    @property
    def calls_up(self) -> int:
        return len(self._calls)

    def on_sip_event(self, event: SipEvent) -> None:
        """Called on the loop, in order, for everything that the SIP thread reports."""
        match event:
            case IncomingCall():
                self._begin(event)
            case LegChanged() | MediaChanged() | KeyPressed() | TransferProgress():
                if isinstance(event, LegChanged) and event.state is LegState.DISCONNECTED:
                    self._vacate(event.key)
                leg = self._legs.get(event.key)
                if leg is not None:
                    leg.deliver(event)
            case RejectedCall():
                self._refused(event)
            case RejectedRequest():
                self._turned_away(event)
            case EndpointFailed(message):
                self._on_failure(message)

    def place(
        self, to: str, caller: str, only: str, *, errand: Errand | None = None, id: UUID | None = None
    ) -> tuple[Call, Placed]:
        """Begins a call to a number, from ``caller`` or the trunk's own, on the trunk ``only`` if named.

        NoRoute if no trunk may carry it now; that is counted and leaves no row, since nothing was tried.
        """
        if self.services is None or self._is_ending or self._admission.draining.is_set():
            raise LocalError("the agent is starting or ending: it places no calls now")
        if id in self._calls:
            raise LocalError(f"call {id} is up already")
        route = self._dialler.route(to, caller, only)
        if not route.targets:
            self.services.metrics.calls.labels("outbound", "", Status.FAILED.value, NoRoute.reason).inc()
            raise NoRoute(to, route)
        services = _for_one_call(self.services)
        record = self._ledger.open(opening_of_route(id or uuid4(), route, errand), services.clock.now())
        way = Placed(self._dialler, services.legs, route, record, services)
        call = self._calls[record.id] = Call(way, record, services, Phase.DIALLING)
        log.info("call=%s to %s", record.id, mask_number(route.to_e164))
        self._start(self._run(call), f"call-{record.id}")
        return call, way

    def call_ids(self) -> frozenset[str]:
        """Of the calls that are up."""
        return frozenset(map(str, self._calls))

    def hang_up(self, id: UUID) -> bool:
        """An operator ends a call; False: it is not up here."""
        call = self._calls.get(id)
        if call is None:
            return False
        log.info("call=%s is ended by an operator", id)
        call.stop(OPERATOR_HUNG_UP, OPERATOR_HUNG_UP_RINGING)
        return True

    async def own_address_changed(self, trunks: Collection[str], address_of: Callable[[Trunk], str]) -> None:
        """Every call of these trunks that is up is offered our new address."""
        assert self.services is not None
        for leg in [each for call in self._calls.values() for each in call.legs]:
            if not leg.is_answered or leg.trunk.name not in trunks:
                continue
            try:
                await self.services.legs.reinvite(leg.key, address_of(leg.trunk))
                log.info("call=%s > re-INVITE with our new address", leg.key)
            except SipuaError as error:  # it has just ended, or has a re-INVITE under way
                log.warning("call=%s > our new address could not be offered: %s", leg.key, error)

    async def end_all(self) -> None:
        """Hangs up every call and waits until each has closed its row; one that still comes ends at once."""
        self._is_ending = True
        for call in list(self._calls.values()):
            call.stop()
        if self.services is not None:
            await self.services.legs.settle()  # an INVITE may have been let in just before draining began
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, invite: IncomingCall) -> None:
        assert self.services is not None
        self._tokens[invite.key] = invite.grant.token
        try:
            call = self._opened(invite)
        except Exception:  # the call task's guard; there is no task yet
            log.exception("call=%s could not be begun", invite.key)
            self._give_up(invite)
            return
        self._calls[invite.key] = call
        if self._is_ending:
            call.stop()
        self._start(self._run(call), f"call-{invite.key}")

    def _opened(self, invite: IncomingCall) -> Call:
        assert self.services is not None
        trunk = invite.grant.trunk
        opening = opening_of(invite.key, invite.message, invite.source, trunk)
        log.info(
            "call=%s < INVITE from %s by trunk %s, codec %s",
            invite.key, mask_number(opening.from_number), trunk.name, invite.grant.codec,
        )  # fmt: skip
        services = _for_one_call(self.services)
        record = self._ledger.open(opening, services.clock.now())
        way = Inbound(invite, services)
        self._legs[invite.key] = way.leg
        return Call(way, record, services, Phase.INCOMING)

    def _give_up(self, invite: IncomingCall) -> None:
        """Nobody will look after this leg: its sockets are closed and the caller gets 500."""
        assert self.services is not None
        self.services.ports.give_back(invite.grant.sockets)
        self._start(self.services.legs.hang_up(invite.key, 500), f"refuse-{invite.key}")

    def _vacate(self, key: UUID) -> None:
        token = self._tokens.pop(key, None)
        if token is not None:
            self._admission.occupancy.leave(token)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, call: Call) -> None:
        try:
            ending = await call.run()
            log.info("call=%s ended: %s (%s)", call.key, ending.status.value, ending.reason)
        except Exception:
            log.exception("call=%s failed by a bug", call.key)
        finally:
            del self._calls[call.key]
            self._legs.pop(call.key, None)

    def _refused(self, event: RejectedCall) -> None:
        assert self.services is not None
        trunk = self._admission.trunk_named(event.trunk)
        self.services.metrics.rejected.labels(str(event.code), "us" if event.by_us else "pjsua").inc()
        if event.code == 401 and event.reason == Proof.NOT_TRIED.value:
            return  # the first half of every call with digest
        unsaid = self._refusals.unsaid((event.source[0], event.code), time.monotonic())
        if unsaid is not None:
            log.warning(
                "< INVITE from %s:%d refused with %d: %s%s",
                *event.source,
                event.code,
                event.reason,
                f" ({unsaid} like it were not logged)" if unsaid else "",
            )
        if trunk is None or event.code == 401:
            return  # a stranger, or who does not prove to be anybody else, leaves a count and a log line, no row
        opening = opening_of(uuid4(), event.message, event.source, trunk)
        self._ledger.refused(opening, self.services.clock.now(), ending_of_code(event.code, event.reason))

    def _turned_away(self, event: RejectedRequest) -> None:
        """A count and a log line; a stranger names no method of metrics."""
        assert self.services is not None
        method = event.method if event.method in STRANGERS_METHODS else "other"
        self.services.metrics.rejected_requests.labels(str(event.code), method).inc()
        unsaid = self._refusals.unsaid((event.source[0], method), time.monotonic())
        if unsaid is not None:
            log.warning(
                "< %s from %s:%d refused with %d: source is on no trunk's ACL%s",
                method, *event.source, event.code, f" ({unsaid} like it were not logged)" if unsaid else "",
            )  # fmt: skip


def _for_one_call(services: CallServices) -> CallServices:
    return replace(services, clock=CallClock(services.clock))


def opening_of(key: UUID, message: SipMessage, source: tuple[str, int], trunk: Trunk) -> CallOpening:
    """What the INVITE says about the call."""
    from_value, to_value = message.header("from") or "", message.header("to") or ""
    from_uri, to_uri = parse_uri(from_value), parse_uri(to_value)
    from_number = phone_number(from_uri.user) if from_uri else None
    to_number = phone_number(to_uri.user) if to_uri else None
    sid_header = CARRIER_SID_HEADERS.get(trunk.provider)
    return CallOpening(
        id=key,
        direction="inbound",
        from_uri=f"{from_uri.scheme}:{from_uri.user}@{from_uri.host}" if from_uri else from_value[:256],
        to_uri=f"{to_uri.scheme}:{to_uri.user}@{to_uri.host}" if to_uri else to_value[:256],
        from_number=from_number,
        to_number=to_number,
        sip_call_id=message.header("call-id") or str(key),
        carrier_sid=(message.header(PARENT_SID_HEADER) or message.header(sid_header)) if sid_header else None,
        provider=trunk.provider,
        trunk=trunk.name,
        locale=locale_of(from_number),
        country=country_of(from_number),
        source=f"{source[0]}:{source[1]}",
    )


def opening_of_route(key: UUID, route: Route, errand: Errand | None = None) -> CallOpening:
    """What is known of an outbound call before its first INVITE."""
    first = route.targets[0]
    from_number, to_number = first.dialled.from_e164, route.to_e164
    return CallOpening(
        id=key,
        direction="outbound",
        from_uri=f"sip:{first.dialled.from_user}@{first.to.host}",
        to_uri=f"sip:{first.dialled.to_user}@{first.to.host}",
        from_number=from_number,
        to_number=to_number,
        sip_call_id="",
        carrier_sid=None,
        provider="",
        trunk="",
        locale=locale_of(to_number),
        country=country_of(to_number),
        source="",
        errand=errand or Errand(),
    )
