"""The SIP endpoint: what asyncio may ask of pjsua2, and the turns of the thread that owns it.

All pjsua2 objects live and die on one thread (``sipua.pj.thread``), which alternates between ``libHandleEvents`` and
the commands of asyncio. ``SipEvent``s come back through ``loop.call_soon_threadsafe``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pjsua2 as pj

from sipua.errors import LocalError
from sipua.pj.account_directors import AccountDirector, EndpointDirector
from sipua.pj.accounts import Accounts
from sipua.pj.arrival import Arrivals
from sipua.pj.build import library_facts, max_accounts
from sipua.pj.certificates import Refusals
from sipua.pj.directors import CallDirector, split_address, wire_text
from sipua.pj.intervals import IntervalGuard
from sipua.pj.listeners import Listeners
from sipua.pj.parameters import operation
from sipua.pj.resolver import Answer, Found, Lookup, NameResolver, system_addresses
from sipua.pj.startup import EndpointConfig, init_library, start_library
from sipua.pj.strangers import CODE, StrangerGuard
from sipua.pj.thread import LibraryThread
from sipua.sip_account import Account, Listener
from sipua.sip_events import (
    Arrival,
    EndpointFailed,
    IncomingCall,
    LegChanged,
    LegState,
    OptionsAnswered,
    Refusal,
    RegistrationAnswered,
    RejectedCall,
    RejectedRequest,
    SdpPlan,
    SipEvent,
)
from sipua.sip_message import SipMessage, parse_message

if TYPE_CHECKING:
    from sipua.admission import Grant

log = logging.getLogger(__name__)

POLL_MS = 5  # wait in libHandleEvents: mean wait of a command 2.5 ms, idle cost 1.6 % of a core (2 ms: 2.7 %)
LAST_CALLS_S = 2.0  # how long stop() waits for BYE answers

Admit = Callable[[Arrival, SipMessage], "Grant | Refusal"]
# source, local address (port 0 if it is none of our listeners'), transport, INVITE -> name of the account
Select = Callable[[tuple[str, int], tuple[str, int], str, SipMessage], "str | None"]


class SipEndpoint:
    """One pjsua2 endpoint per process.

    ``select`` names the account of an INVITE and ``admit`` decides about it, both on the pjsua2 thread (they must be
    quick and thread-safe); ``deliver`` gets every event on the asyncio loop, in order. ``look_up`` is asked on the loop
    for names that no call was aimed at; what it does not know the system is asked for.
    """

    def __init__(
        self,
        config: EndpointConfig,
        admit: Admit,
        deliver: Callable[[SipEvent], None],
        select: Select = lambda source, local, transport, message: None,
        look_up: Lookup = system_addresses,
    ) -> None:
        self._config = config
        self._look_up = look_up
        self._admit = admit
        self._select = select
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._thread = LibraryThread(
            self._start_library,
            self._serve,
            self._destroy_library,
            lambda failure: self.post(EndpointFailed(failure)),
        )
        self._posted = self._delivered = 0  # events: by the SIP thread, on the loop
        # touched by the pjsua2 thread only
        self._calls: dict[UUID, CallDirector] = {}
        self._removed: list[UUID] = []
        self._ending: list[tuple[UUID, int, Sequence[tuple[str, str]]]] = []
        self._last_invite: tuple[str | None, ...] = ()
        self._endpoint: EndpointDirector | None = None
        self._listeners: Listeners | None = None
        self._accounts: Accounts | None = None
        self._arrivals: Arrivals | None = None
        self._questions = 0  # of pjsip's, for addresses, that have no answer yet
        self._resolver = NameResolver(self._ask_for)
        self._refusals = Refusals()
        self._intervals = IntervalGuard()
        self._strangers = StrangerGuard(self._is_known, self._turned_away)

    # ---- asyncio side -------------------------------------------------------------------------------------

    async def start(self) -> tuple[str, int]:
        """Starts the thread and the library; (address, port) it listens on. LocalError if the port is in use."""
        return await self._thread.start()

    async def stop(self) -> None:
        """Hangs up what is left, destroys the library on its own thread, joins the thread."""
        await self._thread.stop()

    def waiting(self) -> tuple[int, int]:
        """Commands for the SIP thread, and events of it, that wait."""
        return self._thread.waiting, max(0, self._posted - self._delivered)

    async def settle(self) -> None:
        """Returns once everything that the SIP thread had decided before has been delivered."""
        with contextlib.suppress(LocalError):
            await self._thread.submit(lambda: None)

    async def answer(self, key: UUID) -> None:
        """200 OK with our SDP."""

        def command() -> None:
            call = self._call(key)
            call.answer(operation(200))
            call.owes_final = False

        await self._thread.submit(command)

    async def hang_up(
        self, key: UUID, code: int = 0, *, phrase: str = "", headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Ends the leg in whatever state it is: final response ``code``, CANCEL or BYE. Gone calls are no error."""

        def command() -> None:
            call = self._calls.get(key)
            if call is not None:
                _end(call, code, phrase, headers)

        await self._thread.submit(command)

    async def refer(self, key: UUID, target_uri: str) -> None:
        """Asks the far end to call ``target_uri`` instead (blind transfer); how it goes comes as TransferProgress."""
        await self._thread.submit(lambda: self._call(key).refer(target_uri))

    async def press(self, key: UUID, digit: str, duration_ms: int) -> None:
        """Sends a key by INFO; the answer comes as KeyAnswered. One at a time."""

        def command() -> None:
            call = self._call(key)
            call.info.send(call, digit, duration_ms)

        await self._thread.submit(command)

    async def reinvite(self, key: UUID, address: str = "") -> None:
        """Offers anew, with our Contact of now; ``address`` is where our RTP is from now on, "" as before."""

        def command() -> None:
            call = self._call(key)
            if address:
                assert call.plan is not None
                call.plan = replace(call.plan, address=address)
            op = operation()
            op.opt.flag |= pj.PJSUA_CALL_UPDATE_CONTACT | pj.PJSUA_CALL_UPDATE_VIA
            call.reinvite(op)

        await self._thread.submit(command)

    async def set_accounts(self, accounts: Sequence[Account]) -> None:
        """These besides the endpoint's own, with the listeners that they need; again at will.

        ConfigError if the build has not so many or two contradict each other, LocalError if a port is taken: then those
        before stay. What is up keeps its account until it has ended.
        """

        def command() -> None:
            self._of_library().set(accounts, self._calls.values())
            self._resolver.trusted = frozenset(name for each in accounts for name in each.tls_names)

        await self._thread.submit(command)

    async def register(self, account: str, expires_s: int) -> None:
        """Sends REGISTER (0 unregisters); the answer comes as RegistrationAnswered. pjsua repeats nothing."""
        await self._thread.submit(lambda: self._of_library().register(account, expires_s))

    async def options(self, uri: str, token: UUID, account: str) -> None:
        """Sends OPTIONS to ``uri`` (as the ``route`` of an INVITE); the answer comes as OptionsAnswered."""
        await self._thread.submit(lambda: self._of_library().ask(account, self._resolver.aim(uri), token))

    async def invite(
        self,
        uri: str,
        plan: SdpPlan,
        key: UUID,
        headers: Sequence[tuple[str, str]] = (),
        *,
        route: str = "",
        from_uri: str = "",
        account: str = "",
        authenticated: bool = True,
    ) -> None:
        """Sends an INVITE; progress arrives as LegProgress and LegChanged events for ``key``.

        ``route`` (``sip:192.0.2.1:5060;transport=udp``) is where it goes, whatever host the Request-URI names; with
        ``sip:NAME:5061;transport=tls;maddr=192.0.2.1`` the certificate there must be that of NAME.
        ``from_uri`` is written into From, in place of the account's own. Without ``authenticated`` a challenge is not
        answered.
        """

        def command() -> None:
            # pjsip takes Routes from the URI's headers for the first request alone; ";hide" keeps one off the wire
            accounts = self._of_library()
            hidden = (f"<{self._resolver.place(route)};lr;hide>",) if route else ()
            routes = (*hidden, *accounts.service_route_of(account))
            target = (
                "?".join((uri, "&".join(f"Route={quote(each, safe='')}" for each in routes)))
                if routes
                else uri
            )
            director = accounts.named(account, authenticated=authenticated)
            call = CallDirector(director, pj.PJSUA_INVALID_ID, key, self)
            call.plan = plan
            self._calls[key] = call
            op = operation(headers=(*accounts.headers_of(account), *headers))
            op.txOption.localUri = from_uri
            try:
                call.makeCall(target, op)
            except BaseException:
                self._removed.append(key)
                raise

        await self._thread.submit(command)

    # ---- pjsua2 thread --------------------------------------------------------------------------------------

    def post(self, event: SipEvent) -> None:
        """CallOwner: hands an event to the loop (a closed loop means the process is ending)."""
        try:
            self._loop.call_soon_threadsafe(self._hand_over, self._explained(event))
            self._posted += 1
        except RuntimeError:
            log.debug("event after the loop ended: %s", type(event).__name__)

    def _hand_over(self, event: SipEvent) -> None:
        self._delivered += 1
        self._deliver(event)

    def _explained(self, event: SipEvent) -> SipEvent:
        """What became of a request, with the reason where a TLS peer of its trunk was refused."""
        name = ""
        if isinstance(event, RegistrationAnswered | OptionsAnswered):
            name = event.account
        elif isinstance(event, LegChanged) and event.key in self._calls:
            name = self._calls[event.key].account.name
        return (
            self._refusals.explained(event, self._of_library().tls_names_of(name), time.monotonic())
            if name
            else event
        )

    def gone(self, key: UUID) -> None:
        """CallOwner: the Call may be deleted once libHandleEvents has returned."""
        self._removed.append(key)

    def broken(self, key: UUID, code: int) -> None:
        """CallOwner: a callback failed; the call cannot be trusted any more and ends once pjsua has the turn back."""
        self._ending.append((key, code, ()))

    def _call(self, key: UUID) -> CallDirector:
        call = self._calls.get(key)
        if call is None:
            raise LocalError("the SIP leg has already ended")
        return call

    def _of_library(self) -> Accounts:
        assert self._accounts is not None
        return self._accounts

    def _ask_for(self, host: str, port: int, transport: str, answer: Answer) -> None:
        """NameResolver: the look-up happens on the loop, its answer comes back here."""

        def tell(found: Found) -> None:
            self._questions -= 1
            answer(found)

        async def work() -> None:
            found: Found = ()
            try:
                found = await self._look_up(host, port, transport) or await system_addresses(
                    host, port, transport
                )
            finally:
                with contextlib.suppress(LocalError):
                    await self._thread.submit(lambda: tell(found))

        self._questions += 1
        asyncio.run_coroutine_threadsafe(work(), self._loop)

    def _select_account(self, rdata: Any) -> int:
        """The account id of a request; what is no INVITE stays with the default account."""
        text = wire_text(rdata.wholeMsg)
        name = self._chosen(rdata, parse_message(text)) if text.startswith("INVITE ") else None
        return self._of_library().id_of(name)

    def _chosen(self, rdata: Any, message: SipMessage) -> str | None:
        local, transport = self._arrival(rdata)
        return self._select(split_address(rdata.srcAddress), local, transport, message)

    def _is_known(self, rdata: Any, message: SipMessage) -> bool:
        """Whether a request that is no INVITE comes from one of our trunks; its body is no matter of ``select``'s."""
        return self._chosen(rdata, replace(message, body="")) is not None

    def _turned_away(self, rdata: Any, message: SipMessage) -> None:
        method = message.start_line.partition(" ")[0]
        self.post(RejectedRequest(CODE, method, split_address(rdata.srcAddress)))

    def _arrival(self, rdata: Any) -> tuple[tuple[str, int], str]:
        """(address, port of a listener of ours or 0) and transport."""
        assert self._arrivals is not None
        assert self._listeners is not None
        (address, port), transport = self._arrivals.of(rdata)
        return (address, self._listeners.port_at(transport, port)), transport

    def _on_invite(self, account: AccountDirector, call_id: int, rdata: Any) -> None:
        now = time.monotonic()
        key = uuid4()
        call = CallDirector(account, call_id, key, self)
        self._calls[key] = call  # first of all: a Call that nobody keeps is answered 603 by pjsua
        call.owes_final = True
        source, message = split_address(rdata.srcAddress), parse_message(wire_text(rdata.wholeMsg))
        self._last_invite = _dialog_of(message)
        try:
            verdict = self._admit(Arrival(source, *self._arrival(rdata), account.name), message)
            if isinstance(verdict, Refusal):
                call.muted = True
                self.post(RejectedCall(verdict.code, verdict.reason, source, message, True, verdict.trunk))
                # not within the callback: PyPI's build asserts there when the INVITE had no SDP
                self._ending.append((key, verdict.code, verdict.headers))
                return
            call.plan = verdict.plan
            self.post(IncomingCall(key, source, message, verdict, now))
            call.answer(operation(183 if verdict.has_early_media else 180))
        except BaseException:  # the caller must not be left ringing
            self.broken(key, 500)
            raise

    def _rejected(self, code: int, reason: str, rdata: Any) -> None:
        """What pjsua refused: a session that is too brief after onIncomingCall, whose call tells its end."""
        message = parse_message(wire_text(rdata.wholeMsg))
        if _dialog_of(message) != self._last_invite:
            trunk = self._of_library().trunk_of(self._chosen(rdata, message))
            source = split_address(rdata.srcAddress)
            self.post(RejectedCall(code, reason, source, message, trunk=trunk))

    def _start_library(self) -> tuple[str, int]:
        config = self._config
        endpoint = self._endpoint = EndpointDirector(
            self._rejected, self._select_account, self._resolver.expected, self._refusals
        )
        init_library(endpoint, config)
        is_ours = self._resolver.install()
        self._intervals.install()
        self._listeners = Listeners(
            endpoint, has_tls13=library_facts().has_current_tls, compares_names=not is_ours
        )
        own = Listener("udp", config.bind, config.port, config.public_address, config.dscp)
        opened = self._listeners.open(own)
        start_library(endpoint, config)
        self._arrivals = Arrivals(opened.address)
        self._accounts = Accounts(
            self._listeners,
            own,
            config.contact_user,
            max_accounts(),
            self._on_invite,
            self.post,
            has_one_listener=not self._arrivals.is_reliable,
        )
        self._strangers.install()
        return opened.published

    def _serve(self) -> None:
        assert self._endpoint is not None
        while not self._thread.is_stopping:
            self._turn()
        for key in self._calls:
            self.broken(key, 503)
        give_up = time.monotonic() + LAST_CALLS_S
        # pjsua forgets a call when it hangs up; its BYE may still wait for the address of a name
        while (self._calls or self._questions) and time.monotonic() < give_up:
            self._turn()

    def _turn(self) -> None:
        assert self._endpoint is not None
        self._endpoint.libHandleEvents(POLL_MS)
        self._forget_removed()
        while self._ending:
            self._end_later(*self._ending.pop())
        self._thread.run_commands()
        # a command may have ended a call; its object must go before the next round, not inside a callback
        self._forget_removed()

    def _forget_removed(self) -> None:
        while self._removed:
            call = self._calls.pop(self._removed.pop(), None)
            if call is not None:
                call.account.call_is_over()
            del call  # it must not outlive the library
        if self._accounts is not None:
            self._accounts.sweep(self._calls.values())

    def _end_later(self, key: UUID, code: int, headers: Sequence[tuple[str, str]]) -> None:
        call = self._calls.get(key)
        if call is None:
            return
        try:
            _end(call, code, "", headers)
        except pj.Error as error:
            log.warning("call=%s could not be ended: %s", key, error.reason)

    def _destroy_library(self) -> None:
        """Calls, library, accounts, endpoint: in this order, or a destructor asserts.

        An account that is shut down before libDestroy aborts PyPI's wheel if a request of it is open.
        """
        for key in self._calls:  # never the objects: a name here would outlive the library
            self.post(LegChanged(key, LegState.DISCONNECTED, 503, "endpoint stopped", time.monotonic()))
        self._calls.clear()
        try:
            if self._endpoint is not None:
                self._endpoint.libDestroy()
        except pj.Error as error:
            log.warning("pjsua2 did not end cleanly: %s", error.reason)
        if self._accounts is not None:
            self._accounts.clear()
        self._accounts = self._listeners = None
        self._endpoint = None


def _end(call: CallDirector, code: int, phrase: str = "", headers: Sequence[tuple[str, str]] = ()) -> None:
    """Final response, CANCEL or BYE, once. Refusals go through ``answer``: ``hangup`` loses their headers."""
    if call.hung_up:
        return
    call.hung_up = True
    try:
        if call.owes_final and code >= 300:
            call.answer(operation(code, phrase, headers))
        else:
            call.hangup(operation(code, phrase))
    except pj.Error:
        call.hung_up = False  # nothing has left: whoever tries next may
        raise


def _dialog_of(message: SipMessage) -> tuple[str | None, ...]:
    """What tells one INVITE from the others."""
    return tuple(message.header(name) for name in ("call-id", "cseq", "from"))
