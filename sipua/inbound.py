"""The way of a call that comes in: it rings since it was let in; we answer it."""

from __future__ import annotations

from rtp.codec import Codec, codec_by_name
from sipua.call_leg import CallLeg
from sipua.call_services import CallServices
from sipua.outcome import CALLER_HUNG_UP
from sipua.ringback import ringback
from sipua.sip_events import IncomingCall

RINGBACK = "ringback"  # the item of the playout


class Inbound:
    """``sipua.call_services.Way``. ``leg`` is there from the INVITE on and is fed by the switchboard."""

    direction = "inbound"

    def __init__(self, invite: IncomingCall, services: CallServices) -> None:
        grant = invite.grant
        media = services.media_leg(grant.sockets, codec_by_name(grant.codec), grant.trunk)
        self.leg = CallLeg(invite.key, grant.trunk, media, services.legs, CALLER_HUNG_UP)
        self._services = services
        self._received_at = invite.received_at
        self._has_early_media = grant.has_early_media

    @property
    def trunk_name(self) -> str:
        return self.leg.trunk.name

    async def watch(self) -> None:
        await self.leg.watch()

    @property
    def rang_at(self) -> None:
        return None

    async def ringing(self) -> Codec:
        """180 went out when it was let in, or 183 where the caller is to hear the ringing from us."""
        media = self.leg.media
        if self._has_early_media:
            media.start(on_audio=lambda payload: None)
            media.playout.append(RINGBACK, ringback(media.codec))
            media.playout.end_item(RINGBACK)
        return media.codec

    async def answered(self) -> CallLeg:
        self.leg.media.playout.flush()
        await self._services.legs.answer(self.leg.key)
        answered = self._services.clock.now()
        self.leg.accepted(answered)
        seconds = answered.monotonic - self._received_at
        self._services.metrics.setup_seconds.observe(seconds)
        return self.leg

    async def end(self, code: int) -> None:
        await self.leg.hang_up(code)

    def close(self) -> None:
        self.leg.media.close()
