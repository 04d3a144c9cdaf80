"""What the SIP layer does with its accounts, scene by scene: ``python -m tests.pjsua2.account_scenes SCENE``.

A process of its own, since pjsua2 allows one endpoint in each. Each scene prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sipua.errors import SipuaError
from sipua.pj import account_directors, arrival
from sipua.pj.build import accounts_taken, max_accounts
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.sip_account import Account, Listener, TlsFiles
from sipua.sip_events import (
    Credential,
    LegChanged,
    LegState,
    MediaChanged,
    OptionsAnswered,
    Refusal,
    RegistrationAnswered,
    RejectedCall,
    SdpPlan,
    SipEvent,
    TransferProgress,
)
from tests.pjsua2.registrar import Registrar, started
from tests.ports import free_port

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
HERE = Listener("udp", "127.0.0.1", 0)


class Scene:
    """An endpoint and what it reported."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[SipEvent] = asyncio.Queue()
        self.selected: list[dict[str, Any]] = []
        self.endpoint = SipEndpoint(
            EndpointConfig("127.0.0.1", 0, ("PCMU",)),
            lambda arrival, message: Refusal(480, arrival.account, None),
            self.events.put_nowait,
            self._select,
        )
        self.choose: Callable[[int], str | None] = lambda port: None
        self.port = 0
        self.accounts: list[Account] = []

    def _select(
        self, source: tuple[str, int], local: tuple[str, int], transport: str, message: Any
    ) -> str | None:
        self.selected.append({"local": local[1], "transport": transport})
        return self.choose(local[1])

    async def until(self, kind: type[SipEvent]) -> Any:
        async with asyncio.timeout(10):
            while True:
                event = await self.events.get()
                if isinstance(event, kind):
                    return event

    async def registered(self, account: str, expires_s: int) -> RegistrationAnswered:
        await self.endpoint.register(account, expires_s)
        answer = await self.until(RegistrationAnswered)
        assert isinstance(answer, RegistrationAnswered)
        return answer


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    each = Scene()
    _, each.port = await each.endpoint.start()
    try:
        yield each
    finally:
        await each.endpoint.stop()


def account(where: Registrar, **values: Any) -> Account:
    base = Account(
        name="a",
        trunk="a",
        listener=HERE,
        address_of_record="sip:line1@ims.test",
        contact_user="desk",
        credential=Credential("ims.test", "impi@ims.test", "geheim"),
        registrar=f"sip:127.0.0.1:{where.port}",
        headers=(("User-Agent", "As they say"), ("X-Line", "7")),
    )
    return replace(base, **values)


async def reached(condition: Callable[[], bool]) -> None:
    """Waits for what nobody tells."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - no event of ours comes with it
            await asyncio.sleep(0.02)


async def digest(algorithms: str) -> dict[str, Any]:
    """REGISTER and its taking back."""
    registrar = await started(lambda: Registrar(algorithms=algorithms.split(",")))
    async with scene() as it:
        await it.endpoint.set_accounts([account(registrar)])
        first = await it.registered("a", 600)
        second = await it.registered("a", 300)
        last = await it.registered("a", 0)
    requests = registrar.sent("REGISTER")
    return {
        "codes": [first.code, second.code, last.code],
        "contact": first.headers and first.headers["contact"][0],
        "expires": [each.header("expires") for each in requests if each.header("authorization")],
        "from": requests[0].header("from"),
        "headers": [requests[-1].header("user-agent"), requests[-1].header("x-line")],
        "methods": sorted({each.start_line.split()[0] for each in registrar.received}),
        "sockets": len(set(registrar.sources)),
    }


async def refused(code: str) -> dict[str, Any]:
    """One answer, as the core wants it; and pjsua itself does nothing more."""
    headers = ("Retry-After: 7",) if code == "503" else ()
    registrar = await started(lambda: Registrar(script=((int(code), headers), (200, ()))))
    async with scene() as it:
        await it.endpoint.set_accounts([account(registrar)])
        answer = await it.registered("a", 600)
        await asyncio.sleep(1.5)
        count = len(registrar.sent("REGISTER"))
        again = await it.registered("a", 600)
    assert answer.headers is not None
    return {
        "code": answer.code, "retry_after": answer.headers.get("retry-after"), "requests": count, "again": again.code,
    }  # fmt: skip


async def too_brief() -> dict[str, Any]:
    registrar = await started(lambda: Registrar(script=((423, ("Min-Expires: 1800",)), (200, ()))))
    async with scene() as it:
        await it.endpoint.set_accounts([account(registrar)])
        answer = await it.registered("a", 600)
    return {"code": answer.code, "expires": [each.header("expires") for each in registrar.sent("REGISTER")]}


async def nobody() -> dict[str, Any]:
    """The first proxy does not listen: an answer without headers, and the next REGISTER goes to the second."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait((await reader.readline()).decode())
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    proxies = tuple(
        f"sip:127.0.0.1:{port};transport=tcp" for port in (free_port(), server.sockets[0].getsockname()[1])
    )
    async with scene() as it:
        values = {"listener": Listener("tcp", "127.0.0.1", 0), "registrar": "sip:ims.test"}
        await it.endpoint.set_accounts(
            [account(await started(Registrar), **values, outbound_proxies=proxies)]
        )
        answer = await it.registered("a", 600)
        await it.endpoint.register("a", 600)
        second = await asyncio.wait_for(heard.get(), 5)
    return {"code": answer.code, "headers": answer.headers, "second": second.strip()}


