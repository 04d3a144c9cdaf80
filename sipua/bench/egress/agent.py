"""The agent's side: all of ``serve`` but SIP. Calls, media legs, pacer, voice sessions and writer are the real ones.

``bare`` opens media legs alone, ``calls`` whole calls that have been answered; ``measure`` lets time pass.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import uvloop

from rtp.codec import CODECS
from rtp.pacer import Pacer
from rtp.playout import Playout
from rtp.ports import PortAllocator
from sipua.admission import Grant
from sipua.bench.agent import API_KEY
from sipua.bench.egress.core import busy_s
from sipua.bench.egress.far_end import ADDRESS
from sipua.call import Call
from sipua.call_language import NO_HINT, CallLanguage
from sipua.call_services import CallServices, Legs
from sipua.call_state import Phase
from sipua.call_voice import VoiceService
from sipua.clock import SystemClock
from sipua.errors import LocalError
from sipua.feed import Feed
from sipua.idle import IdleRules
from sipua.inbound import Inbound
from sipua.keys import KeyRules
from sipua.language_choice import Choice
from sipua.languages import load_languages
from sipua.ledger import Ledger
from sipua.media import MediaLeg, MediaRules
from sipua.media_ports import MediaPorts
from sipua.metrics import Metrics
from sipua.realtime.backend import OpenAIBackend
from sipua.realtime.config import SessionConfig, Transcription
from sipua.realtime.continuity import Rules
from sipua.resources import shipped_conf
from sipua.sip_events import IncomingCall, MediaChanged, MediaDescription, SdpPlan
from sipua.sip_message import parse_message
from sipua.spend import Spend, SpendSettings
from sipua.switchboard import opening_of
from sipua.trunk import Trunk
from sipua.turns import TurnRules
from storage.migrate import migrate
from storage.spool import Spool
from storage.writer import LedgerWriter

CODEC = CODECS["PCMU"]
GREETING = "Say hello."
MODEL, TRANSCRIPTION = "gpt-realtime", "gpt-4o-mini-transcribe"
OPEN_TIMEOUT_S = 20.0  # fifty sessions at once
FLUSH_TIMEOUT_S = 5.0
BARE_SPEECH_MS = 60_000
CUT_AFTER_S = (0.08, 0.4)  # an item ends later
CUTS_PER_S = 8.0

TRUNK = Trunk.model_validate(
    {
        "schema": 1,
        "name": "bench",
        "provider": "bench",
        "direction": "inbound",
        "inbound_acl": [f"{ADDRESS}/32"],
    }
)
MESSAGE = parse_message(
    "INVITE sip:agent@127.0.0.1 SIP/2.0\r\nFrom: <sip:+250788123456@127.0.0.1>;tag=1\r\n"
    "To: <sip:agent@127.0.0.1>\r\nCall-ID: bench\r\n\r\n"
)

Addresses = Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Measured:
    """``core_s``: the core was used, by anybody; ``cuts``: by item, the wall clock when its flush was asked for."""

    cpu_s: float
    core_s: float
    seconds: float
    cuts: dict[int, float]
    facts_written: int

    @property
    def percent(self) -> float:
        """Of the core, by us."""
        return self.cpu_s / self.seconds * 100

    @property
    def others_percent(self) -> float:
        """Of the core, by others."""
        return max(0.0, (self.core_s - self.cpu_s) / self.seconds * 100)


def main(pipe: Connection) -> None:
    """The process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Agent(pipe).serve())


class _NoSip:
    """The SIP side of calls that are up: there is nothing to do, and nobody to hear a BYE."""

    async def answer(self, key: UUID) -> None:
        """It is answered."""

    async def hang_up(self, key: UUID, code: int = 0, **_: Any) -> None:
        """It is gone."""


