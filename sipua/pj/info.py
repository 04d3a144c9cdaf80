"""INFO within a dialog, both ways. Left alone, pjsua answers 200 to some keys, 400 to others and 500 to the rest.

The answer is given while pjsua tells of the transaction, before it looks at the request itself: it finds it answered
and leaves it. Retransmissions are pjsip's to answer.
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pjsua2 as pj

from sipua.info import RELAY, Headers, body_of, read_info
from sipua.pj.build import c_library
from sipua.sip_events import KeyAnswered, KeyPressed, SipEvent
from sipua.sip_message import SipMessage

log = logging.getLogger(__name__)

FASTEST = 20  # keys within a second
_TOO_FAST = 500  # with Retry-After: RFC 3261 section 14.2 has it for what comes too soon
_HEADER_BYTES = 256  # pjsip_generic_string_hdr has 80


class InfoRequests:
    """Those of one call. All of it runs on the pjsua2 thread."""

    def __init__(self, key: UUID, post: Callable[[SipEvent], None]) -> None:
        self._key = key
        self._post = post
        self._heard: deque[float] = deque(maxlen=FASTEST)
        self._is_asked = False  # one of ours waits for its answer

    def send(self, call: Any, digit: str, duration_ms: int) -> None:
        """One key; the answer comes as KeyAnswered."""
        request = pj.CallSendRequestParam()
        request.method = "INFO"
        request.txOption.contentType = RELAY
        request.txOption.msgBody = body_of(digit, duration_ms)
        self._is_asked = True  # before it: a transport that fails at once is told within the call
        call.sendRequest(request)

    def see(self, state: Any, parse: Callable[[str], SipMessage]) -> None:
        """A transaction of the call has moved: a TsxStateEvent."""
        tsx = state.tsx
        if tsx.method != "INFO":
            return
        if tsx.role == pj.PJSIP_ROLE_UAC:
            self._see_answer(tsx)
        elif tsx.state == pj.PJSIP_TSX_STATE_TRYING and state.type == pj.PJSIP_EVENT_RX_MSG:
            self._answer(state.src.rdata, parse)

    def _see_answer(self, tsx: Any) -> None:
        is_over = tsx.state in (pj.PJSIP_TSX_STATE_COMPLETED, pj.PJSIP_TSX_STATE_TERMINATED)
        if self._is_asked and is_over and tsx.statusCode not in (401, 407):  # those pjsip answers
            self._is_asked = False
            self._post(KeyAnswered(self._key, tsx.statusCode))

    def _answer(self, received: Any, parse: Callable[[str], SipMessage]) -> None:
        reading = read_info(parse(received.wholeMsg))
        now = time.monotonic()
        if reading.digit and len(self._heard) == FASTEST and now - self._heard[0] < 1.0:
            _respond(received, _TOO_FAST, (("Retry-After", "1"),))
            return
        _respond(received, reading.code, reading.headers)
        if reading.digit:
            self._heard.append(now)
            self._post(KeyPressed(self._key, reading.digit))
        elif reading.code != 200:
            log.warning("call=%s < INFO refused with %d", self._key, reading.code)


class _Text(ctypes.Structure):
    """pj_str_t."""

    _fields_ = (("data", ctypes.c_char_p), ("length", ctypes.c_ssize_t))

    @classmethod
    def of(cls, text: str) -> _Text:
        data = text.encode()
        return cls(data, len(data))


class _Links(ctypes.Structure):
    """pj_list: how every header begins."""

    _fields_ = (("previous", ctypes.c_void_p), ("next", ctypes.c_void_p))


def _respond(received: Any, code: int, headers: Headers) -> None:
    """The final response of the transaction that ``received``, a SipRxData, has begun; pjsip copies the headers."""
    library = c_library()
    request = int(received.pjRxData)
    library.pjsip_rdata_get_dlg.argtypes = (ctypes.c_void_p,)
    library.pjsip_rdata_get_dlg.restype = ctypes.c_void_p
    library.pjsip_generic_string_hdr_init2.argtypes = (ctypes.c_void_p,) * 3
    library.pjsip_generic_string_hdr_init2.restype = ctypes.c_void_p
    library.pjsip_dlg_respond.argtypes = (
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int,
        *[ctypes.c_void_p] * 3,
    )
    nodes = [_Links()]
    kept: list[Any] = []
    for name, value in headers:
        space, texts = ctypes.create_string_buffer(_HEADER_BYTES), (_Text.of(name), _Text.of(value))
        library.pjsip_generic_string_hdr_init2(space, *(ctypes.addressof(each) for each in texts))
        nodes.append(_Links.from_buffer(space))
        kept += [space, *texts]
    for index, node in enumerate(nodes):
        node.next = ctypes.addressof(nodes[(index + 1) % len(nodes)])
        node.previous = ctypes.addressof(nodes[index - 1])
    dialog = library.pjsip_rdata_get_dlg(request)
    library.pjsip_dlg_respond(dialog, request, code, None, ctypes.addressof(nodes[0]), None)
    del kept  # until here
