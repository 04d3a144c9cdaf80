"""The way of a call that we place: dialled with fail-over, ringing somewhere, answered by a callee.

The dialling is a task of its own, so that giving up is told to the fail-over machine: it CANCELs what rings, and the
attempt that was under way becomes a row like all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from rtp.codec import Codec, codec_by_name
from sipua.call_leg import HANG_UP_TIMEOUT_S, CallLeg, CallOver
from sipua.call_services import CallServices
from sipua.dialler import Dialler
from sipua.errors import SipuaError
from sipua.media_ports import discard
from sipua.outbound import Alerted, OutboundProgress, Rings, Trying, Winner
from sipua.outcome import CALLEE_HUNG_UP, Ending
from sipua.ports import AttemptMade, CallRecord, Moment, OutboundSip
from sipua.trunk import CARRIER_SID_HEADERS, Trunk
from sipua.trunks.attempt import CallRules
from sipua.trunks.routing import Route

log = logging.getLogger(__name__)


class Placed:
    """``sipua.call_services.Way``."""

    direction = "outbound"

    def __init__(
        self, dialler: Dialler, sip: OutboundSip, route: Route, record: CallRecord, services: CallServices
    ) -> None:
        self.leg: CallLeg | None = None
        self.rang_at: Moment | None = None
        self._trunks = dialler.trunks
        self._record = record
        self._services = services
        self._dialling = dialler.call(sip, route, CallRules(), self._tell)
        self._task: asyncio.Task[Winner | Ending] | None = None
        self._trunk: Trunk | None = None  # the one that was tried last
        self._codec: Codec | None = None
        self._has_rung = asyncio.Event()
        self._is_answered = asyncio.Event()

    @property
    def trunk_name(self) -> str:
        return self._trunk.name if self._trunk is not None else ""

    @property
    def attempts(self) -> tuple[AttemptMade, ...]:
        """Those that are over."""
        return tuple(self._dialling.attempts)

    async def watch(self) -> None:
        self._task = asyncio.create_task(self._dialling.dial(), name=f"dial-{self._record.id}")
        outcome = await asyncio.shield(self._task)
        if isinstance(outcome, Ending):
            raise CallOver(outcome)
        self.leg = leg = self._leg_of(outcome)
        self.rang_at = self.rang_at or leg.answered_at  # some answer without having rung
        self._has_rung.set()
        self._is_answered.set()
        await leg.watch()

    async def ringing(self) -> Codec:
        """The session is opened for the codec that the ringing trunk likes best; the media leg converts another."""
        await self._has_rung.wait()
        if self._codec is None:
            assert self._trunk is not None
            self._codec = codec_by_name(self._trunk.codecs[0])
        return self._codec

    async def answered(self) -> CallLeg:
        await self._is_answered.wait()
        assert self.leg is not None
        return self.leg

    async def end(self, code: int) -> None:
        if self.leg is not None:
            await self.leg.hang_up(0)
        elif self._task is not None:
            await self._give_up(self._task)

    def close(self) -> None:
        carried = self._dialling.carried_by()
        if carried is not None:
            trunk = self._trunks[carried.trunk]
            header = CARRIER_SID_HEADERS.get(trunk.provider, "")
            self._record.carried(
                trunk=trunk.name, provider=trunk.provider, sip_call_id=carried.header("call-id") or str(carried.key),
                carrier_sid=carried.header(header) or None,
            )  # fmt: skip
        if self.leg is not None:
            self.leg.media.close()
        self._dialling.close()

    # ---- the dialling ------------------------------------------------------------------------------------

    def _tell(self, progress: OutboundProgress) -> None:
        match progress:
            case Trying(trunk, target):
                self._trunk = self._trunks[trunk]
                log.info("call=%s > INVITE by trunk %s at %s", self._record.id, trunk, target)
            case Rings():
                self.rang_at = self.rang_at or self._services.clock.now()
                self._has_rung.set()
            case AttemptMade():
                self._record.attempt(self._services.clock.now(), progress)
                self._services.metrics.count_attempt(progress)
            case Alerted(trunk, reason):
                self._services.metrics.trunk_alerts.labels(trunk, reason).inc()

    def _leg_of(self, winner: Winner) -> CallLeg:
        services, trunk = self._services, self._trunks[winner.trunk]
        self._trunk = trunk
        self._codec = self._codec or codec_by_name(trunk.codecs[0])
        discard(winner.sockets)
        media = services.media_leg(winner.sockets, self._codec, trunk)
        events = self._dialling.events
        leg = CallLeg(winner.key, trunk, media, services.legs, CALLEE_HUNG_UP, events)
        leg.accepted(services.clock.now())
        leg.catch_up()
        return leg

    async def _give_up(self, task: asyncio.Task[Winner | Ending]) -> None:
        """Before the answer, as far as we know: it may cross our CANCEL, and the leg is hung up then."""
        self._dialling.cancel()
        done, _ = await asyncio.wait({task}, timeout=HANG_UP_TIMEOUT_S)
        if not done:
            task.cancel()
            await asyncio.wait({task})
        if task.cancelled() or task.exception() is not None:
            return
        outcome = task.result()
        if isinstance(outcome, Winner):
            self._services.ports.give_back(outcome.sockets)
            with contextlib.suppress(TimeoutError, SipuaError):
                async with asyncio.timeout(HANG_UP_TIMEOUT_S):
                    await self._services.legs.hang_up(outcome.key)