class _Agent:
    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._ports = MediaPorts(PortAllocator(0, 0), ADDRESS)
        self._pacer = Pacer()
        self._media: list[MediaLeg] = []
        self._calls: dict[asyncio.Task[Any], Call] = {}
        self._writer: LedgerWriter | None = None

    async def serve(self) -> None:
        """Until the pipe is closed."""
        self._pacer.start()
        gc.collect()
        gc.freeze()  # as ``serve`` does when it is ready
        questions: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
            "bare": self.bare,
            "calls": self.calls,
            "measure": self.measure,
            "close": self.close,
        }
        while True:
            question, *arguments = await asyncio.to_thread(self._pipe.recv)
            self._pipe.send(await questions[question](*arguments))

    async def bare(self, remotes: Addresses) -> list[int]:
        """Media legs without anybody behind them; their ports."""
        pairs = [self._ports.open(TRUNK, ADDRESS) for _ in remotes]
        for opened, remote in zip(pairs, remotes, strict=True):
            leg = MediaLeg(opened.sockets, self._ports, self._pacer, CODEC)
            leg.configure(_negotiated(remote))
            leg.start(on_audio=lambda payload: None)
            leg.playout.append("speech", bytes(CODEC.frame_bytes(BARE_SPEECH_MS)))
            self._media.append(leg)
        return [opened.port for opened in pairs]

    async def calls(self, remotes: Addresses, base_url: str, dsn: str, spools: str) -> list[int]:
        """Calls that have been answered and have their voice sessions; the ports of their media."""
        await migrate(dsn)
        instance = uuid4()
        spool = Spool(Path(spools), instance, max_bytes=2**30)
        self._writer = LedgerWriter(dsn, instance=instance, spool=spool)
        self._writer.start()
        ledger = Ledger(self._writer, Feed(), {"node": "bench", "worker": 0, "instance": str(uuid4())})
        services = self._services(base_url)
        ports = []
        for remote in remotes:
            opened = self._ports.open(TRUNK, ADDRESS)
            ports.append(opened.port)
            plan = SdpPlan(opened.address, opened.port, TRUNK.codecs, CODEC.name)
            grant = Grant(TRUNK, CODEC.name, plan, None, opened.sockets, uuid4())
            invite = IncomingCall(uuid4(), remote, MESSAGE, grant, time.monotonic())
            record = ledger.open(opening_of(invite.key, MESSAGE, remote, TRUNK), services.clock.now())
            way = Inbound(invite, services)
            way.leg.deliver(MediaChanged(invite.key, _negotiated(remote)))
            call = Call(way, record, services, Phase.INCOMING)
            self._calls[asyncio.create_task(call.run())] = call
            self._media.append(way.leg.media)
        for call in self._calls.values():
            ending = await call.settled()
            if ending is not None:
                raise LocalError(f"a call of the bench ended: {ending.reason} {ending.detail}")
        return ports

    def _services(self, base_url: str) -> CallServices:
        languages = load_languages(shipped_conf())
        voice = VoiceService(
            backend=OpenAIBackend(base_url, API_KEY, open_timeout_s=OPEN_TIMEOUT_S),
            session_config=lambda format: SessionConfig(
                MODEL, audio_format=format, transcription=Transcription(TRANSCRIPTION)
            ),
            language_of=lambda opening, now, remembered: CallLanguage(
                languages, Choice("en", "default"), lambda _: "", greeting=GREETING, hint=NO_HINT
            ),
            open_timeout_s=OPEN_TIMEOUT_S,
            rules=Rules(),
            spend=Spend(SpendSettings(), date.today()),
            today=date.today,
        )
        return CallServices(
            legs=cast(Legs, _NoSip()),
            voice=voice,
            pacer=self._pacer,
            ports=self._ports,
            media=MediaRules(),
            turns=TurnRules(),
            idle=IdleRules(),
            keys=KeyRules(),
            metrics=Metrics(node="bench", worker=0, instance="", version=""),
            clock=SystemClock(),
        )

    async def measure(self, seconds: float, items: Sequence[bytes] = ()) -> Measured:
        """Lets so much time pass; now and then a leg says one of the coded items, and is interrupted."""
        written = self._writer.stats.written if self._writer is not None else 0
        cuts: dict[int, float] = {}
        cpu = min(os.sched_getaffinity(0))
        core, own, began = busy_s(cpu), time.process_time(), time.monotonic()
        await self._interrupt(began + seconds, items, cuts)
        await asyncio.sleep(began + seconds - time.monotonic())
        passed, cpu_s, core_s = time.monotonic() - began, time.process_time() - own, busy_s(cpu) - core
        facts = self._writer.stats.written - written if self._writer is not None else 0
        return Measured(cpu_s, core_s, passed, cuts, facts)

    async def _interrupt(self, until: float, items: Sequence[bytes], cuts: dict[int, float]) -> None:
        """Says items to calls at random, and flushes each a moment later, as when a caller speaks."""
        loop = asyncio.get_running_loop()
        for number, coded in enumerate(items, 1):  # 0 is other sound
            if time.monotonic() >= until - CUT_AFTER_S[1]:
                return
            playout = random.choice(self._media).playout
            playout.flush()
            playout.append(f"bench-{number}", coded)
            loop.call_later(random.uniform(*CUT_AFTER_S), _cut, playout, number, cuts)
            await asyncio.sleep(1 / CUTS_PER_S)

    async def close(self) -> None:
        """All legs and calls."""
        for call in self._calls.values():
            call.stop()
        if self._calls:
            await asyncio.wait(self._calls)
        else:
            for leg in self._media:
                leg.close()
        self._media, self._calls = [], {}
        if self._writer is not None:
            await self._writer.close(FLUSH_TIMEOUT_S)
            self._writer = None


def _cut(playout: Playout, item: int, cuts: dict[int, float]) -> None:
    cuts[item] = time.time()
    playout.flush()


def _negotiated(remote: tuple[str, int]) -> MediaDescription:
    host, port = remote
    return MediaDescription(CODEC.name, 0, 0, -1, -1, remote, (host, port + 1), "sendrecv")
