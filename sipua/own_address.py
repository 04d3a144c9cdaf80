"""Watches under which address each trunk reaches us, and says when that becomes another one.

The kernel is asked every few seconds (connecting a UDP socket sends nothing), the STUN server twice a minute, and the
trunks' answers to REGISTER and OPTIONS are read as they come. What that means is in ``reflexive``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from sipua.errors import SipuaError
from sipua.media_ports import ANY, local_address_towards
from sipua.reflexive import Kind, Reflexive, seen_from
from sipua.sip_events import OptionsAnswered, RegistrationAnswered, SipEvent
from sipua.stun import PORT, mapped_address
from sipua.trunk import Trunk

log = logging.getLogger(__name__)

LOOK_EVERY_S = 3.0
STUN_EVERY_S = 30.0

Changed = Callable[[set[str]], Awaitable[None]]  # names of trunks


class OwnAddress:
    """``bind`` is where SIP listens for a trunk without an address of its own; ``stun_server`` host[:port] or "".

    ``address_of`` may be asked from any thread.
    """

    def __init__(self, trunks: Sequence[Trunk], bind: str, stun_server: str) -> None:
        self._bind = bind
        self._stun_server = stun_server
        self._core = Reflexive()
        self._trunks: tuple[Trunk, ...] = ()
        self._moved: set[str] = set()  # trunks that have not been told yet
        self._news = asyncio.Event()
        self._told: dict[str, str] = {}
        self.replace(trunks)

    def replace(self, trunks: Sequence[Trunk]) -> None:
        """The trunks in force."""
        self._trunks = tuple(each for each in trunks if each.enabled)
        self._core.follow(
            {each.name: kind for each in self._trunks if (kind := _kind_of(each, self._bind)) is not None}
        )

    def address_of(self, trunk: Trunk) -> str:
        """What Contact and SDP name for this trunk; "" is the address that the socket is bound to."""
        if trunk.public_ip and trunk.public_ip != "auto":
            return trunk.public_ip
        return self._core.address(trunk.name)

    def on_sip_event(self, event: SipEvent) -> None:
        """Answers to REGISTER and OPTIONS tell how the trunk sees us."""
        if isinstance(event, RegistrationAnswered | OptionsAnswered) and event.headers is not None:
            seen = seen_from(event.headers)
            if seen:
                self._tell(self._core.via(event.account.partition("/")[0], seen))

    async def watch(self, towards: Callable[[str], Sequence[str]], changed: Changed) -> None:
        """Until cancelled. ``towards`` has the addresses of a trunk, as far as they are known."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(towards), name="own-address")
            if self._stun_server:
                group.create_task(self._ask_stun(), name="stun")
            while True:
                await self._news.wait()
                self._news.clear()
                now = {name: self._core.address(name) for name in self._moved}
                self._moved.clear()
                names = {name for name, address in now.items() if self._told.get(name) != address}
                if names:
                    await self._follow(names, now, changed)

    async def _follow(self, names: set[str], now: Mapping[str, str], changed: Changed) -> None:
        for name in sorted(names):
            log.info("trunk %s: our address is %s now", name, now[name])
        try:
            await changed(names)
        except SipuaError as error:
            log.error("our new address could not be told to everybody: %s", error)
            self._moved |= names  # again at the next look
        else:
            self._told |= {name: now[name] for name in names}

    async def _look(self, towards: Callable[[str], Sequence[str]]) -> None:
        while True:
            for trunk in self._trunks:
                for address in towards(trunk.name)[:1]:
                    try:
                        local = local_address_towards(address)
                    except OSError:
                        continue  # no way there now: the next look will tell
                    self._tell(self._core.local(trunk.name, local))
            self._tell(self._moved)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _ask_stun(self) -> None:
        host, _, port = self._stun_server.partition(":")
        server = host, int(port or PORT)
        while True:
            try:
                self._tell(self._core.stun(await mapped_address(server, self._bind)))
            except SipuaError as error:
                log.warning("%s", error)
            await asyncio.sleep(STUN_EVERY_S)

    def _tell(self, names: set[str]) -> None:
        if names:
            self._moved |= names
            self._news.set()


def _kind_of(trunk: Trunk, bind: str) -> Kind | None:
    if trunk.public_ip == "auto":
        return Kind.PUBLIC
    return Kind.LOCAL if not trunk.public_ip and (trunk.bind or bind) in ANY else None
