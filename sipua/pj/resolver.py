"""Where pjsip's requests go: names are answered by us, through pjsip's hook for an external resolver (ctypes).

pjsip shows the host of a Route or Request-URI as SNI and holds the certificate against it, so a TLS target that was
chosen by address must be written as its name; which address that name has *for this request* is then decided here.
``place`` puts a number of ours where the port of a hidden Route stands, so that every request of a call, the one with
credentials too, goes to the address that the call was meant for, whatever other calls do. Names that nobody aimed at
(a Contact, a registrar) are looked up on the asyncio side; pjsip's own way would block its thread.

All of it but the look-ups runs on the pjsua2 thread. The layouts are those of ``sip_resolve.h`` and ``sip_types.h``,
which differ between the two builds. ``install`` therefore asks pjsip itself for an address literal first and looks
which of them its answer has; where it is neither, pjsip resolves by itself, as if this module were not there.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sipua.pj.build import c_library
from sipua.sip_message import is_address, parse_uri

log = logging.getLogger(__name__)

Found = Sequence[tuple[str, int]]  # addresses and ports
Lookup = Callable[[str, int, str], Awaitable[Found]]  # host, port (0: none given), transport
Answer = Callable[[Found], None]
Ask = Callable[[str, int, str, Answer], None]

MOST_ADDRESSES = 8  # of ours in an answer; pjsip takes at least so many
# What pjsip copies of an answer, whatever its count: PJSIP_MAX_RESOLVED_ADDRESSES is 8 in the wheel and 32 where IPv6
# is compiled in. An answer that ends sooner lets it read past its end.
ENTRIES_COPIED = 64
PLACE_NUMBERS = range(1, 443)  # written where a port stands; no SIP server has one of these
NAMES_KEPT = 1024
PLACES_KEPT = 65_536  # far more than can be connecting at once: one that is forgotten would not be verified
_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
_MADDR = re.compile(r";maddr=([^;>?]+)")

# pjsip_transport_type_e and pjsip_transport_flags_e
_UDP, _TCP, _TLS, _IPV6 = 1, 2, 3, 128
_TRANSPORTS = {_UDP: "udp", _TCP: "tcp", _TLS: "tls"}
_RELIABLE, _SECURE = 1, 2
_ERESOLVE = 70018  # PJ_ERESOLVE: the request ends with 502


class _Text(ctypes.Structure):
    _fields_ = (("characters", ctypes.c_void_p), ("length", ctypes.c_ssize_t))


class _Target(ctypes.Structure):
    """pjsip_host_info"""

    _fields_ = (
        ("flag", ctypes.c_uint), ("type", ctypes.c_int), ("host", _Text), ("port", ctypes.c_int),
    )  # fmt: skip


_RECORD = (
    ("type", ctypes.c_int), ("priority", ctypes.c_uint), ("weight", ctypes.c_uint), ("address", ctypes.c_uint32 * 7),
    ("address_length", ctypes.c_int),
)  # fmt: skip


class _Record(ctypes.Structure):
    """pjsip_server_address_record"""

    _fields_ = (("name", _Text), *_RECORD)


class _Records(ctypes.Structure):
    """pjsip_server_addresses; longer than pjsip's, which copies its own length"""

    _fields_ = (("count", ctypes.c_uint), ("entry", _Record * ENTRIES_COPIED))


class _OldRecord(ctypes.Structure):
    """The same in pjproject 2.15"""

    _fields_ = _RECORD


class _OldRecords(ctypes.Structure):
    _fields_ = (("count", ctypes.c_uint), ("entry", _OldRecord * ENTRIES_COPIED))


_Callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_Resolve = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(_Target), ctypes.c_void_p, ctypes.c_void_p
)


class _Hook(ctypes.Structure):
    """pjsip_ext_resolver"""

    _fields_ = (("resolve", _Resolve),)