async def proxies() -> dict[str, Any]:
    """REGISTER goes through the proxy, INVITE and OPTIONS do not, nor where a Service-Route leads."""
    proxy = await started(
        lambda: Registrar(
            script=((200, ("Service-Route: <sip:127.0.0.1:9;lr>, <sip:orig@s.test;lr>",)), (486, ()))
        )
    )
    other = await started(lambda: Registrar(script=((486, ()),)))
    async with scene() as it:
        values = {
            "registrar": "sip:ims.test",
            "outbound_proxies": (f"sip:127.0.0.1:{proxy.port};transport=udp",),
        }
        await it.endpoint.set_accounts([account(proxy, **values)])
        answer = await it.registered("a", 600)
        plan = SdpPlan("127.0.0.1", 4000, ("PCMU",))
        where = f"sip:127.0.0.1:{other.port}"
        await it.endpoint.invite("sip:+1@carrier.test", plan, uuid4(), route=where, account="a")
        await it.endpoint.options(where, uuid4(), "a")
        await it.until(OptionsAnswered)
        await reached(lambda: bool(other.sent("INVITE")))
    return {
        "code": answer.code,
        "at_proxy": sorted({each.start_line.split()[0] for each in proxy.received}),
        "request_uri": proxy.received[0].start_line.split()[1],
        "elsewhere": sorted({each.start_line.split()[0] for each in other.received} - {"ACK"}),
        "routes": [each.headers.get("route", ()) for each in other.sent("INVITE")],
        "agents": sorted({each.header("user-agent") or "" for each in other.received if "ACK" not in each.start_line}),
    }  # fmt: skip


async def mwi() -> dict[str, Any]:
    registrar = await started(Registrar)
    async with scene() as it:
        await it.endpoint.set_accounts([account(registrar)])
        await it.registered("a", 600)
        headers = [
            "Event: message-summary", "Subscription-State: active",
            "Content-Type: application/simple-message-summary",
        ]  # fmt: skip
        registrar.request("NOTIFY", headers, "Messages-Waiting: no\r\n", ("127.0.0.1", it.port))
        code = await asyncio.wait_for(registrar.answers.get(), 5)
    return {"answer": code, "methods": sorted({each.start_line.split()[0] for each in registrar.received})}


async def options() -> dict[str, Any]:
    """One that is answered, one that is not until the end."""
    well = await started(lambda: Registrar(script=((405, ("Allow: INVITE",)),)))
    silent = await started(lambda: Registrar(is_silent=True))
    token, lost = uuid4(), uuid4()
    async with scene() as it:
        await it.endpoint.set_accounts([account(well, registrar="")])
        await it.endpoint.options(f"sip:127.0.0.1:{silent.port};transport=udp", lost, "a")
        await it.endpoint.options(f"sip:127.0.0.1:{well.port};transport=udp", token, "a")
        answer = await it.until(OptionsAnswered)
        await it.endpoint.set_accounts([])  # with a request open
    end = await it.until(OptionsAnswered)
    request = well.received[0]
    return {
        "own": answer.token == token, "code": answer.code, "allow": answer.headers["allow"],
        "agent": request.header("user-agent"), "start": request.start_line.replace(str(well.port), "PORT"),
        "lost": end.token == lost, "end": [end.code, end.headers],
    }  # fmt: skip


