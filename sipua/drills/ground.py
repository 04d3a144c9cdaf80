"""What a drill stands on: carriers on loopback, trunk files that lead there, the real endpoint and dialler, canaries.

Leaving it ends everything that it started. Times on the timeline count from its beginning.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rtp.pacer import Pacer
from rtp.ports import PortAllocator
from sipua.accounts import Place, accounts_of, secrets_of
from sipua.clock import SystemClock
from sipua.dialler import Dialler
from sipua.drills.canary import Canary, Line
from sipua.drills.carriers import Carrier
from sipua.drills.chronicle import Chronicle
from sipua.drills.findings import Check, Entry, Tone
from sipua.drills.mutations import Mutation
from sipua.drills.name_server import Zone, start_name_server
from sipua.drills.script import WELL, Script
from sipua.errors import LocalError
from sipua.fleet import Fleet, Surroundings
from sipua.media_ports import MediaPorts
from sipua.names import Names
from sipua.occupancy import Occupancy
from sipua.pj.build import max_calls, slots_taken
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.resolve import resolve_trunks
from sipua.sip_events import Refusal, SipEvent
from sipua.source_address import bind_address
from sipua.trunk import Trunk
from sipua.trunk_files import load_trunks
from sipua.trunks.health import Health
from sipua.trunks.policy import Verdict
from sipua.trunks.routing import Address

if TYPE_CHECKING:
    from sipua.drills.certificates import CertificateFiles

OURS = "127.0.0.1"
NUMBER = "+12025550123"
FIRST_RESPONSE_S = 0.4
ALLOWANCE_S = 0.3  # beyond the trunk's own time-out, until the call is up elsewhere
PROGRESS_S = 1.0
HOLD_DOWN_S = 1.0
RULES = {
    "first_response_timeout_ms": f"{FIRST_RESPONSE_S * 1000:.0f}",
    "progress_timeout_s": f"{PROGRESS_S}",
    "hold_down_s": f"{HOLD_DOWN_S}",
    "fault_hold_down_s": f"{HOLD_DOWN_S}",
    "open_after": "2",
}
RECOVERY_LIMIT_S = 8.0
RECOVERY_STEP_S = 0.2
UNBROKEN_S = 1.0
DRILL = "drill"


class Ground:
    """One drill's. ``within_s`` is how long a call may take to be up elsewhere; None: the drill's own bound."""

    def __init__(self, folder: Path, mutation: Mutation, within_s: float | None = None) -> None:
        self.folder = folder
        self.mutation = mutation
        self.carriers: dict[str, Carrier] = {}
        self.canaries: list[Canary] = []
        self.checks: list[Check] = []
        self.timeline: list[Entry] = []
        self.detect_ms: int | None = None
        self.recover_ms: int | None = None
        self.broken_at: float | None = None
        self.mended_at: float | None = None
        self._within_s = within_s
        self.started_at = datetime.now(UTC).isoformat()
        self._begun = time.monotonic()
        self._stack = AsyncExitStack()
        self._line: Line | None = None
        self.chronicle = Chronicle(self.mark)
        self.addresses: Mapping[str, tuple[Address, ...]] = {}
        self.fleet: Fleet | None = None
        self.nameservers: list[tuple[str, int]] = []  # else the system's
        self._pacer = Pacer()

    async def __aenter__(self) -> Ground:
        return self

    async def __aexit__(self, *about: object) -> None:
        for canary in self.canaries:
            await canary.hang_up()
        await self._stack.aclose()

    # ---- building ------------------------------------------------------------------------------------------

    async def carrier(
        self,
        name: str,
        script: Script = WELL,
        *,
        transport: str = "udp",
        certificate: CertificateFiles | None = None,
        domain: str = "",
    ) -> Carrier:
        """A carrier on a loopback address of its own; ``domain`` is the name that its certificate bears."""
        host = f"127.0.0.{11 + len(self.carriers)}"
        carrier = Carrier(
            name, host, script, transport=transport, certificate=certificate, contact_host=domain
        )
        await carrier.start()
        self._stack.push_async_callback(carrier.close)
        self.carriers[name] = carrier
        return carrier

    async def name_server(self, zone: Zone) -> None:
        """Names are asked of a server of the drill's own."""
        server = await start_name_server(zone)
        self._stack.callback(server.transport.close)
        self.nameservers.append(server.address)

    def leaves(self, close: Callable[[], Awaitable[None]]) -> None:
        """What is to be ended with the drill."""
        self._stack.push_async_callback(close)

    async def open(self, trunks: Mapping[str, str] | None = None) -> None:
        """Trunks by name (further lines of their files), in the order of their priority; then endpoint and dialler."""
        files = self._files(dict.fromkeys(self.carriers, "") if trunks is None else trunks)
        rng, occupancy, clock = random.Random(), Occupancy(), SystemClock()
        dialler = Dialler(Health(rng), occupancy, MediaPorts(PortAllocator(0, 0)), rng, clock)
        place = Place(OURS, 0, "drill", has_fixed_ports=False)
        around = Surroundings(
            clock, rng, self.chronicle, self.chronicle.alarm,
            lambda found: accounts_of(found, place, secrets_of(found)), self._resolve,
        )  # fmt: skip
        fleet = self.fleet = Fleet(dialler, around)
        endpoint = await self._endpoint(files, OURS, fleet.on_sip_event)
        occupancy.open(max_calls(), slots_taken)
        await fleet.start(endpoint, files)
        self._stack.push_async_callback(fleet.stop)
        self._line = self._line_of(endpoint, dialler, NUMBER)

    async def notices_lost_connections(self) -> None:
        """Two turns of the SIP thread, one of them whole: no request is sent on what has just been cut."""
        for _ in range(2):
            await self.line.endpoint.settle()

    async def open_configured(
        self, trunks: Sequence[Trunk], addresses: Mapping[str, tuple[Address, ...]], number: str
    ) -> None:
        """The configured trunks as they are, at these addresses: no registration, no OPTIONS, as with a test call."""
        holder: list[Dialler] = []
        bind = bind_address(addresses)
        endpoint = await self._endpoint(trunks, bind, lambda event: holder[0].deliver(event))
        known = [each for each in trunks if each.name in addresses]
        place = Place(bind, 0, "drill", has_fixed_ports=False)
        await endpoint.set_accounts(accounts_of(known, place, secrets_of(known)))
        ports = MediaPorts(PortAllocator(0, 0))
        holder.append(Dialler.alone(trunks, addresses, limit=max_calls(), held=slots_taken, ports=ports))
        self.addresses = addresses
        self._line = self._line_of(endpoint, holder[0], number)

    async def _endpoint(
        self, trunks: Sequence[Trunk], bind: str, deliver: Callable[[SipEvent], None]
    ) -> SipEndpoint:
        """The one of this process, started."""
        codecs = tuple(dict.fromkeys(codec for trunk in trunks for codec in trunk.codecs))
        endpoint = SipEndpoint(
            EndpointConfig(bind=bind, port=0, codecs=codecs, contact_user="drill"),
            lambda arrival, message: Refusal(480, "a drill takes no calls", None),
            deliver,
            look_up=Names("AAAA" if ":" in bind else "A", trunks, nameservers=self.nameservers).find,
        )
        await endpoint.start()
        self._stack.push_async_callback(endpoint.stop)
        self._pacer.start()
        self._stack.callback(self._pacer.stop)
        return endpoint

    def _line_of(self, endpoint: SipEndpoint, dialler: Dialler, number: str) -> Line:
        return Line(endpoint, dialler, lambda: self.addresses, self._pacer, self.mutation, number, self.draw)

    async def _resolve(
        self, trunks: Sequence[Trunk]
    ) -> tuple[Mapping[str, tuple[Address, ...]], Mapping[str, str]]:
        """As everywhere; a name that leads nowhere is a fault of the drill."""
        addresses, faults = await resolve_trunks(trunks, nameservers=self.nameservers)
        for name, why in faults.items():
            self.expect(f"the name of trunk {name} is known", False, why)
        self.addresses = addresses
        return addresses, faults

    def _files(self, trunks: Mapping[str, str]) -> tuple[Trunk, ...]:
        """The trunk files, written and read as an operator's are."""
        folder = self.folder / "conf" / "trunks"
        folder.mkdir(parents=True, exist_ok=True)
        for priority, (name, lines) in enumerate(trunks.items()):
            rules = RULES if "domain =" in lines else {"domain": f'"{self.carriers[name].place}"', **RULES}
            usual = "".join(f"{key} = {value}\n" for key, value in rules.items() if f"{key} =" not in lines)
            (folder / f"{name}.toml").write_text(
                f'schema = 1\nname = "{name}"\nprovider = "loopback"\ndirection = "outbound"\n'
                f'priority = {priority}\ncaller_id = "+12025550100"\n{usual}{lines}\n'
            )
        return load_trunks(folder.parent)

    @property
    def line(self) -> Line:
        """What canaries are placed with."""
        if self._line is None:
            raise LocalError("the drill places a call before its trunks are open")
        return self._line

    @property
    def dialler(self) -> Dialler:
        return self.line.dialler

    # ---- breaking and mending --------------------------------------------------------------------------------

    def breaks(self, what: str) -> bool:
        """Marks that the drill breaks something now. False with the mutation no-break: leave it whole."""
        self.broken_at = time.monotonic()
        is_left = self.mutation is Mutation.NO_BREAK
        self.mark(f"{what} (left out: no-break)" if is_left else what, "bad")
        return not is_left

    def mends(self, what: str) -> None:
        """Marks that it is whole again."""
        self.mended_at = time.monotonic()
        self.mark(what, "good")

    # ---- calls -------------------------------------------------------------------------------------------------

    async def call(
        self, *, stays: bool = False, expects_answer: bool = True, ring_timeout_s: float | None = None
    ) -> Canary:
        """A canary, until it is answered and heard or refused; hung up then, unless it ``stays``."""
        lane = f"call {len(self.canaries) + 1}"
        canary = Canary(self.line, lane, expects_answer=expects_answer, ring_timeout_s=ring_timeout_s)
        self.canaries.append(canary)
        await canary.dial()
        if not stays:
            await canary.hang_up()
        return canary

    async def recovers(self, carrier: str) -> bool:
        """Calls again and again until this trunk carries one; how long that took is ``recover_ms``."""
        assert self.mended_at is not None
        while time.monotonic() < self.mended_at + RECOVERY_LIMIT_S:
            canary = await self.call()
            if canary.trunk == carrier and canary.answered_at is not None:
                self.recover_ms = round((canary.answered_at - self.mended_at) * 1000)
                self.expect(
                    f"{carrier} carries calls again", True, f"{carrier} again after {self.recover_ms} ms"
                )
                return True
            await asyncio.sleep(RECOVERY_STEP_S)
        self.expect(f"{carrier} carries calls again", False, f"not within {RECOVERY_LIMIT_S:g} s")
        return False

    def detected(self, canary: Canary) -> None:
        """The first attempt that failed after the break tells how long that took to see."""
        failed = [each for each in canary.attempts if each.decision != Verdict.ANSWERED]
        if failed:
            self.detect_ms = failed[0].ms

    def bound_ms(self, seconds: float) -> int:
        """How long a call may take to be up elsewhere: what --within says, else so many seconds and a little."""
        return round((seconds + ALLOWANCE_S if self._within_s is None else self._within_s) * 1000)

    # ---- telling -----------------------------------------------------------------------------------------------

    def expect(self, expected: str, held: bool, found: str) -> bool:
        """One expectation and what was found."""
        self.checks.append(Check(expected, held, found))
        return held

    def mark(self, text: str, tone: Tone = "plain", *, lane: str = DRILL, at: float | None = None) -> None:
        """A moment on the timeline."""
        self.timeline.append(Entry(lane, self._ms(at or time.monotonic()), None, text, tone))

    def draw(self, lane: str, since: float, until: float, text: str, tone: Tone) -> None:
        """A stretch on the timeline."""
        self.timeline.append(Entry(lane, self._ms(since), self._ms(until), text, tone))

    async def until(self, condition: Callable[[], object], what: str, seconds: float) -> bool:
        """Waits for the world; False, marked on the timeline, if it did not come about in time.

        Where nothing was broken (the mutation no-break) nothing will come of it: that is not waited for.
        """
        if self.mutation is Mutation.NO_BREAK and self.broken_at is not None:
            seconds = min(seconds, UNBROKEN_S)
        give_up = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > give_up:
                self.mark(f"not within {seconds:g} s: {what}", "bad")
                return False
            await asyncio.sleep(0.01)
        return True

    @property
    def elapsed_ms(self) -> int:
        return self._ms(time.monotonic())

    def after_break(self) -> Sequence[Canary]:
        """Canaries dialled while it was broken."""
        since, until = self.broken_at, self.mended_at or float("inf")
        return [each for each in self.canaries if since is not None and since <= each.dialled_at < until]

    def before_break(self) -> Sequence[Canary]:
        broken = self.broken_at if self.broken_at is not None else float("inf")
        return [each for each in self.canaries if each.dialled_at < broken]

    def _ms(self, at: float) -> int:
        return max(0, round((at - self._begun) * 1000))