class NameResolver:
    """``ask`` has a name looked up and calls back on the pjsua2 thread. Keep it until the library is destroyed."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._places: dict[tuple[str, int], tuple[str, int]] = {}  # (name, place number)
        self._aimed: dict[tuple[str, int], str] = {}  # (name, port): where it was last
        self._sent: dict[tuple[str, int], frozenset[str]] = {}  # by TLS address: the hosts that led there
        self.trusted: frozenset[str] = frozenset()  # the names of the trunks
        self._records: type[_Records] | type[_OldRecords] = _Records
        self._hook = _Hook(_Resolve(self._resolve))

    def install(self) -> bool:
        """After libInit. False if this pjsip is one that we do not know: nothing is installed."""
        library = c_library()
        library.pjsua_get_pjsip_endpt.restype = ctypes.c_void_p
        endpoint = library.pjsua_get_pjsip_endpt()
        layout = _layout_of(library, endpoint)
        if layout is None:
            log.error(
                "this pjsip answers names in a layout that is not known: TLS targets are resolved by it alone"
            )
            return False
        self._records = layout
        library.pjsip_endpt_set_ext_resolver.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        return not library.pjsip_endpt_set_ext_resolver(endpoint, ctypes.addressof(self._hook))

    def place(self, route: str) -> str:
        """A hidden Route to ``sip:NAME:PORT;transport=tls;maddr=ADDRESS``; one without maddr as it is."""
        uri, name, port, address = _aim(route)
        if not address:
            return route
        wanted = address, port
        self._last(name, port, address)
        of_name = {number: place for (each, number), place in self._places.items() if each == name}
        number = next((each for each, place in of_name.items() if place == wanted), 0)
        if not number:
            free = [each for each in PLACE_NUMBERS if each not in of_name]
            number = free[0] if free else next(iter(of_name))
            self._places.pop((name, number), None)
            self._places[name, number] = wanted
        return uri.replace(f"{name}:{port}", f"{name}:{number}", 1)

    def aim(self, uri: str) -> str:
        """The same as a Request-URI, which keeps its port: for a request that is sent at once."""
        plain, name, port, address = _aim(uri)
        if address:
            self._last(name, port, address)
        return plain

    def expected(self, address: str, port: int) -> frozenset[str] | None:
        """The names that a TLS peer there may show: those that were aimed at, else what led there or a trunk's.

        None: nothing was ever sent there.
        """
        hosts = self._sent.get((address, port))
        if hosts is None:
            return None
        aimed = {name for (name, number), place in self._places.items() if place == (address, port)}
        aimed |= {
            name for (name, of_name), where in self._aimed.items() if (where, of_name) == (address, port)
        }
        return frozenset(aimed) or hosts | self.trusted

    def _note(self, host: str, found: Found) -> None:
        for place in found:
            self._sent[place] = self._sent.pop(place, frozenset()) | {host}
            if len(self._sent) > PLACES_KEPT:
                del self._sent[next(iter(self._sent))]

    def _last(self, name: str, port: int, address: str) -> None:
        self._aimed.pop((name, port), None)
        self._aimed[name, port] = address
        if len(self._aimed) > NAMES_KEPT:
            del self._aimed[next(iter(self._aimed))]

    def _resolve(self, resolver: Any, pool: Any, target: Any, token: int, callback: int) -> None:
        """pjsip's question. Whatever happens here it gets an answer, or the request would hang."""
        reply = _Reply(self._records, token, callback, self._note)
        try:
            of = target.contents
            host = ctypes.string_at(of.host.characters, of.host.length)
            name, port = host.decode("ascii", "replace").lower(), int(of.port)
            kind = (of.type & ~_IPV6) or (
                _TLS if of.flag & _SECURE else _TCP if of.flag & _RELIABLE else _UDP
            )
            reply.asked(host, kind)
            transport = _TRANSPORTS.get(kind, "udp")
            if is_address(name):
                reply.give([(name, port or _PORTS[transport])])
            elif (name, port) in self._places:
                reply.give([self._places[name, port]])
            elif (name, port or _PORTS[transport]) in self._aimed:
                port = port or _PORTS[transport]
                reply.give([(self._aimed[name, port], port)])
            else:
                self._ask(name, port, transport, reply.give)
        except BaseException:
            log.exception("pjsip's question for an address failed")
            reply.give(())


