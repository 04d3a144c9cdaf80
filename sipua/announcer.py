"""Recordings of ours into one call's playout: where the voice service cannot speak, or must not choose the words.

They queue behind what is being said. ``close_with`` is the end of a call: nothing else is played any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sipua.call_language import CallLanguage
from sipua.call_leg import CallLeg

LOOK_S = 0.1  # how often it is asked whether all has been said
GRACE_S = 2.0  # beyond the length of what waits
QUEUED_MAX_MS = 15_000  # of an answer that is heard to its end before the last words


class Announcer:
    """``leg`` gives the leg to speak on, if there is one yet."""

    def __init__(self, leg: Callable[[], CallLeg | None], language: CallLanguage) -> None:
        self.on_said: Callable[[str], None] = lambda text: None  # for the transcript
        self.is_closing = False  # the last words: what the service says is not wanted
        self._is_mute = False
        self._leg = leg
        self._language = language
        self._said = 0

    def say(self, phrase: str) -> str:
        """Queues a phrase of ``sipua.languages``; its item in the playout, "" if there is nobody to hear it."""
        leg = self._leg()
        if leg is None or leg.answered_at is None or self._is_mute:
            return ""
        self._said += 1
        item_id = f"sipua_phrase_{self._said}"
        playout = leg.media.playout
        playout.append(item_id, self._language.spoken(phrase, playout.codec))
        playout.end_item(item_id)
        self.on_said(str(getattr(self._language.language.phrases, phrase)))
        return item_id

    def hush(self) -> None:
        """The caller talks with a person: neither the service nor a recording is heard any more."""
        self.is_closing = self._is_mute = True

    async def close_with(self, phrase: str) -> None:
        """The last that is said, behind what waits (unless that is long); returns when the far end has been sent it."""
        leg = self._leg()
        if leg is None or leg.answered_at is None or self._is_mute:
            return
        self.is_closing = True
        playout = leg.media.playout
        playout.resume()  # a breath may have paused it, which nobody would end any more
        if playout.queued_ms > QUEUED_MAX_MS:
            playout.flush()
        item_id = self.say(phrase)
        length_ms = playout.received_ms(item_id)
        for _ in range(round((playout.queued_ms / 1000 + GRACE_S) / LOOK_S)):
            if playout.sent_ms(item_id) >= length_ms:
                return
            await asyncio.sleep(LOOK_S)
