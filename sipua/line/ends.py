"""Two network namespaces, each with one end of the line: a TUN device whose packets this process carries."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from secrets import token_hex

from sipua.errors import LocalError

NEAR, FAR = "192.0.2.1", "192.0.2.2"  # TEST-NET-1 (RFC 5737); both namespaces have no other network
DEVICE = "line"  # its name inside
TUNSETIFF = 0x400454CA  # <linux/if_tun.h>
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
COMMAND_S = 10


@dataclass(frozen=True, slots=True)
class End:
    """``tun`` is a file descriptor: one packet a read or write."""

    namespace: str
    address: str
    tun: int


@contextlib.contextmanager
def ends() -> Iterator[tuple[End, End]]:
    """The near and the far one; namespaces and devices are gone afterwards. Raises LocalError."""
    with contextlib.ExitStack() as stack:
        name = f"sipua-{token_hex(4)}"
        yield (
            stack.enter_context(_end(f"{name}-near", NEAR, FAR)),
            stack.enter_context(_end(f"{name}-far", FAR, NEAR)),
        )


@contextlib.contextmanager
def _end(namespace: str, address: str, other: str) -> Iterator[End]:
    device = f"sl{token_hex(4)}"  # until it is inside: a name is for the whole machine
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LocalError(f"/dev/net/tun: {error.strerror}: a line needs the kernel's TUN and root") from None
    try:
        try:
            request = struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI)
            fcntl.ioctl(tun, TUNSETIFF, request)
        except OSError as error:
            raise LocalError(f"no TUN device may be made here (root may): {error.strerror}") from None
        _ip("netns", "add", namespace)
        try:
            _ip("link", "set", device, "netns", namespace)
            for command in (
                f"link set {device} name {DEVICE}",
                f"addr add {address} peer {other} dev {DEVICE}",
                f"link set {DEVICE} up",
                "link set lo up",
            ):
                _ip("-n", namespace, *command.split())
            yield End(namespace, address, tun)
        finally:
            _ip("netns", "delete", namespace)
    finally:
        os.close(tun)


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["ip", *arguments], capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except FileNotFoundError:
        raise LocalError("ip was not found: install Debian package iproute2") from None
    if done.returncode:
        raise LocalError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