class _Reply:
    """The one answer to one question."""

    def __init__(
        self,
        layout: type[_Records] | type[_OldRecords],
        token: int,
        callback: int,
        note: Callable[[str, Found], None],
    ) -> None:
        self._layout = layout
        self._note = note
        self._token = token
        self._callback = _Callback(callback)
        self._name = ctypes.create_string_buffer(0)
        self._kind = _UDP
        self._is_given = False

    def asked(self, host: bytes, kind: int) -> None:
        self._name = ctypes.create_string_buffer(host)
        self._kind = kind

    def give(self, found: Found) -> None:
        if self._is_given:
            return
        try:
            records = self._written(found) if found else None
        except (OSError, ValueError, OverflowError):
            log.exception("%s: the addresses %r cannot be told to pjsip", self._host, list(found))
            records = None
        self._is_given = True
        if records is None:
            self._callback(_ERESOLVE, self._token, None)
            return
        if self._kind == _TLS:
            self._note(self._host, found)
        self._callback(0, self._token, ctypes.addressof(records))

    @property
    def _host(self) -> str:
        return self._name.value.decode("ascii", "replace").lower()

    def _written(self, found: Found) -> _Records | _OldRecords:
        records = self._layout()
        records.count = min(len(found), MOST_ADDRESSES)
        for record, (address, port) in zip(records.entry, found[:MOST_ADDRESSES], strict=False):
            raw = _socket_address(address, port)
            if isinstance(record, _Record):
                record.name.characters = ctypes.addressof(self._name)
                record.name.length = len(self._name.value)
            record.type = self._kind | (_IPV6 if ":" in address else 0)
            ctypes.memmove(ctypes.addressof(record.address), raw, len(raw))
            record.address_length = len(raw)
        return records


def _layout_of(library: ctypes.CDLL, endpoint: int) -> type[_Records] | type[_OldRecords] | None:
    """That of pjsip's own answer for an address, which it gives at once."""
    raw = _socket_address("192.0.2.1", 5070)
    answers: list[bytes] = []

    def answered(status: int, token: Any, addresses: int) -> None:
        try:
            if not status:
                length = _OldRecords.entry.offset + MOST_ADDRESSES * ctypes.sizeof(_OldRecord)
                answers.append(ctypes.string_at(addresses, length))
        except Exception:
            log.exception("pjsip's answer for an address could not be read")

    host = ctypes.create_string_buffer(b"192.0.2.1")
    target = _Target(0, _UDP, _Text(ctypes.addressof(host), 9), 5070)
    library.pjsip_endpt_resolve.argtypes = (
        ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(_Target), ctypes.c_void_p, _Callback
    )  # fmt: skip
    library.pjsip_endpt_resolve.restype = None
    library.pjsip_endpt_resolve(endpoint, None, ctypes.byref(target), None, _Callback(answered))
    for layout, record in ((_Records, _Record), (_OldRecords, _OldRecord)):
        at = layout.entry.offset + record.address.offset
        if answers and answers[0][at : at + len(raw)] == raw:
            return layout
    return None


def _aim(uri: str) -> tuple[str, str, int, str]:
    """Without its maddr, the name in lower case; that name, port, and that maddr ("" if there is none)."""
    found = _MADDR.search(uri)
    if found is None:
        return uri, "", 0, ""
    plain = uri.replace(found[0], "", 1)
    parsed = parse_uri(plain)
    assert parsed is not None
    assert parsed.port, f"{uri}: an aimed URI names its port"
    name = parsed.host.lower()
    return plain.replace(parsed.host, name, 1), name, parsed.port, found[1].strip("[]")


def _socket_address(address: str, port: int) -> bytes:
    """A pj_sockaddr: the system's sockaddr_in or sockaddr_in6."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    head = int(family).to_bytes(2, sys.byteorder) + port.to_bytes(2)
    raw = socket.inet_pton(family, address)
    return head + bytes(4) + raw + bytes(4) if family == socket.AF_INET6 else head + raw + bytes(8)


async def system_addresses(host: str, port: int, transport: str) -> Found:
    """What the system says, its hosts file too, without scopes; nothing if that knows no such name."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port or _PORTS[transport], type=socket.SOCK_DGRAM)
    except (OSError, OverflowError, UnicodeError):
        return ()
    return [(str(where[0]).partition("%")[0], int(where[1])) for _, _, _, _, where in found]
