"""What becomes of keys when the call ends before anybody has read them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import pytest

from rtp.codec import CODECS
from rtp.playout import Playout
from sipua.call_voice import converse
from sipua.clock import SystemClock
from sipua.conversation import Conversation
from sipua.errors import RealtimeClosed
from sipua.keypad import Keypad
from sipua.keys import KeyRules
from sipua.metrics import Metrics
from sipua.ports import CallRecord
from sipua.realtime.backend import VoiceSession
from sipua.realtime.events import Event
from sipua.transcript import Segment


class Over:
    """A voice session that has ended: whatever is sent to it fails."""

    async def events(self) -> AsyncIterator[Event]:
        return
        yield


@dataclass
class Record:
    written: list[str] = field(default_factory=list)

    def transcript(self, segment: Segment, lang: str | None) -> None:
        self.written.append(segment.content)


async def test_keys_are_written_down_although_the_call_is_over_before_their_task_has_begun() -> None:
    rules, clock, record = KeyRules(are_kept=True), SystemClock(), Record()
    keypad = Keypad(rules, clock)
    for key in "12#7":
        keypad.press(key)
    conversation = Conversation(Playout(CODECS["PCMU"]), greeting="", keys=rules)
    metrics = Metrics(node="", worker=0, instance="", version="")
    with pytest.raises(ExceptionGroup) as caught:
        await converse(
            cast(VoiceSession, Over()), conversation, keypad, cast(CallRecord, record), metrics, clock
        )
    assert caught.group_contains(RealtimeClosed)
    assert record.written == ["[keys pressed: 12#]", "[keys pressed: 7]"]
