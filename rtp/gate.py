"""What the kernel keeps from a socket: datagrams of strangers, by a classic BPF filter, and how many it threw away.

Under a flood the process would spend its time reading what it throws away, and the socket's buffer would be full of it
when the phone's packet comes. So who floods is shut out before the buffer. Only those pass who could be heard
(``rtp.source``): the latched and the signalled address, and whoever has the SSRC (NAT rebinding), which a stranger
cannot guess. A filter on a UDP socket sees the datagram from its UDP header on; the IP header is at ``NETWORK``.

Linux only. Elsewhere, or where the system forbids it, ``shut`` says so and the process reads on as it can.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct

from .events import Address
from .source import Guests

SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_MEMINFO = 26, 27, 55  # asm-generic/socket.h
MEMINFO_DROPS = 8  # SK_MEMINFO_DROPS, linux/sock_diag.h
LOAD_WORD, LOAD_HALF, JUMP_IF_EQUAL, RETURN = (
    0x20,
    0x28,
    0x15,
    0x06,
)  # linux/bpf_common.h, absolute addressing
NETWORK = -0x100000  # SKF_NET_OFF
PORT_AT, SSRC_AT = 0, 8 + 8  # behind the start of the UDP header
SOURCE_AT = {4: NETWORK + 12, 16: NETWORK + 8}  # by the bytes of an IP address
PASS, DROP = 0xFFFF, 0
INSTRUCTION = struct.Struct("=HBBI")

Claim = list[tuple[int, int, int]]  # load, where from, what must be there


def program(guests: Guests) -> bytes:
    """The filter. ValueError for what is no numeric address."""
    claims = [_source(each) for each in dict.fromkeys(guests.addresses)]
    if guests.ssrc is not None:  # last: a load beyond the end drops the datagram
        claims.append([(LOAD_WORD, SSRC_AT, guests.ssrc)])
    code: list[bytes] = []
    for claim in claims:
        for index, (load, at, value) in enumerate(claim):
            to_next_claim = 2 * (len(claim) - index) - 1
            code.append(INSTRUCTION.pack(load, 0, 0, at & 0xFFFFFFFF))
            code.append(INSTRUCTION.pack(JUMP_IF_EQUAL, 0, to_next_claim, value))
        code.append(INSTRUCTION.pack(RETURN, 0, 0, PASS))
    code.append(INSTRUCTION.pack(RETURN, 0, 0, DROP))
    return b"".join(code)


def _source(addr: Address) -> Claim:
    host, port = addr
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
    except OSError as error:
        raise ValueError(f"{host}: {error}") from None
    if packed[:12] == bytes(10) + b"\xff\xff":  # IPv4 on a socket of both families
        packed = packed[12:]
    claim: Claim = [(LOAD_HALF, PORT_AT, port)] if port else []
    words = struct.unpack(f"!{len(packed) // 4}I", packed)
    return claim + [(LOAD_WORD, SOURCE_AT[len(packed)] + 4 * n, word) for n, word in enumerate(words)]


def shut(sock: socket.socket, guests: Guests) -> bool:
    """From now on only these; takes the place of the filter before. False: this system does not do it."""
    try:
        code = program(guests)
        buffer = ctypes.create_string_buffer(code, len(code))
        fprog = struct.pack("HP", len(code) // INSTRUCTION.size, ctypes.addressof(buffer))
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
    except (OSError, ValueError):
        return False
    return True


def open_again(sock: socket.socket) -> None:
    """Everybody may pass."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def kernel_drops(sock: socket.socket) -> int:
    """Datagrams that the kernel threw away: no room in the buffer, or shut out. 1.1 µs."""
    try:
        info = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * (MEMINFO_DROPS + 1))
    except OSError:
        return 0
    return int(struct.unpack_from("=I", info, 4 * MEMINFO_DROPS)[0]) if len(info) > 4 * MEMINFO_DROPS else 0
