"""The second leg of a bridged transfer: dialled through our trunks with fail-over, until a person answers.

It is a call of its own to the trunks (channels, slots, health), and a part of the first one to the ledger: its attempts
are rows of that. Whoever has one calls ``close``, whatever became of it: what rings gets CANCEL, what talks BYE.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from rtp.codec import Codec, codec_by_name
from sipua.call_leg import HANG_UP_TIMEOUT_S, CallLeg
from sipua.dialler import Dialler
from sipua.errors import SipuaError
from sipua.media import MediaLeg
from sipua.media_ports import Sockets, discard
from sipua.metrics import Metrics
from sipua.outbound import Alerted, OutboundProgress, Rings, Trying, Winner
from sipua.outcome import TRANSFERRED, Ending, ending_of_error
from sipua.ports import AttemptMade, CallRecord, Clock, OutboundSip, SipLegs
from sipua.trunk import Trunk
from sipua.trunks.attempt import CallRules
from sipua.trunks.routing import Route

log = logging.getLogger(__name__)

News = Rings | CallLeg | Ending  # it rings, once for each trunk; then the answered leg, or why there is none


@dataclass(frozen=True, slots=True)
class SecondLegs:
    """What those of all calls share; ``sip`` and ``legs`` are the same SIP side."""

    dialler: Dialler
    sip: OutboundSip
    legs: SipLegs
    media_leg: Callable[[Sockets, Codec, Trunk], MediaLeg]
    metrics: Metrics
    clock: Clock

    def route(self, number: str, caller: str, trunk: str) -> Route:
        """By ``trunk`` only, if it is named; with ``caller``'s number where a trunk may present it."""
        return self.dialler.route(number, only=trunk, presented=caller)

    def leg(self, route: Route, record: CallRecord, ring_s: float, diverted_from: str) -> SecondLeg:
        return SecondLeg(self, route, record, ring_s, diverted_from)


class SecondLeg:
    """``news`` tells how it goes."""

    def __init__(
        self, shared: SecondLegs, route: Route, record: CallRecord, ring_s: float, diverted_from: str
    ) -> None:
        self.leg: CallLeg | None = None
        self.news: asyncio.Queue[News] = asyncio.Queue()  # one for each trunk at most, and the end
        self._shared = shared
        self._record = record
        self._trunks = shared.dialler.trunks
        rules = CallRules(ring_timeout_s=ring_s, total_timeout_s=ring_s)
        self._call = shared.dialler.call(
            shared.sip, route, rules, self._tell, None, diverted_from=diverted_from
        )
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def dial(self) -> None:
        """Once."""
        self._task = asyncio.create_task(self._dial(), name=f"second leg of {self._record.id}")

    async def close(self) -> None:
        """Ends the leg in whatever state it is; bounded. Again is no error."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="end of a second leg")
        await asyncio.shield(self._closing)

    async def _dial(self) -> None:
        try:
            outcome = await self._call.dial()
        except SipuaError as error:
            outcome = ending_of_error(error, answered=False)
        if isinstance(outcome, Winner):
            self.leg = self._answered(outcome)
            self.news.put_nowait(self.leg)
        else:
            self.news.put_nowait(outcome)

    def _answered(self, winner: Winner) -> CallLeg:
        shared, trunk = self._shared, self._trunks[winner.trunk]
        discard(winner.sockets)
        media = shared.media_leg(winner.sockets, codec_by_name(trunk.codecs[0]), trunk)
        leg = CallLeg(winner.key, trunk, media, shared.legs, TRANSFERRED, self._call.events)
        leg.accepted(shared.clock.now())
        leg.catch_up()
        return leg

    def _tell(self, progress: OutboundProgress) -> None:
        shared = self._shared
        match progress:
            case Trying(trunk, target):
                log.info(
                    "call=%s > INVITE of the second leg by trunk %s at %s", self._record.id, trunk, target
                )
            case Rings():
                self.news.put_nowait(progress)
            case AttemptMade():
                self._record.attempt(shared.clock.now(), progress)
                shared.metrics.count_attempt(progress)
            case Alerted(trunk, reason):
                shared.metrics.trunk_alerts.labels(trunk, reason).inc()

    async def _close(self) -> None:
        task = self._task
        if task is not None and not task.done():
            self._call.cancel()
            await asyncio.wait({task}, timeout=HANG_UP_TIMEOUT_S)
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if self.leg is not None:  # also one whose answer crossed our CANCEL
            await self.leg.hang_up(0)
            self._shared.metrics.count_media(self.leg.trunk.name, self.leg.media.figures())
            self.leg.media.close()
        self._call.close()
