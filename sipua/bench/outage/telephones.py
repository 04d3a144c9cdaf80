"""Calls of a benchmark by real SIP, whose sound is another process's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

from sipua.errors import LocalError
from sipua.pj.build import max_calls
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.sip_events import EndpointFailed, LegChanged, LegState, MediaChanged, Refusal, SdpPlan, SipEvent

ADDRESS = "127.0.0.1"
ANSWER_TIMEOUT_S = 30.0  # of all of them at once
BYE_TIMEOUT_S = 5.0
RESERVED_FROM, RESERVED = 8, 1  # of so many call slots or more the agent keeps the last for its 503


class Telephones:
    """One endpoint with any number of calls."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._media: dict[UUID, tuple[str, int]] = {}
        self._up: set[UUID] = set()
        self._ended: dict[UUID, str] = {}
        self._news = asyncio.Event()
        self._failure = ""
        self._endpoint = SipEndpoint(
            EndpointConfig(bind=ADDRESS, port=0, codecs=(codec,), contact_user="bench"),
            lambda arrival, message: Refusal(480, "a bench takes no calls", None),
            self._on_event,
        )

    @property
    def ended(self) -> Sequence[str]:
        """How calls ended that are over."""
        return list(self._ended.values())

    def room(self) -> int:
        """So many calls fit into this build, here and at an agent of the same build."""
        most = max_calls()
        return most - RESERVED if most >= RESERVED_FROM else most

    async def call(self, uri: str, ports: Sequence[int]) -> list[int]:
        """A call with the sound at each of ``ports``; where the agent wants ours. LocalError if one is not answered."""
        keys = {uuid4(): port for port in ports}
        for key, port in keys.items():
            await self._endpoint.invite(uri, SdpPlan(ADDRESS, port, (self._codec,)), key)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while not all(key in self._up and key in self._media for key in keys):
                    if failed := [self._ended[key] for key in keys if key in self._ended] or self._failure:
                        raise LocalError(f"{uri} did not answer every call: {failed}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise LocalError(f"{uri} did not answer {len(keys)} calls in {ANSWER_TIMEOUT_S:g} s") from None
        return [self._media[key][1] for key in keys]

    async def hang_up(self) -> None:
        """All that are up."""
        left = self._up - self._ended.keys()
        for key in left:
            await self._endpoint.hang_up(key)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BYE_TIMEOUT_S):
                while not left <= self._ended.keys():
                    self._news.clear()
                    await self._news.wait()

    def _on_event(self, event: SipEvent) -> None:
        match event:
            case MediaChanged(key=key, media=media) if media is not None and media.codec:
                self._media[key] = media.remote_rtp
            case LegChanged(key=key, state=LegState.CONFIRMED):
                self._up.add(key)
            case LegChanged(key=key, state=LegState.DISCONNECTED, code=code, phrase=phrase):
                self._ended[key] = f"SIP {code} {phrase}".strip()
            case EndpointFailed(message):
                self._failure = f"the SIP thread died: {message}"
            case _:
                return
        self._news.set()


@contextlib.asynccontextmanager
async def telephones(codec: str) -> AsyncIterator[Telephones]:
    """Ready to call; hangs up at the end. One per process, as pjsua2 allows no more."""
    found = Telephones(codec)
    await found._endpoint.start()
    try:
        yield found
    finally:
        with contextlib.suppress(LocalError):
            await found.hang_up()
        await found._endpoint.stop()
