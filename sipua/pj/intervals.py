"""423 to a REGISTER: pjsip asks again at once, by itself, and for ever where a registrar is never content.

A Min-Expires that grows, or one of 2**32 - 1, had it send 6,000 REGISTERs a second. This module of pjsip's (ctypes, by
the layout of ``sip_module.h``) looks at responses before the transactions do and lets only so many 423s through. What
is held back counts as no answer: the transaction ends with 408 and our own back-off decides what comes next.
"""

from __future__ import annotations

import ctypes
import logging
import time

from sipua.pj.build import c_library

log = logging.getLogger(__name__)

MOST_IN_A_SPELL = 64  # two each for 32 accounts that begin at once; of more, some wait for their back-off
QUIET_S = 10.0  # longer than a transaction waits to repeat itself (4 s), shorter than a back-off
_BEFORE_TRANSACTIONS = 15  # PJSIP_MOD_PRIORITY_TSX_LAYER is 16
_TOO_BRIEF = b"Response msg 423/REGISTER"  # as pjsip_rx_data_get_info writes it

_Hook = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_NAME = b"sipua-intervals"


class _Module(ctypes.Structure):
    """pjsip_module"""

    _fields_ = (
        ("previous", ctypes.c_void_p), ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p), ("name_length", ctypes.c_ssize_t),
        ("id", ctypes.c_int), ("priority", ctypes.c_int),
        ("load", ctypes.c_void_p), ("start", ctypes.c_void_p), ("stop", ctypes.c_void_p), ("unload", ctypes.c_void_p),
        ("on_rx_request", ctypes.c_void_p), ("on_rx_response", _Hook),
        ("on_tx_request", ctypes.c_void_p), ("on_tx_response", ctypes.c_void_p), ("on_tsx_state", ctypes.c_void_p),
    )  # fmt: skip


class IntervalGuard:
    """Keep it until the library is destroyed. All of it runs on the pjsua2 thread."""

    def __init__(self) -> None:
        self._seen = 0
        self._last = 0.0
        self._module = _Module(
            name=_NAME, name_length=len(_NAME), id=-1, priority=_BEFORE_TRANSACTIONS,
            on_rx_response=_Hook(self._is_held_back),
        )  # fmt: skip

    def install(self) -> None:
        """After libInit."""
        library = c_library()
        self._describe = library.pjsip_rx_data_get_info
        self._describe.argtypes, self._describe.restype = (ctypes.c_void_p,), ctypes.c_char_p
        library.pjsua_get_pjsip_endpt.restype = ctypes.c_void_p
        library.pjsip_endpt_register_module.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        endpoint = library.pjsua_get_pjsip_endpt()
        if library.pjsip_endpt_register_module(endpoint, ctypes.addressof(self._module)):
            log.error(
                "pjsip takes no module of ours: a registrar that answers 423 for ever is asked for ever"
            )

    def _is_held_back(self, response: int) -> int:
        """The hook: 1 keeps the response from everybody else."""
        if not self._describe(response).startswith(_TOO_BRIEF):
            return 0
        now = time.monotonic()
        self._seen = 1 if now - self._last > QUIET_S else self._seen + 1
        self._last = now
        if self._seen == MOST_IN_A_SPELL + 1:
            log.warning(
                "a registrar finds every interval too brief (423): what it says more of it is no answer"
            )
        return int(self._seen > MOST_IN_A_SPELL)
