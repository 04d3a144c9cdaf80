"""Where a request came in: the local address and the transport of a received message, which pjsua2 does not offer.

Read out of pjsip's structures, whose layout is public (``sip_transport.h``) but may differ between versions. It is
therefore verified on the transport of a listener of our own, whose address is known, before it is used; where it does
not hold, ``Arrivals`` knows one listener only and ``set_accounts`` refuses a second.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Mapping
from typing import Any, Literal

from sipua.pj.build import c_library

Transport = Literal["udp", "tcp", "tls"]

_RDATA_TRANSPORT = 8  # pjsip_rx_data.tp_info: pool, transport
_NAME, _TYPE, _LOCAL, _SIZE = (
    0,
    80,
    148,
    176,
)  # pjsip_transport: obj_name, key.type, local_addr, what is read of it
_IPV6 = 128  # PJSIP_TRANSPORT_IPV6
_TYPES: Mapping[int, Transport] = {1: "udp", 2: "tcp", 3: "tls"}


class Arrivals:
    """``of`` tells (address, port) and transport of a message. ``is_reliable``: the layout is the one we know."""

    def __init__(self, udp: tuple[str, int]) -> None:
        self._only = udp
        self.is_reliable = _is_known(udp)

    def of(self, rdata: Any) -> tuple[tuple[str, int], Transport]:
        """Of a ``SipRxData``. On a connection that we opened the port is none of our listeners'."""
        if not self.is_reliable:
            return self._only, "udp"
        transport = ctypes.c_void_p.from_address(int(rdata.pjRxData) + _RDATA_TRANSPORT).value
        assert transport is not None
        raw = ctypes.string_at(transport, _SIZE)
        return _address(raw), _TYPES[_type(raw) & ~_IPV6]


def _type(raw: bytes) -> int:
    return int(struct.unpack_from("=l", raw, _TYPE)[0])


def _address(raw: bytes) -> tuple[str, int]:
    """A sockaddr_in or sockaddr_in6."""
    family = struct.unpack_from("=H", raw, _LOCAL)[0]
    port = struct.unpack_from("!H", raw, _LOCAL + 2)[0]
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[_LOCAL + 4 : _LOCAL + 8]), port
    return socket.inet_ntop(socket.AF_INET6, raw[_LOCAL + 8 : _LOCAL + 24]), port


def _is_known(udp: tuple[str, int]) -> bool:
    """Whether the transport of the UDP listener says where we expect it what we know of it."""
    library = c_library()
    is_v6 = ":" in udp[0]
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    address = socket.inet_pton(family, udp[0])
    # any destination will do: the one UDP transport of its family serves them all
    remote = struct.pack("=H", family) + struct.pack("!H", 9) + (bytes(4) if is_v6 else b"") + address
    library.pjsua_get_pjsip_endpt.restype = ctypes.c_void_p
    acquire = library.pjsip_endpt_acquire_transport
    acquire.argtypes = (
        ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
    )  # fmt: skip
    kind = 1 + (_IPV6 if is_v6 else 0)
    found = ctypes.c_void_p()
    size = 28 if is_v6 else 16
    endpoint = library.pjsua_get_pjsip_endpt()
    if acquire(endpoint, kind, remote.ljust(28, b"\0"), size, None, ctypes.byref(found)) or not found.value:
        return False
    raw = ctypes.string_at(found.value, _SIZE)
    library.pjsip_transport_dec_ref.argtypes = (ctypes.c_void_p,)
    library.pjsip_transport_dec_ref(found)
    if not raw[_NAME:].startswith(b"udp") or _type(raw) != kind:
        return False
    return struct.unpack_from("=H", raw, _LOCAL)[0] == family and _address(raw)[1] == udp[1]
