"""One SIP leg of a call with its media: what the SIP thread reports about it, hold, the media time-out, its end.

Used by calls of both directions. Losing the leg raises ``CallOver`` in ``watch``; ``hang_up`` ends it, once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from sipua.errors import LocalError, MediaTimeout, SipuaError
from sipua.media import MediaLeg
from sipua.outcome import Ending, ending_of_disconnect
from sipua.ports import Clock, Moment, SipLegs
from sipua.sip_events import KeyPressed, LegChanged, LegState, MediaChanged, SipEvent, TransferProgress
from sipua.trunk import Trunk

Measure = Callable[[], Mapping[str, Any]]
WATCH_INTERVAL_S = 0.5  # how often the media time-out and the live counters are looked at
HANG_UP_TIMEOUT_S = 3.0
DRAIN_S = 3.0  # of speech that waits when we hang up: a sentence may end, a long answer is cut
DRAIN_STEP_S = 0.02
EARLY_KEYS = 32
RETRY_AFTER = ("Retry-After", "5")


class CallOver(Exception):
    """Ends the call's task group."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


class CallLeg:
    """``hung_up`` is how the call has ended when the far end says BYE. ``events`` may hold its story so far."""

    def __init__(
        self,
        key: UUID,
        trunk: Trunk,
        media: MediaLeg,
        legs: SipLegs,
        hung_up: Ending,
        events: asyncio.Queue[SipEvent] | None = None,
    ) -> None:
        self.key = key
        self.trunk = trunk
        self.media = media
        self.ended: Ending | None = None  # what the SIP layer said when the leg was gone
        self.is_answered = False
        self.answered_at: Moment | None = None  # when we took it to be: 200 sent, or received
        self.is_held = False  # by its direction, as last negotiated
        self.codec = media.wire_codec
        self.on_change: Callable[[], None] = lambda: None  # the media were negotiated anew
        self.on_transfer: Callable[[TransferProgress], None] = lambda told: None  # of a REFER of ours
        self._on_key: Callable[[str], None] | None = None  # a key was pressed, by INFO
        self._early_keys: list[
            str
        ] = []  # before anybody asked for them: the far end has the 200 before we know
        self._legs = legs
        self._by_far_end = hung_up
        # a leg has a handful of events in its life, and keys by INFO: 20 a second at most (``sipua.pj.info``)
        self._events: asyncio.Queue[SipEvent] = asyncio.Queue() if events is None else events
        self._is_silent = False  # for too long: nobody is there any more
        self._hung_up = False  # by us: what the SIP layer says afterwards is the consequence

    def accepted(self, at: Moment) -> None:
        """The 200 has gone out, or has come."""
        self.is_answered, self.answered_at = True, at

    def hear_keys(self, on_key: Callable[[str], None]) -> None:
        """Of those that come by INFO, also before this was asked."""
        self._on_key = on_key
        for digit in self._early_keys:
            on_key(digit)
        self._early_keys.clear()

    def handed_over(self, ending: Ending) -> None:
        """The far end talks with somebody else: its BYE ends the call like this."""
        self._by_far_end = ending

    def deliver(self, event: SipEvent) -> None:
        """What the SIP thread reports about this leg."""
        self._events.put_nowait(event)

    async def watch(self) -> None:
        """Follows what is reported; raises CallOver when the leg is gone."""
        while True:
            self._on_event(await self._events.get())
            if self.ended is not None:
                raise CallOver(self.ended)

    def catch_up(self) -> None:
        """What has been reported but not read yet."""
        while self.ended is None and not self._events.empty():
            self._on_event(self._events.get_nowait())

    async def watch_media(self, clock: Clock, tell: Callable[[Moment, Measure], None]) -> None:
        """Offers the figures; raises when the media have failed or nothing has come for too long."""
        timeout_s = self.trunk.rtp_timeout_s
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            tell(clock.now(), lambda: self.media.figures().as_dict())
            if self.media.broken is not None:
                raise LocalError(f"the call's media leg failed: {self.media.broken}")
            if self.media.is_timed_out(clock.now().monotonic, timeout_s):
                self._is_silent = True
                raise MediaTimeout(f"no RTP from the far end for {timeout_s:g} s")

    async def drain(self) -> None:
        """What waits to be said leaves before a BYE of ours, as far as ``DRAIN_S`` reaches and there is a listener."""
        for _ in range(round(DRAIN_S / DRAIN_STEP_S)):
            if not (self.media.playout.queued_ms and self._has_listener):
                return
            await asyncio.sleep(DRAIN_STEP_S)

    @property
    def _has_listener(self) -> bool:
        return not (self.ended or self.is_held or self._is_silent or self.media.broken)

    async def hang_up(self, code: int) -> None:
        """Final response or BYE, once and unless the leg is gone; bounded."""
        self.catch_up()
        if self._hung_up or self.ended is not None:
            return
        self._hung_up = True
        headers = (RETRY_AFTER,) if code == 503 else ()
        with contextlib.suppress(TimeoutError, SipuaError):
            async with asyncio.timeout(HANG_UP_TIMEOUT_S):
                await self._legs.hang_up(self.key, code, headers=headers)

    def _on_event(self, event: SipEvent) -> None:
        match event:
            case LegChanged(state=LegState.DISCONNECTED, code=code, phrase=phrase) if not self._hung_up:
                self.ended = ending_of_disconnect(
                    answered=self.is_answered, code=code, phrase=phrase, hung_up=self._by_far_end,
                    expired=event.is_expired,
                )  # fmt: skip
            case LegChanged(state=LegState.CONNECTING | LegState.CONFIRMED):
                # the 200 has gone out; the coroutine may hear of it after a quick BYE
                self.is_answered = True
            case MediaChanged(media=media) if media is not None:
                self.media.configure(media)
                self.is_held = media.direction != "sendrecv"
                self.codec = media.codec or self.codec
                self.on_change()
            case TransferProgress():
                self.on_transfer(event)
            case KeyPressed(digit=digit) if self.trunk.dtmf == "info":  # else it comes by RTP as well
                if self._on_key is not None:
                    self._on_key(digit)
                elif len(self._early_keys) < EARLY_KEYS:
                    self._early_keys.append(digit)
            case _:
                pass