async def listeners() -> dict[str, Any]:
    """An INVITE to each of three listeners: where it came in, and on which account."""
    registrar = await started(Registrar)
    async with scene() as it:
        second, unused = free_port(), free_port()
        udp = account(
            registrar, registrar="", name="second", listener=Listener("udp", "127.0.0.1", second, dscp=46)
        )
        tcp = account(registrar, registrar="", name="tcp", listener=Listener("tcp", "127.0.0.1", second))
        idle = account(registrar, registrar="", name="idle", listener=Listener("udp", "127.0.0.1", unused))
        await it.endpoint.set_accounts([account(registrar), udp, tcp, idle])
        it.choose = lambda port: "a" if port == it.port else "second"
        for count, port in enumerate((it.port, second), 1):
            registrar.request("INVITE", ["Content-Type: application/sdp"], SDP, ("127.0.0.1", port))
            await reached(lambda: len(it.selected) == count)  # noqa: B023 - waited for within its turn
        reader, writer = await asyncio.open_connection("127.0.0.1", second)
        it.choose = lambda port: "tcp"
        host, port = writer.get_extra_info("sockname")
        writer.write(
            f"INVITE sip:x@127.0.0.1:{second} SIP/2.0\r\nVia: SIP/2.0/TCP {host}:{port};branch=z9hG4bKt\r\n"
            "From: <sip:c@test>;tag=r\r\nTo: <sip:x@test>\r\nCall-ID: tcp@test\r\nCSeq: 1 INVITE\r\n"
            f"Contact: <sip:{host}:{port};transport=tcp>\r\nContent-Length: 0\r\n\r\n".encode()
        )
        await writer.drain()
        await asyncio.wait_for(reader.readuntil(b"SIP/2.0 480"), 5)
        writer.close()
        await it.endpoint.set_accounts([account(registrar)])
        await reached(lambda: is_free(unused))  # closed with its account
        selected = [{**each, "local": ["default", "second"][each["local"] == second]} for each in it.selected]
        accounts = [each.reason for each in drained(it) if hasattr(each, "reason")]
    return {"selected": selected, "accounts": accounts}


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def drained(it: Scene) -> list[Any]:
    found = []
    while not it.events.empty():
        found.append(it.events.get_nowait())
    return found


async def limits() -> dict[str, Any]:
    registrar = await started(Registrar)
    async with scene() as it:
        one = account(registrar, registrar="")
        nine = [Listener("udp", f"127.0.0.{n + 2}", 0) for n in range(8)]
        said = {}
        for name, accounts in (
            ("many", [replace(one, name=str(n)) for n in range(max_accounts())]),
            ("listeners", [replace(one, name=each.bind, listener=each) for each in nine]),
            ("twice", [one, replace(one, name="b", listener=replace(HERE, dscp=46))]),
            ("taken", [one, replace(one, name="b", listener=Listener("udp", "127.0.0.1", registrar.port))]),
            ("ca", [replace(one, listener=Listener("tls", "127.0.0.1", 0, tls=TlsFiles("/no/such/ca.pem")))]),
        ):  # fmt: skip
            try:
                await it.endpoint.set_accounts(accounts)
                said[name] = ""
            except SipuaError as error:
                said[name] = f"{type(error).__name__}: {error}"
        for first in (0, 1):  # all that there may be, and then others in their place
            names = range(first, first + max_accounts() - 1)
            await it.endpoint.set_accounts([replace(one, name=str(n)) for n in names])
    return said


async def changed() -> dict[str, Any]:
    """The same account with another listener, Contact and headers: what is sent from now on is of the new ones."""
    peer = await started(lambda: Registrar(script=((200, ()),)))
    port = free_port()
    async with scene() as it:
        for each in (
            account(peer, registrar=""),
            account(
                peer,
                registrar="",
                contact_user="hall",
                headers=(),
                listener=Listener("udp", "127.0.0.1", port),
            ),
        ):
            await it.endpoint.set_accounts([each])
            await it.endpoint.options(f"sip:127.0.0.1:{peer.port}", uuid4(), "a")
            await it.until(OptionsAnswered)
        sources = [
            "default" if where == it.port else "own" if where == port else "?" for _, where in peer.sources
        ]
    return {
        "sources": sources,
        "agents": [each.header("user-agent") for each in peer.received],
        "from": [(each.header("from") or "").partition(";")[0] for each in peer.received],
    }


