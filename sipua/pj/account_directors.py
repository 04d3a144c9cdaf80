"""The directors of accounts and of the endpoint: INVITEs, answers to REGISTER and OPTIONS, what pjsua refuses.

The rules of ``sipua.pj.directors`` hold here too.
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pjsua2 as pj

from sipua.pj.build import c_library
from sipua.pj.certificates import Expected, Refusals, why_not
from sipua.pj.directors import guarded, split_address, wire_text
from sipua.pj.parameters import header_vector
from sipua.sip_events import OptionsAnswered, RegistrationAnswered, SipEvent
from sipua.sip_message import parse_message

log = logging.getLogger(__name__)

TIMER_B_S = 34.0  # RFC 3261 section 17.1.1.2: 64 T1 = 32 s, and what was measured on top


class AccountDirector(pj.Account):  # type: ignore[misc]
    """One account for calls and OPTIONS; ``name`` "" is the endpoint's own.

    ``on_invite(account, call_id, rdata)`` must create and keep the CallDirector.
    """

    def __init__(
        self,
        name: str,
        on_invite: Callable[[AccountDirector, int, Any], None],
        post: Callable[[SipEvent], None],
    ) -> None:
        super().__init__()
        self.name = name
        self._on_invite = on_invite
        self._post = post
        self._call_over_at = float("-inf")
        self._asked: dict[
            int, tuple[UUID, Any]
        ] = {}  # open requests by the address that is their token for pjsua

    def call_is_over(self) -> None:
        """A call of it has been reported gone; an abandoned INVITE of it may still be open."""
        self._call_over_at = time.monotonic()

    @property
    def is_awaited(self) -> bool:
        """Whether pjsua may yet have something to say about a request of it."""
        return bool(self._asked) or time.monotonic() - self._call_over_at < TIMER_B_S

    def ask(self, uri: str, token: UUID, headers: Sequence[tuple[str, str]]) -> None:
        """Sends OPTIONS; its end comes as OptionsAnswered."""
        request = pj.SendRequestParam()
        request.method = "OPTIONS"
        request.txOption.targetUri = uri
        request.txOption.headers = header_vector(headers)
        mark = pj.StringVector()  # any object of C++: pjsua hands its address back
        request.userData = mark
        self._asked[int(mark.this)] = token, mark
        try:
            self.sendRequest(request)
        except pj.Error:
            self._asked.pop(int(mark.this), None)
            raise

    @guarded
    def onSendRequest(self, prm: Any) -> None:  # noqa: N802
        token, _ = self._asked.pop(int(prm.userData))
        state = prm.e.body.tsxState
        is_answer = state.type == pj.PJSIP_EVENT_RX_MSG
        headers = parse_message(wire_text(state.src.rdata.wholeMsg)).headers if is_answer else None
        self._post(OptionsAnswered(token, state.tsx.statusCode, state.tsx.statusText, headers, self.name))

    @guarded
    def onIncomingSubscribe(self, prm: Any) -> None:  # noqa: N802
        """SUBSCRIBE: pjsua would accept it from anybody and send NOTIFYs wherever its Contact points."""
        prm.code = 403

    @guarded
    def onIncomingCall(self, prm: Any) -> None:  # noqa: N802
        self._on_invite(self, prm.callId, prm.rdata)


class RegistrationDirector(pj.Account):  # type: ignore[misc]
    """The account of a REGISTER, apart from that of the calls: its proxies and Service-Route must not steer INVITEs."""

    def __init__(self, name: str, answered: Callable[[RegistrationAnswered], None]) -> None:
        super().__init__()
        self.name = name
        self._answered = answered

    @guarded
    def onRegState(self, prm: Any) -> None:  # noqa: N802
        text = wire_text(prm.rdata.wholeMsg)
        headers = parse_message(text).headers if text else None
        self._answered(RegistrationAnswered(self.name, prm.code, prm.reason, headers))

    @guarded
    def onIncomingSubscribe(self, prm: Any) -> None:  # noqa: N802
        prm.code = 403


class EndpointDirector(pj.Endpoint):  # type: ignore[misc]
    """The one Endpoint of the process. ``select(rdata)`` names the account id of an INVITE.

    ``expected`` has the names that a TLS peer may show; see ``certificates``.
    """

    def __init__(
        self,
        rejected: Callable[[int, str, Any], None],
        select: Callable[[Any], int],
        expected: Expected,
        refusals: Refusals,
    ) -> None:
        super().__init__()
        self._expected = expected
        self._refusals = refusals
        # pjsua2's own transportShutdown does not take the handle that 2.17 gives; a start without it must fail
        self._shut_down = c_library().pjsip_transport_shutdown
        self._shut_down.argtypes = (ctypes.c_void_p,)
        self._rejected = rejected
        self._select = select

    @guarded
    def onTransportState(self, prm: Any) -> None:  # noqa: N802
        """A TLS handshake is over: whoever is not the one that was meant hears nothing of us."""
        if prm.state != pj.PJSIP_TP_STATE_CONNECTED or not prm.type.upper().startswith("TLS"):
            return
        why = "it could not be verified"
        try:
            why = why_not(prm.tlsInfo, self._expected)
        finally:
            if why:
                self._shut_down(int(prm.hnd))
                names = self._expected(*split_address(prm.tlsInfo.remoteAddr)) or ()
                self._refusals.note(names, why, time.monotonic())
                log.error("TLS peer %s refused: %s", prm.tlsInfo.remoteAddr, why)

    @guarded
    def onSelectAccount(self, prm: Any) -> None:  # noqa: N802
        prm.accountIndex = self._select(prm.rdata)

    @guarded
    def onRejectedIncomingCall(self, prm: Any) -> None:  # noqa: N802
        self._rejected(prm.statusCode, prm.reason, prm.rdata)
