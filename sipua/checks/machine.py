"""This machine: the pjsua2 that is loaded, an agent that runs already, ports and the clock."""

from __future__ import annotations

import asyncio
import errno
import http.client
import socket
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from sipua.accounts import listener_of, place_of
from sipua.checks.report import Check
from sipua.control import NoAgent, ask
from sipua.errors import LocalError
from sipua.pj.build import LibraryFacts
from sipua.settings import Settings
from sipua.sip_account import Listener
from sipua.trunk import Trunk
from sipua.trunks.answers import date_of

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
CLOCK_WARN_S, CLOCK_FAIL_S = 5.0, 300.0
STEPPED_S = 1.0  # wall clock against the monotonic one, in the seconds that doctor runs
HTTP_TIMEOUT_S = 5.0

Range = tuple[int, int]  # first and last port


def pjsua(facts: LibraryFacts) -> Check:
    """Version, limits and TLS of pjsua2."""
    detail = f"{facts.version} ({facts.build}), {facts.max_calls} calls per process, TLS {facts.tls}"
    if facts.shadowed:
        todo = "run `make pjsua2` or `make pjsua2-wheel`: the one of PyPI wins over the one that you built"
        return Check("pjsua2", "fail", f"{detail}; two builds are installed", todo)
    if facts.build == "wheel":
        return Check(
            "pjsua2",
            "warn",
            detail,
            f"good for tests: more than {facts.max_calls} calls at once are refused with 486; "
            "`make pjsua2` builds the one for trunks",
        )
    return Check("pjsua2", "ok", detail)


async def agent(settings: Settings) -> tuple[bool, Check]:
    """Whether one runs here (its ports are then in use for good), and what is to be said about it."""
    try:
        status = await ask(settings.state_path, {"command": "status"})
    except NoAgent as error:
        return False, Check("agent", "ok", str(error))
    except LocalError as error:
        return True, Check("agent", "warn", str(error), "look at its log; end it if it hangs")
    detail = f"runs: pid {status.get('pid')}, SIP {status.get('sip')}, {status.get('calls')} calls up"
    if held := status.get("ledger_held"):
        said = f"{detail}; started without the database, rows wait in the spool: {held}"
        return True, Check(
            "agent", "warn", said, "they are written by themselves once the database is there and fits"
        )
    refused = status.get("trunks", {}).get("error")
    if refused:
        todo = "mend the file, then send it SIGHUP again"
        return True, Check(
            "agent", "warn", f"{detail}; works with the trunk files of before: {refused}", todo
        )
    return True, Check("agent", "ok", detail)


# ---- ports -----------------------------------------------------------------------------------------------


def listeners(settings: Settings, trunks: Sequence[Trunk]) -> dict[Listener, str]:
    """Where SIP will listen, and the setting that says so."""
    place = place_of(settings.sip)
    found = {Listener("udp", place.bind, place.port): "sip.port"}
    for trunk in trunks:
        if trunk.enabled:
            each = replace(listener_of(trunk, place), public_address="", dscp=0, tls=None)
            shared = "sip.tls_port" if trunk.transport == "tls" else "sip.port"
            found.setdefault(each, f"trunk {trunk.name}: bind_port" if trunk.bind_port else shared)
    return found


def free_ports(settings: Settings, trunks: Sequence[Trunk]) -> list[Check]:
    """Whether nobody else listens where ``serve`` will."""
    checks = []
    for listener, key in listeners(settings, trunks).items():
        kind = socket.SOCK_DGRAM if listener.transport == "udp" else socket.SOCK_STREAM
        is_own = listener == Listener("udp", str(settings.sip.bind), settings.sip.port)
        name = "sip port" if is_own else f"sip port {listener.transport} {listener.bind}:{listener.port}"
        checks.append(free_port(name, listener.bind, listener.port, kind, key))
    http = settings.http
    return [*checks, free_port("http port", str(http.bind), http.port, socket.SOCK_STREAM, "http.port")]


def free_port(name: str, host: str, port: int, kind: socket.SocketKind, key: str) -> Check:
    """Whether nobody else listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            is_ours = error.errno == errno.EADDRNOTAVAIL
            todo = "set an address of this machine" if is_ours else f"end what uses it, or change {key}"
            return Check(name, "fail", f"{host}:{port}: {error.strerror}", todo, is_ours)
    return Check(name, "ok", f"{host}:{port or 'any'} is free")


def port_ranges(text: str) -> tuple[Range, ...]:
    """``8000,9000-9100`` as the kernel writes it."""
    found = []
    for part in text.replace("\n", "").split(","):
        low, _, high = part.partition("-")
        if low.strip():
            found.append((int(low), int(high or low)))
    return tuple(found)


def kernel_ports() -> tuple[Range, tuple[Range, ...]]:
    """The range that the kernel takes source ports from, and what it leaves out of it."""
    try:
        low, high = map(int, EPHEMERAL.read_text().split())
        return (low, high), port_ranges(RESERVED.read_text())
    except (OSError, ValueError):  # another system than Linux
        return (49152, 65535), ()


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One range of RTP ports: the keys that set it, and how many calls the trunks that use it may have at once."""

    low_key: str
    high_key: str
    low: int
    high: int
    channels: int

    @property
    def pairs(self) -> int:
        return (self.high - self.low + 1) // 2