async def leaving() -> dict[str, Any]:
    """An account that nobody wants any more stays until its call is over and, if that was abandoned, Timer B."""
    silent = await started(lambda: Registrar(is_silent=True))
    counts = []
    async with scene() as it:

        async def count() -> None:
            await it.endpoint.settle()
            counts.append(accounts_taken())

        await it.endpoint.set_accounts([account(silent, registrar="")])
        await count()
        key = uuid4()
        plan = SdpPlan("127.0.0.1", 4000, ("PCMU",))
        await it.endpoint.invite(f"sip:x@127.0.0.1:{silent.port}", plan, key, account="a")
        await it.endpoint.set_accounts([])
        await count()
        await it.endpoint.hang_up(key)
        while (await it.until(LegChanged)).state is not LegState.DISCONNECTED:
            pass
        await count()
        account_directors.TIMER_B_S = 0.0  # it is over
        await reached(lambda: accounts_taken() == 1)
        await count()
    return {"counts": counts}


async def another_pjsip() -> dict[str, Any]:
    """Its structures are laid out otherwise: then nothing is read out of them, and one listener is all there may be."""
    arrival._LOCAL += 4
    registrar = await started(Registrar)
    async with scene() as it:
        await it.endpoint.set_accounts([account(registrar, registrar="")])
        registrar.request("INVITE", ["Content-Type: application/sdp"], SDP, ("127.0.0.1", it.port))
        rejected = await it.until(RejectedCall)
        elsewhere = account(registrar, registrar="", listener=Listener("tcp", "127.0.0.1", 0))
        said = ""
        try:
            await it.endpoint.set_accounts([elsewhere])
        except SipuaError as error:
            said = str(error)
    return {
        "is_own": it.selected == [{"local": it.port, "transport": "udp"}],
        "code": rejected.code,
        "said": said,
    }


async def dscp() -> dict[str, Any]:
    """Of every socket that has to do with a trunk: listeners, and a connection that an OPTIONS opens."""
    found: dict[str, list[int]] = {}
    async with scene() as it:
        for transport in ("udp", "tcp", "tls"):
            tls = TlsFiles() if transport == "tls" else None
            listener = Listener(transport, "127.0.0.1", free_port(), dscp=46, tls=tls)
            peer = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
            port = peer.sockets[0].getsockname()[1]
            it.accounts.append(
                account(await started(Registrar), registrar="", name=transport, listener=listener)
            )
            await it.endpoint.set_accounts(it.accounts)
            await it.endpoint.options(f"sip:127.0.0.1:{port};transport={transport}", uuid4(), transport)
            sockets = 1 if transport == "udp" else 2
            await reached(lambda: len(_dscp_of(listener.port, port)) == sockets)  # noqa: B023 - as above
            found[transport] = sorted(_dscp_of(listener.port, port))
            peer.close()
    return found


def _dscp_of(local: int, remote: int) -> list[int]:
    """Of our sockets that are bound to the one port or connected to the other."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            with socket.socket(fileno=os.dup(int(link.name))) as each:
                peer = each.getpeername()[1] if _is_connected(each) else 0
                if each.getsockname()[1] == local or peer == remote:
                    found.append(each.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2)
        except (OSError, IndexError):
            continue  # no socket, or none of the internet
    return found


def _is_connected(each: socket.socket) -> bool:
    try:
        each.getpeername()
    except OSError:
        return False
    return True


async def _answered(it: Scene, port: str) -> UUID:
    key = uuid4()
    await it.endpoint.invite(f"sip:peer@127.0.0.1:{port}", SdpPlan("127.0.0.1", 4000, ("PCMU",)), key)
    while (await it.until(LegChanged)).state is not LegState.CONFIRMED:
        pass
    return key


async def refer(port: str) -> dict[str, Any]:
    """A blind transfer of a call to a sipp at ``port``, which tells how it goes."""
    async with scene() as it:
        key = await _answered(it, port)
        await it.endpoint.refer(key, "sip:+250788999999@carrier.test")
        told: list[TransferProgress] = [await it.until(TransferProgress)]
        while not told[-1].is_final:
            told.append(await it.until(TransferProgress))
        await it.endpoint.hang_up(key)
        await it.until(LegChanged)
    return {"codes": [each.code for each in told], "phrase": told[-1].phrase}


async def reinvite(port: str) -> dict[str, Any]:
    """The call's media come to another address."""
    async with scene() as it:
        key = await _answered(it, port)
        await it.endpoint.reinvite(key, "127.0.0.7")
        await it.until(MediaChanged)  # answered
        await it.endpoint.hang_up(key)
        await it.until(LegChanged)
    return {}


SCENES: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        digest,
        refused,
        too_brief,
        nobody,
        proxies,
        mwi,
        options,
        listeners,
        limits,
        refer,
        reinvite,
        dscp,
        changed,
        leaving,
        another_pjsip,
    )
}

if __name__ == "__main__":
    print(json.dumps(asyncio.run(SCENES[sys.argv[1]](*sys.argv[2:]))))
