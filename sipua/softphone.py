"""A softphone for test calls: places one call with an endpoint of its own, plays, listens, records, hangs up.

It shares nothing with an agent but the wire. What the caller does and when is in ``phone_script``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import numpy as np

from rtp.codec import codec_by_name
from rtp.errors import RtpError
from rtp.pacer import Pacer
from rtp.ports import PortAllocator
from sipua.accounts import Place, accounts_of, secrets_of
from sipua.dialler import Dialler
from sipua.errors import LocalError
from sipua.media import MediaLeg
from sipua.media_figures import MediaFigures
from sipua.media_ports import MediaPorts, Sockets
from sipua.names import Names
from sipua.outbound import OutboundProgress, Rings, Trying
from sipua.outcome import Ending, Status, ending_of_code, ending_of_disconnect
from sipua.phone_keys import PhoneKeys
from sipua.phone_script import CallOptions, CallResult, Script
from sipua.phone_sound import RATE, PhoneSound
from sipua.pj.build import max_calls, slots_taken
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.ports import AttemptMade
from sipua.resolve import resolve_trunks
from sipua.sip_events import (
    EndpointFailed,
    KeyAnswered,
    KeyPressed,
    LegChanged,
    LegState,
    MediaChanged,
    MediaDescription,
    Refusal,
    SdpPlan,
    SipEvent,
)
from sipua.sound.talker import SoundDevice
from sipua.source_address import bind_address, source_address
from sipua.trunks.attempt import CallRules
from sipua.trunks.routing import Address

log = logging.getLogger(__name__)

STEP_S = 0.02
FAR_END_HUNG_UP = Ending(Status.COMPLETED, "far_end_hangup", sip_code=200)
BYE_WAIT_S = 3.0
RING_TIMEOUT_S = 60.0

Progress = Callable[[Mapping[str, Any]], None]


async def place_call(
    options: CallOptions, stop: asyncio.Event, progress: Progress, device: SoundDevice | None = None
) -> CallResult:
    """Places the call and stays until it is over. LocalError for what this machine refuses, never for the peer.

    ``device``: a person talks there; it is closed at the end.
    """
    sound = PhoneSound(options, device)
    try:
        return await _Softphone(options, sound, stop, progress).run()
    finally:
        sound.close()


class _Softphone:
    def __init__(
        self,
        options: CallOptions,
        sound: PhoneSound,
        stop: asyncio.Event,
        progress: Progress,
    ) -> None:
        self._options = options
        self._sound = sound
        self._stop = stop
        self._progress = progress
        self._key = uuid4()
        self._events: asyncio.Queue[SipEvent] = asyncio.Queue()  # a handful per call
        self._range = PortAllocator(0, 0)
        self._ports = MediaPorts(self._range)
        self._pacer = Pacer()
        self._media: MediaLeg | None = None
        self._script: Script | None = None
        self._sockets: Sockets | None = None
        self._figures = MediaFigures()
        self._is_answered = False
        self._connected_at: float | None = None
        self._answered_ms: float | None = None
        self._hung_up = False
        self._dialler: Dialler | None = None
        self._attempts: list[AttemptMade] = []
        self._keys = PhoneKeys(
            options.dtmf,
            options.dtmf_by or "rfc4733",
            lambda digit: progress({"event": "key", "key": digit}),
        )
        self._pressing: asyncio.Task[None] | None = None

    async def run(self) -> CallResult:
        options = self._options
        addresses = await _addresses(options) if options.trunks else {}
        address = bind_address(addresses) if options.trunks else await source_address(options.uri)
        codecs = tuple(dict.fromkeys(codec for trunk in options.trunks for codec in trunk.codecs))
        endpoint = SipEndpoint(
            EndpointConfig(bind=address, port=0, codecs=codecs or options.codecs, contact_user="softphone"),
            lambda arrival, message: Refusal(480, "a softphone takes no calls", None),
            self._on_sip_event,
            look_up=Names("AAAA" if ":" in address else "A", options.trunks).find,
        )
        async with AsyncExitStack() as stack:
            await endpoint.start()
            stack.push_async_callback(endpoint.stop)
            self._pacer.start()
            stack.callback(self._pacer.stop)
            stack.callback(self._close_media)
            if not options.trunks:
                return await self._call(endpoint, address)
            trunks = [each for each in options.trunks if each.name in addresses]
            place = Place(
                address,
                0,
                "softphone",
                certificate=options.certificate,
                key=options.key,
                has_fixed_ports=False,
            )
            await endpoint.set_accounts(accounts_of(trunks, place, secrets_of(trunks)))
            self._dialler = Dialler.alone(
                options.trunks, addresses, limit=max_calls(), held=slots_taken, ports=self._ports
            )
            return await self._call_by_number(endpoint, self._dialler, stack)

    def _dialling(self, progress: OutboundProgress) -> None:
        match progress:
            case Trying(trunk, target):
                way = next(each.dtmf for each in self._options.trunks if each.name == trunk)
                self._keys.way = self._options.dtmf_by or way
                self._progress({"event": "attempt", "trunk": trunk, "target": target})
            case Rings():
                self._progress({"event": "state", "state": "early", "code": 180})
            case AttemptMade():
                self._progress({"event": "attempt_over", **progress.as_dict()})

    def hear(self, sockets: Sockets, media: MediaDescription) -> None:
        """What the leg that rings now says before it is answered (``sipua.outbound.EarlyMedia``)."""
        self._sockets = sockets
        self._follow_media(media)

    def silence(self) -> None:
        """That leg is given up."""
        if self._media is not None:
            self._figures = self._media.figures()
            self._media.close()
        self._media, self._sockets = None, None

    def _on_sip_event(self, event: SipEvent) -> None:
        if self._dialler is not None:
            self._dialler.deliver(event)
        else:
            self._events.put_nowait(event)

    def _close_media(self) -> None:
        if self._media is not None:
            self._media.close()
        for sock in self._sockets or ():
            sock.close()

    async def _call(self, endpoint: SipEndpoint, address: str) -> CallResult:
        self._sockets = _open_sockets(self._range, address)
        has_events = self._keys.way == "rfc4733"
        port = self._sockets[0].getsockname()[1]
        plan = SdpPlan(address, port, self._options.codecs, has_telephone_events=has_events)
        invited_at = time.monotonic()
        await endpoint.invite(self._options.uri, plan, self._key)
        return await self._converse(endpoint, invited_at)

    async def _call_by_number(
        self, endpoint: SipEndpoint, dialler: Dialler, stack: AsyncExitStack
    ) -> CallResult:
        options = self._options
        route = dialler.route(options.uri, options.caller, options.only)
        if not route.targets:
            raise LocalError(
                f"{options.uri!r}: no trunk may carry the call: "
                + "; ".join(f"{each.trunk}: {each.reason}" for each in route.rejected)
            )
        rules = CallRules(ring_timeout_s=options.ring_timeout_s)
        call = dialler.call(endpoint, route, rules, self._dialling, self)
        stack.callback(call.close)
        self._attempts = call.attempts
        invited_at = time.monotonic()
        stopping = asyncio.create_task(self._stop.wait(), name="stopping")
        stopping.add_done_callback(lambda done: call.cancel())
        try:
            outcome = await call.dial()
        finally:
            stopping.cancel()
        if isinstance(outcome, Ending):
            return self._result(outcome)
        self._key, self._sockets, self._events = outcome.key, outcome.sockets, call.events
        self._is_answered = True
        return await self._converse(endpoint, invited_at)

    async def _converse(self, endpoint: SipEndpoint, invited_at: float) -> CallResult:
        following = asyncio.create_task(self._follow_to_the_end(endpoint, invited_at), name="follow")
        talking = asyncio.create_task(self._talk(endpoint), name="talk")
        try:
            await asyncio.wait({following, talking}, return_when=asyncio.FIRST_COMPLETED)
            if talking.done():
                talking.result()  # raises what went wrong in it
            result = self._result(await following)
            if self._sound.fault:
                raise LocalError(self._sound.fault)
            return result
        finally:
            tasks = [each for each in (following, talking, self._pressing) if each is not None]
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow_to_the_end(self, endpoint: SipEndpoint, invited_at: float) -> Ending:
        while True:
            event = await self._next(invited_at)
            ending = self._follow(event, invited_at)
            if ending is not None:
                if event is None:
                    await endpoint.hang_up(self._key)  # CANCEL
                return ending

    async def _next(self, invited_at: float) -> SipEvent | None:
        """The next event; None when the ring time is up or the user stopped before the answer."""
        if self._is_answered:
            return await self._events.get()
        patience = RING_TIMEOUT_S if self._options.ring_timeout_s is None else self._options.ring_timeout_s
        left = patience - (time.monotonic() - invited_at)
        waiting = asyncio.ensure_future(self._events.get())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait(
                {waiting, stopping}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
            )
            return waiting.result() if waiting.done() else None
        finally:
            waiting.cancel()
            stopping.cancel()

    def _follow(self, event: SipEvent | None, invited_at: float) -> Ending | None:
        match event:
            case None:
                reason = "stopped" if self._stop.is_set() else "ring_timeout"
                return Ending(Status.NO_ANSWER, reason, sip_code=487)
            case EndpointFailed(message):
                raise LocalError(f"the SIP thread died: {message}")
            case MediaChanged(media=media) if media is not None:
                self._follow_media(media)
            case KeyPressed(digit=digit):
                self._keys.hear_info(digit)
            case KeyAnswered(code=code):
                self._keys.answered(code)
            case LegChanged(state=LegState.DISCONNECTED, code=code, phrase=phrase):
                if self._connected_at is None:
                    return ending_of_code(code, phrase)
                if self._hung_up:
                    return Ending(Status.COMPLETED, "hangup", sip_code=200)
                return ending_of_disconnect(
                    answered=True, code=code, phrase=phrase, hung_up=FAR_END_HUNG_UP, expired=event.is_expired
                )
            case LegChanged(state=state, code=code, at=at):
                if state in (LegState.CONNECTING, LegState.CONFIRMED) and self._connected_at is None:
                    self._connected_at = at
                    self._is_answered = True
                    self._answered_ms = (at - invited_at) * 1000
                    self._script = Script(self._options, play_s=self._sound.said_s, answered_at=at)
                self._progress({"event": "state", "state": state.value, "code": code})
            case _:
                pass
        return None

    def _follow_media(self, media: MediaDescription) -> None:
        if self._media is None and media.codec:
            assert self._sockets is not None
            codec = codec_by_name(media.codec)
            hears_tones = self._keys.way == "inband"
            self._media = MediaLeg(self._sockets, self._ports, self._pacer, codec, hears_tones=hears_tones)
            self._media.start(on_audio=self._on_audio, on_digit=self._keys.hear)
        if self._media is not None:
            self._media.configure(media)

    async def _talk(self, endpoint: SipEndpoint) -> None:
        """The caller's behaviour, 50 times a second."""
        reported = 0.0
        while True:
            await asyncio.sleep(STEP_S)
            if self._script is None:
                continue
            now = time.monotonic()
            ends = self._stop.is_set() or self._sound.fault
            action = "hang_up" if ends else self._script.step(now)
            if action == "hang_up":
                await self._hang_up(endpoint)
                return
            if self._media is None:
                continue
            self._sound.step(self._media)
            if action == "speak":
                self._sound.speak(self._media)
            elif action == "dial":
                pressing = self._keys.press(endpoint, self._key, self._media)
                self._pressing = asyncio.create_task(pressing, name="keys")
            if self._pressing is not None and self._pressing.done():
                self._pressing.result()  # raises what went wrong in it
                self._script.dialled()
            if now - reported >= 1.0:
                reported = now
                self._progress({"event": "rtp", **self._media.figures().as_dict()})

    async def _hang_up(self, endpoint: SipEndpoint) -> None:
        """BYE; a far end that does not answer it is not waited for."""
        self._hung_up = True
        if self._media is not None:
            self._figures = self._media.figures()
        await endpoint.hang_up(self._key)
        await asyncio.sleep(BYE_WAIT_S)
        self._events.put_nowait(LegChanged(self._key, LegState.DISCONNECTED, 200, "", time.monotonic()))

    def _on_audio(self, payload: bytes) -> None:
        assert self._media is not None
        pcm = self._sound.hear(self._media, payload)
        if self._script is not None:
            rms = float(np.sqrt(np.mean(pcm.astype(np.float32) ** 2))) if pcm.size else 0.0
            self._script.heard(rms, time.monotonic(), pcm.size * 1000 / RATE)

    def _result(self, ending: Ending) -> CallResult:
        figures = self._figures if self._hung_up or self._media is None else self._media.figures()
        first = self._script.first_loud_at if self._script is not None else None
        connected = self._connected_at
        return CallResult(
            status=ending.status.value,
            sip_code=200 if connected is not None else ending.sip_code,
            reason=ending.reason,
            setup_ms=round(self._answered_ms, 1) if self._answered_ms is not None else None,
            codec=self._media.wire_codec if self._media is not None else None,
            duration_seconds=round(time.monotonic() - connected, 3) if connected is not None else 0.0,
            rtp=figures.as_dict(),
            recording=self._sound.recording,
            first_audio_ms=round((first - connected) * 1000, 1)
            if first is not None and connected is not None
            else None,
            reply_ms=round(self._script.reply_ms) if self._script is not None else None,
            device=self._sound.figures,
            attempts=[each.as_dict() for each in self._attempts],
            keys_heard=self._keys.heard,
        )


def _open_sockets(ports: PortAllocator, address: str) -> Sockets:
    try:
        return ports.open_pair(address)
    except RtpError as error:
        raise LocalError(str(error)) from None


async def _addresses(options: CallOptions) -> Mapping[str, tuple[Address, ...]]:
    """Where the trunks are; a name that leads nowhere is told and keeps its trunk out."""
    wanted = [each for each in options.trunks if options.only in ("", each.name)]
    addresses, faults = await resolve_trunks(wanted)
    for name, fault in faults.items():
        log.warning("trunk %s: %s", name, fault)
    return addresses