def media_ranges(settings: Settings, trunks: Sequence[Trunk]) -> list[MediaRange]:
    """That of all trunks, and those of trunks with one of their own."""
    enabled = [each for each in trunks if each.enabled]
    shared = sum(each.max_channels for each in enabled if not each.rtp_port_min)
    rtp = settings.rtp
    return [
        MediaRange("rtp.port_min", "rtp.port_max", rtp.port_min, rtp.port_max, shared),
        *(
            MediaRange(
                f"trunk {each.name}: rtp_port_min", "rtp_port_max", each.rtp_port_min, each.rtp_port_max,
                each.max_channels,
            )
            for each in enabled
            if each.rtp_port_min
        ),
    ]  # fmt: skip


def rtp_ports(
    settings: Settings, trunks: Sequence[Trunk], ephemeral: Range, reserved: Sequence[Range]
) -> Check:
    """Ranges for media: outside the ephemeral one, without our other ports, enough for the trunks' channels."""
    taken = {each.port: key for each, key in listeners(settings, trunks).items() if each.transport == "udp"}
    texts, todos = [], []
    for each in media_ranges(settings, trunks):
        if not each.low:
            texts.append("any free port")
            todos.append(f"set {each.low_key} and {each.high_key}: a firewall has to let the media in")
            continue
        inside = next((f"{key} = {port}" for port, key in taken.items() if each.low <= port <= each.high), "")
        if inside:
            todo = f"move {each.low_key} and {each.high_key} away from it"
            return Check("rtp ports", "fail", f"{each.low}-{each.high}: {inside} lies in it", todo, True)
        texts.append(f"{each.low}-{each.high}: {each.pairs} calls")
        if each.pairs < each.channels:
            texts[-1] += f", of {each.channels} that max_channels allows"
            todos.append(f"widen {each.low_key} to {each.high_key}: two ports a call")
        overlap = range(max(each.low, ephemeral[0]), min(each.high, ephemeral[1]) + 1)
        if any(not any(first <= port <= last for first, last in reserved) for port in overlap):
            texts[-1] += f", overlaps the kernel's source ports {ephemeral[0]}-{ephemeral[1]}"
            todos.append(
                f"set {each.low_key} and {each.high_key} below {ephemeral[0]}, or add them to "
                "net.ipv4.ip_local_reserved_ports: a port taken in between costs a call its sound"
            )
    return Check("rtp ports", "warn" if todos else "ok", "; ".join(texts), "; ".join(dict.fromkeys(todos)))


# ---- the clock -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Instant:
    """One reading of both clocks."""

    wall: datetime
    monotonic: float

    @classmethod
    def now(cls) -> Instant:
        return cls(datetime.now(UTC), time.monotonic())


def ahead_s(ours: datetime, theirs: datetime) -> float:
    """How far our clock is ahead of a Date header, which tells whole seconds: on average half of one less."""
    return (ours - theirs).total_seconds() - 0.5


async def http_clock(url: str) -> float | None:
    """How far our clock is ahead of the Date header that this host answers with; None if it sends none."""
    return await asyncio.to_thread(_http_clock, url)


def _http_clock(url: str) -> float | None:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme in ("https", "wss") else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=HTTP_TIMEOUT_S)
        began = datetime.now(UTC)
        connection.request("HEAD", parts.path or "/")
        date = date_of(connection.getresponse().getheader("Date", ""))
        ended = datetime.now(UTC)
        connection.close()
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return None if date is None else ahead_s(began + (ended - began) / 2, date)


def clock(ahead: Mapping[str, float], began: Instant, ended: Instant) -> Check:
    """Our clock against those of others (seconds ahead, by name), and against itself."""
    stepped = (ended.wall - began.wall).total_seconds() - (ended.monotonic - began.monotonic)
    if abs(stepped) > STEPPED_S:
        detail = f"was set by {stepped:+.1f} s while this ran"
        return Check("clock", "warn", detail, "let one service alone set it (chrony or systemd-timesyncd)")
    if not ahead:
        todo = "none of the trunks or the voice service could be asked; compare it yourself: `timedatectl`"
        return Check("clock", "warn", "nobody told the time: not compared", todo)
    off = statistics.median(ahead.values())
    names = ", ".join(sorted(ahead))
    if abs(off) < CLOCK_WARN_S:
        return Check("clock", "ok", f"agrees with {names} within {max(1.0, abs(off)):.0f} s")
    detail = f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} {names}"
    todo = "set it: `timedatectl set-ntp true`, or install chrony; rows, certificates and nonces go by it"
    return Check("clock", "warn" if abs(off) < CLOCK_FAIL_S else "fail", detail, todo)
