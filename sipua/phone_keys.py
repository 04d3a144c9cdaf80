"""The keys of the softphone: pressed one after another in the way that the call has (``w`` waits), and those heard."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Literal, Protocol
from uuid import UUID

from sipua.media import MediaLeg

log = logging.getLogger(__name__)

Way = Literal["rfc4733", "info", "inband"]
WAIT = "W"  # among keys, as modems had it
WAIT_S = 0.5
KEY_S = 0.24  # an event of 120 ms, its end packets, a pause
INFO_MS = 160  # what an INFO says of a key
INFO_PAUSE_S = 0.1
INFO_WAIT_S = 5.0  # for the answer; pjsip repeats the request at 0.5, 1.5, 3.5 s
HEARD_MAX = 256


class InfoSip(Protocol):
    """``sipua.pj.endpoint.SipEndpoint``."""

    async def press(self, key: UUID, digit: str, duration_ms: int) -> None: ...


class PhoneKeys:
    """``way`` is set when it is known; ``tell`` gets each key that the far end presses."""

    def __init__(self, text: str, way: Way, tell: Callable[[str], None]) -> None:
        self.way: Way = way
        self.heard = ""
        self._text = text
        self._tell = tell
        self._answers: asyncio.Queue[int] = asyncio.Queue()  # one for each INFO of ours

    def hear(self, digit: str) -> None:
        """The far end pressed it."""
        if len(self.heard) < HEARD_MAX:
            self.heard += digit
            self._tell(digit)

    def hear_info(self, digit: str) -> None:
        """By INFO; a far end that sends each key both ways is heard once."""
        if self.way == "info":
            self.hear(digit)

    def answered(self, code: int) -> None:
        """What became of an INFO."""
        self._answers.put_nowait(code)

    async def press(self, sip: InfoSip, key: UUID, media: MediaLeg) -> None:
        """All of them; returns when the last is out. LocalError if they cannot be sent."""
        for piece in re.findall(f"{WAIT}+|[^{WAIT}]+", self._text):
            if piece.startswith(WAIT):
                await asyncio.sleep(len(piece) * WAIT_S)
            elif self.way == "info":
                if not await self._by_info(sip, key, piece):
                    return
            else:
                media.send_digits(piece)
                await asyncio.sleep(len(piece) * KEY_S)

    async def _by_info(self, sip: InfoSip, key: UUID, digits: str) -> bool:
        """One at a time; after one that is not taken no more are sent."""
        for digit in digits:
            await sip.press(key, digit, INFO_MS)
            try:
                async with asyncio.timeout(INFO_WAIT_S):
                    code = await self._answers.get()
            except TimeoutError:
                code = 408
            if not 200 <= code < 300:
                log.error("> INFO with a key was answered %d: the keys behind it are not sent", code)
                return False
            await asyncio.sleep(INFO_PAUSE_S)
        return True
