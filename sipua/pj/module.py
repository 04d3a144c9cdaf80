"""A module of ours among pjsip's (ctypes, by the layout of ``sip_module.h``): it sees messages before anybody else."""

from __future__ import annotations

import ctypes

from sipua.pj.build import c_library

Hook = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)  # of a pjsip_rx_data; 1 keeps it from everybody else
_BEFORE_TRANSACTIONS = 15  # PJSIP_MOD_PRIORITY_TSX_LAYER is 16


class PjsipModule(ctypes.Structure):
    """pjsip_module. Keep it until the library is destroyed."""

    _fields_ = (
        ("previous", ctypes.c_void_p), ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p), ("name_length", ctypes.c_ssize_t),
        ("id", ctypes.c_int), ("priority", ctypes.c_int),
        ("load", ctypes.c_void_p), ("start", ctypes.c_void_p), ("stop", ctypes.c_void_p), ("unload", ctypes.c_void_p),
        ("on_rx_request", Hook), ("on_rx_response", Hook),
        ("on_tx_request", ctypes.c_void_p), ("on_tx_response", ctypes.c_void_p), ("on_tsx_state", ctypes.c_void_p),
    )  # fmt: skip

    @classmethod
    def of(cls, name: bytes, **hooks: object) -> PjsipModule:
        """``hooks``: on_rx_request, on_rx_response."""
        return cls(name=name, name_length=len(name), id=-1, priority=_BEFORE_TRANSACTIONS, **hooks)

    def register(self) -> bool:
        """After libInit; False if pjsip does not take it."""
        function = c_library().pjsip_endpt_register_module
        function.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        return not function(sip_endpoint(), ctypes.addressof(self))


def sip_endpoint() -> int:
    """pjsip's own endpoint, below pjsua's."""
    function = c_library().pjsua_get_pjsip_endpt
    function.restype = ctypes.c_void_p
    return int(function())


def description_of(message: int) -> bytes:
    """``Request msg INVITE/cseq=1 (rdata0x…)``, ``Response msg 423/REGISTER/cseq=…``."""
    function = c_library().pjsip_rx_data_get_info
    function.argtypes, function.restype = (ctypes.c_void_p,), ctypes.c_char_p
    return bytes(function(message))
