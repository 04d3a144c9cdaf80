"""What becomes of keys when the call ends before anybody has read them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from rtp.codec import CODECS
from rtp.playout import Playout
from sipua.announcer import Announcer
from sipua.call_language import NO_HINT, CallLanguage
from sipua.call_voice import VoiceService, converse
from sipua.clock import SystemClock
from sipua.conversation import Conversation
from sipua.errors import RealtimeClosed
from sipua.keypad import Keypad
from sipua.keys import KeyRules
from sipua.language_choice import Choice
from sipua.languages import load_languages
from sipua.metrics import Metrics
from sipua.ports import CallOpening, CallRecord
from sipua.realtime.backend import OpenAIBackend, VoiceSession
from sipua.realtime.config import SessionConfig
from sipua.realtime.continuity import Rules
from sipua.realtime.events import Event
from sipua.spend import Spend, SpendSettings
from sipua.transcript import Segment

OPENING = CallOpening(
    uuid4(), "inbound", "sip:a@192.0.2.1", "sip:b@192.0.2.2", None, None, "id", None, "", "t", "en", None, ""
)


class Over:
    """A voice session that has ended: whatever is sent to it fails."""

    async def events(self) -> AsyncIterator[Event]:
        return
        yield


@dataclass
class Record:
    opening: CallOpening
    written: list[str] = field(default_factory=list)

    def transcript(self, segment: Segment, lang: str | None) -> None:
        self.written.append(segment.content)


async def test_keys_are_written_down_although_the_call_is_over_before_their_task_has_begun() -> None:
    rules, clock, record = KeyRules(are_kept=True), SystemClock(), Record(OPENING)
    keypad = Keypad(rules, clock)
    for key in "12#7":
        keypad.press(key)
    playout = Playout(CODECS["PCMU"])
    conversation = Conversation(playout, greeting="", keys=rules)
    metrics = Metrics(node="", worker=0, instance="", version="")
    languages = load_languages(Path("conf"))
    language = CallLanguage(languages, Choice("en", "default"), lambda _: "", greeting="", hint=NO_HINT)
    service = VoiceService(
        backend=OpenAIBackend("http://127.0.0.1:9/v1", "none"),
        session_config=lambda format: SessionConfig("none", audio_format=format),
        language_of=lambda opening, now, known: language,
        open_timeout_s=1.0,
        rules=Rules(),
        spend=Spend(SpendSettings(), date.today()),
        today=date.today,
    )
    with pytest.raises(ExceptionGroup) as caught:
        await converse(
            cast(VoiceSession, Over()), service, language, conversation, keypad, playout,
            Announcer(lambda: None, language), cast(CallRecord, record), metrics, clock,
        )  # fmt: skip
    assert caught.group_contains(RealtimeClosed)
    assert record.written == ["[keys pressed: 12#]", "[keys pressed: 7]"]
