"""A canary call: placed through the real routing, answered by a carrier of the drill, with sound both ways."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rtp.codec import codec_by_name
from rtp.pacer import Pacer
from rtp.quality import Quality
from sipua.dialler import Dialler, router_of
from sipua.drills.findings import CanaryCall
from sipua.drills.mutations import Mutation
from sipua.errors import LocalError
from sipua.media import MediaLeg
from sipua.outbound import OutboundProgress, Rings, Trying, Winner
from sipua.outcome import Ending, Status
from sipua.pj.endpoint import SipEndpoint
from sipua.ports import AttemptMade
from sipua.sip_events import EndpointFailed, LegChanged, LegState, MediaChanged
from sipua.trunks.attempt import CallRules
from sipua.trunks.health import Health
from sipua.trunks.policy import Verdict
from sipua.trunks.routing import Address, Route

if TYPE_CHECKING:
    from sipua.drills.findings import Tone

SOUND_PACKETS = 3  # of RTP that come back: the call is up with sound
SOUND_WAIT_S = 2.0
BYE_WAIT_S = 2.0

Draw = Callable[[str, float, float, str, "Tone"], None]  # lane, from, until, text, tone


@dataclass(frozen=True, slots=True)
class Line:
    """What the canary calls of a drill share."""

    endpoint: SipEndpoint
    dialler: Dialler
    addresses: Callable[[], Mapping[str, tuple[Address, ...]]]
    pacer: Pacer
    mutation: Mutation
    number: str
    draw: Draw


class Canary:
    """One call. ``dial``, look at it, ``hang_up``; ``expects_answer`` False: nobody is to answer it."""

    def __init__(self, line: Line, lane: str, *, expects_answer: bool, ring_timeout_s: float | None) -> None:
        self.lane = lane
        self.expects_answer = expects_answer
        self.attempts: list[AttemptMade] = []
        self.dialled_at = 0.0
        self.rang_at: float | None = None
        self.answered_at: float | None = None
        self.over_at: float | None = None
        self.ending: Ending | None = None  # of a call that was not answered, or has ended
        self.trunk = ""  # that answered
        self.heard = 0
        self.media: MediaLeg | None = None
        self.codec = ""
        self.ended = asyncio.Event()
        self._quality: Quality | None = None
        self._line = line
        self._rules = CallRules(ring_timeout_s=ring_timeout_s)
        self._trying_at = 0.0
        self._winner: Winner | None = None
        self._following: asyncio.Task[None] | None = None
        self._sound = asyncio.Event()
        self._close: list[Callable[[], None]] = []

    # ---- what came of it -----------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """It was answered, and sound came back."""
        return self.answered_at is not None and self.heard >= SOUND_PACKETS

    @property
    def setup_ms(self) -> int:
        """From dialling to the answer, or to the end of a call that was not answered."""
        until = self.answered_at or self.over_at or time.monotonic()
        return round((until - self.dialled_at) * 1000)

    @property
    def pdd_ms(self) -> int:
        """Post-dial delay of an answered call: from dialling until it rang, or was answered without ringing."""
        heard_at = self.rang_at or self.answered_at
        assert heard_at is not None
        return round((heard_at - self.dialled_at) * 1000)

    @property
    def reason(self) -> str:
        """Why it was not answered, or how it ended."""
        return self.ending.reason if self.ending is not None else "up"

    @property
    def figures(self) -> CanaryCall:
        """How good it was; also of a call that is over."""
        quality = self.media.figures().quality if self.media is not None else self._quality
        if quality is None:
            return CanaryCall(self.lane, self.trunk, None, None, None)
        loss = round(quality.loss_percent, 2)
        return CanaryCall(self.lane, self.trunk, round(quality.r, 2), round(quality.mos, 2), loss)

    @property
    def story(self) -> str:
        """In one line."""
        tried = ", ".join(f"{each.trunk} {each.reason}" for each in self.attempts) or "nothing tried"
        return f"{self.lane}: {tried} ({self.setup_ms} ms)"

    # ---- dialling ------------------------------------------------------------------------------------------

    async def dial(self) -> None:
        """Until somebody answers and is heard, or nobody will."""
        line = self._line
        self.dialled_at = time.monotonic()
        if line.mutation is Mutation.RETRY_ALWAYS:
            outcome = await self._elsewhere_always()
        elif line.mutation is Mutation.NO_FAILOVER:
            outcome = await self._dial(self._first_of_the_files(), replace(self._rules, max_attempts=1))
        else:
            outcome = await self._dial(line.dialler.route(line.number), self._rules)
        now = time.monotonic()
        if isinstance(outcome, Ending):
            self.over_at, self.ending = now, outcome
            if not self.attempts:
                line.draw(self.lane, self.dialled_at, now, outcome.reason, "bad")
            self.ended.set()
            return
        self._winner, self.trunk, self.answered_at = outcome, outcome.trunk, now
        self._following = asyncio.create_task(self._follow(), name=self.lane)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SOUND_WAIT_S):
                await self._sound.wait()

    async def _dial(self, route: Route, rules: CallRules) -> Winner | Ending:
        if not route.targets:
            why = "; ".join(f"{each.trunk}: {each.reason}" for each in route.rejected)
            return Ending(Status.FAILED, "no_route", why)
        call = self._line.dialler.call(self._line.endpoint, route, rules, self._tell)
        self._close.append(call.close)
        self._events = call.events
        return await call.dial()

    def _first_of_the_files(self) -> Route:
        """The mutation no-failover: as if nothing were ever known of a target's health, and the first one alone."""
        shared = self._line.dialler
        trunks = tuple(shared.trunks.values())
        router = router_of(trunks, self._line.addresses(), Health(shared.rng), shared.occupancy)
        route = router.route(self._line.number, "", time.monotonic(), shared.rng)
        return Route(route.to_e164, route.targets[:1], route.rejected)

    async def _elsewhere_always(self) -> Winner | Ending:
        """The mutation retry-always: target after target until one answers, whatever the refusal said."""
        route = self._line.dialler.route(self._line.number)
        outcome: Winner | Ending = Ending(Status.FAILED, "no_route")
        for target in route.targets:
            one = Route(route.to_e164, (target,), route.rejected)
            outcome = await self._dial(one, replace(self._rules, max_attempts=1))
            if isinstance(outcome, Winner):
                break
        return outcome

    def _tell(self, progress: OutboundProgress) -> None:
        now = time.monotonic()
        match progress:
            case Trying():
                self._trying_at = now
            case Rings():
                self.rang_at = self.rang_at or now
            case AttemptMade():
                self.attempts.append(progress)
                text = f"{progress.trunk}: {progress.code or ''} {progress.reason}".replace(":  ", ": ")
                is_answered = progress.decision == Verdict.ANSWERED
                self._line.draw(self.lane, self._trying_at, now, text, "good" if is_answered else "bad")

    # ---- the call ------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """The winning leg's story, until it is over."""
        assert self._winner is not None
        line = self._line
        while True:
            match await self._events.get():
                case EndpointFailed(message):
                    raise LocalError(f"the SIP thread died: {message}")
                case MediaChanged(media=media) if media is not None:
                    if self.media is None and media.codec:
                        self.codec = media.codec
                        codec = codec_by_name(media.codec)
                        self.media = MediaLeg(self._winner.sockets, line.dialler.ports, line.pacer, codec)
                        self.media.start(on_audio=self._on_audio)
                    if self.media is not None:
                        self.media.configure(media)
                case LegChanged(state=LegState.DISCONNECTED, code=code, phrase=phrase, at=at):
                    self.over_at = at
                    self.ending = Ending(Status.COMPLETED, "ended", phrase, code)
                    assert self.answered_at is not None
                    line.draw(self.lane, self.answered_at, at, f"up on {self.trunk}", "good")
                    self.ended.set()
                    return

    def _on_audio(self, audio: bytes) -> None:
        self.heard += 1
        if self.heard >= SOUND_PACKETS:
            self._sound.set()

    async def hang_up(self) -> None:
        """BYE if it is up; gives back what it holds."""
        if self._winner is not None and not self.ended.is_set():
            await self._line.endpoint.hang_up(self._winner.key)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BYE_WAIT_S):
                    await self.ended.wait()
        await self.release()

    async def release(self) -> None:
        """Without a BYE."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self.media is not None:
            self._quality = self.media.figures().quality
            self.media.close()
            self.media = None
        elif self._winner is not None:
            self._line.dialler.ports.give_back(self._winner.sockets)
        self._winner = None
        while self._close:
            self._close.pop()()
