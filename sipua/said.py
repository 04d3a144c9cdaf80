"""The words of one call: from what the service sends of them to the ledger's segments. No I/O, no clock.

Each utterance becomes one ``Spoken``, whose place is that of its beginning (``sipua.transcript``). An answer that was
cut off has the text that had come of it: of its deltas, once its response is over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sipua.actions import Action, Spoken, SpokenDelta
from sipua.ports import Moment
from sipua.realtime import events as ev
from sipua.transcript import Role, TranscriptOrder

SPEECHES_MAX = 64  # begun and not in the conversation yet
ITEMS_MAX = 64  # of the assistant, without their transcript
DELTAS_MAX = 10_000  # of one: half an hour of words


class Said:
    """``now`` is when the service told it."""

    def __init__(self) -> None:
        self.callers_role: Role = "user"  # or caller: while they talk with a person
        self._order = TranscriptOrder()
        self._began: dict[str, Moment] = {}
        self._deltas: dict[str, list[str]] = {}  # of assistant items whose transcript is not done
        self._responses: dict[str, str] = {}  # … and whose they are

    def speech_began(self, item_id: str, now: Moment) -> None:
        """The caller's."""
        if len(self._began) < SPEECHES_MAX:
            self._began[item_id] = now

    def committed(self, item_id: str, now: Moment) -> None:
        """The caller's speech is in the conversation."""
        self._order.reserve(item_id, self.callers_role, self._began.pop(item_id, now).wall)

    def appeared(self, item_id: str, now: Moment) -> None:
        """An item of the assistant."""
        self._order.reserve(item_id, "assistant", now.wall)

    def ours(self, item_id: str, text: str, now: Moment) -> list[Action]:
        """What we say or note ourselves."""
        return self._complete(item_id, "system", text, now)

    def typed(self, item_id: str, text: str, now: Moment) -> list[Action]:
        """What the caller writes."""
        return self._complete(item_id, "user", text, now)

    def on_event(self, event: ev.Event, now: Moment) -> list[Action]:
        """Events on text; nothing follows from others."""
        match event:
            case ev.UserTranscriptDelta():
                return [SpokenDelta(self.callers_role, event.item_id, event.text)]
            case ev.UserTranscript():
                confidence, language = _confidence(event.logprobs), _language(event.languages)
                role = self.callers_role
                return self._complete(event.item_id, role, event.text, now, confidence, language)
            case ev.AssistantTranscriptDelta() | ev.TextDelta():
                self.appeared(event.item_id, now)
                self._keep(event.response_id, event.item_id, event.text)
                return [SpokenDelta("assistant", event.item_id, event.text)]
            case ev.AssistantTranscript() | ev.TextDone():
                self._forget(event.item_id)
                return self._complete(event.item_id, "assistant", event.text, now)
            case _:
                return []

    def response_over(self, response_id: str, now: Moment) -> list[Action]:
        """What it has begun to say and will not end."""
        actions: list[Action] = []
        for item_id in [item for item, response in self._responses.items() if response == response_id]:
            actions += self._complete(item_id, "assistant", self._forget(item_id), now)
        return actions

    def _complete(
        self,
        item_id: str,
        role: Role,
        text: str,
        now: Moment,
        confidence: float | None = None,
        language: str | None = None,
    ) -> list[Action]:
        segment = self._order.complete(item_id, role, text, now.wall, confidence)
        return [] if segment is None else [Spoken(segment, language)]

    def _keep(self, response_id: str, item_id: str, text: str) -> None:
        if item_id not in self._deltas and len(self._deltas) >= ITEMS_MAX:
            return
        self._responses[item_id] = response_id
        parts = self._deltas.setdefault(item_id, [])
        if len(parts) < DELTAS_MAX:
            parts.append(text)

    def _forget(self, item_id: str) -> str:
        """And its text so far."""
        self._responses.pop(item_id, None)
        return "".join(self._deltas.pop(item_id, []))


def _confidence(logprobs: Sequence[float]) -> float | None:
    """exp(mean logprob), 0..1; None where the service gave none."""
    return math.exp(min(0.0, sum(logprobs) / len(logprobs))) if logprobs else None


def _language(codes: Sequence[str]) -> str | None:
    """Two letters of the first language tag, if it has such a code (Cantonese, yue, has none)."""
    code = codes[0].partition("-")[0].lower() if codes else ""
    return code if len(code) == 2 else None
