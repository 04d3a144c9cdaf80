"""What is performed of a conversation's actions, where that depends on what the service can do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from sipua import actions as act
from sipua.announcer import Announcer
from sipua.call_language import CallLanguage
from sipua.call_voice import _Performer
from sipua.clock import SystemClock
from sipua.last_words import LastWords
from sipua.metrics import Metrics
from sipua.ports import CallRecord
from sipua.realtime.backend import Capabilities, VoiceSession
from sipua.tools.box import ToolBox


@dataclass
class Session:
    """The service's side of a session: what it was told."""

    told: list[tuple[str, int]] = field(default_factory=list)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> str:
        self.told.append((item_id, audio_end_ms))
        return "sipua_1"


@dataclass
class Record:
    cuts: list[tuple[str, int]] = field(default_factory=list)

    def cut_off(self, at: object, item_id: str, heard_ms: int) -> None:
        self.cuts.append((item_id, heard_ms))


@pytest.mark.parametrize(("client_truncates", "told"), [(True, [("item_1", 240)]), (False, [])])
def test_who_truncates_is_the_services_flag(client_truncates: bool, told: list[tuple[str, int]]) -> None:
    session, record = Session(), Record()
    performer = _Performer(
        cast(VoiceSession, session),
        Capabilities(client_truncates=client_truncates),
        cast(CallLanguage, None),
        cast(Announcer, None),
        cast(CallRecord, record),
        Metrics(node="", worker=0, instance="", version=""),
        SystemClock(),
        LastWords(),
        cast(ToolBox, None),
        lambda ending: None,
    )
    performer.perform([act.Truncate("item_1", 240)])
    assert session.told == told
    assert record.cuts == [("item_1", 240)]
