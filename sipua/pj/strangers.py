"""Requests of strangers that pjsua would answer by itself: 200 to a MESSAGE, 400 to a SUBSCRIBE, by its own lights.

This module of pjsip's looks at requests before the transactions and pjsua do. What is no part of a dialog and comes
from nobody that we know is refused with 403, without a transaction. INVITE has a way of its own (``admit``); OPTIONS
and NOTIFY are answered to everybody (monitors, message waiting), REGISTER to nobody. An INFO outside a dialog, which
pjsua would not answer at all, gets 481 from us if its sender is known.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import Any

import pjsua2 as pj

from sipua.pj.build import c_library
from sipua.pj.directors import wire_text
from sipua.pj.module import Hook, PjsipModule, description_of, sip_endpoint
from sipua.sip_message import SipMessage, parse_message

log = logging.getLogger(__name__)

CODE = 403
NO_DIALOG = 481  # RFC 2976 section 2.2
_REQUEST = b"Request msg "
_LEFT_ALONE = frozenset({b"INVITE", b"ACK", b"CANCEL", b"BYE", b"PRACK", b"OPTIONS", b"NOTIFY", b"REGISTER"})

IsKnown = Callable[[Any, SipMessage], bool]  # a SipRxData and what it says
Tell = Callable[[Any, SipMessage], None]


class StrangerGuard:
    """Keep it until the library is destroyed. All of it runs on the pjsua2 thread."""

    def __init__(self, is_known: IsKnown, tell: Tell) -> None:
        self._is_known = is_known
        self._tell = tell
        self._module = PjsipModule.of(b"sipua-strangers", on_rx_request=Hook(self._is_refused))

    def install(self) -> None:
        """Once there are accounts that somebody may be known by."""
        if not self._module.register():
            log.error(
                "pjsip takes no module of ours: strangers are answered as pjsua sees fit, 200 to a MESSAGE"
            )

    def _is_refused(self, request: int) -> int:
        """The hook: 1 if the request has had its answer."""
        method = description_of(request).removeprefix(_REQUEST).partition(b"/")[0]
        if method in _LEFT_ALONE:
            return 0
        received = _received(request)
        message = parse_message(wire_text(received.wholeMsg))
        if ";tag=" in (message.header("to") or "").replace(" ", "").lower():
            return 0
        if not self._is_known(received, message):
            _respond(request, CODE)
            self._tell(received, message)
            return 1
        if method == b"INFO":
            _respond(request, NO_DIALOG)
            return 1
        return 0


def _respond(request: int, code: int) -> None:
    respond = c_library().pjsip_endpt_respond_stateless
    respond.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, *[ctypes.c_void_p] * 3)
    respond(sip_endpoint(), request, code, None, None, None)


def _received(request: int) -> Any:
    """pjsua2's own view of a pjsip_rx_data: SipRxData::fromPj, which Python is not offered."""
    received = pj.SipRxData()
    fill = c_library()._ZN2pj9SipRxData6fromPjER13pjsip_rx_data
    fill.argtypes, fill.restype = (ctypes.c_void_p, ctypes.c_void_p), None
    fill(int(received.this), request)
    return received
