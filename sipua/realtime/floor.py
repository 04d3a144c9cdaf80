"""Who has the floor in one session, from its events: the caller, a response, a tool, or nobody. No I/O, no clock.

Asked by the rotation (is it quiet enough to change sessions?) and after a loss (what was cut off, and what of the
caller has to be said again to the next session?). Positions are milliseconds of the session's own input clock: audio
appended since it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from sipua.realtime import events as ev

SETTLED_S = 0.5  # events of one turn come within milliseconds of each other: so long after the last, none is on its way
UNANSWERED_S = 5.0  # a turn or request that brought no response by then will bring none
SILENT_S = 10.0  # a request is acknowledged within a second by whoever lives …
OPEN_MAX = 64  # responses, and calls of tools; the oldest are forgotten: that service is in disorder
STALLED_S = 45.0  # … but within a response models think, and remote tools take their time


class Ask(Enum):
    """What the next session has to be asked for, so that the caller hears the rest once."""

    NOTHING = "nothing"
    AGAIN = "again"  # of the answer nothing was said
    CONTINUE = "continue"  # it was cut off


@dataclass(frozen=True, slots=True)
class Resumption:
    """``replay_from_ms``: from there the next session has to hear the caller's audio, ``is_speech`` or not."""

    replay_from_ms: int
    ask: Ask
    is_speech: bool = False


@dataclass(slots=True)
class _Turn:
    """The caller's latest utterance; over once a response to it has begun."""

    item_id: str
    start_ms: int  # prefix padding included
    is_spoken: bool = False  # to its end
    is_taken: bool = False  # a response has begun
    has_text: bool = False


class Floor:
    """Fed with every event of one session, and with what we ask of it."""

    def __init__(self, now: float) -> None:
        self._turn: _Turn | None = None
        self._heard_to_ms = 0  # where the latest utterance ended
        self._responses: dict[str, bool] = {}  # running → has something of it come?
        self._is_asked = False
        self._tools: dict[str, str] = {}  # calls without a result → their response
        self._changed_at = self._asked_at = now
        self.has_answered = False  # a response has been completed

    @property
    def is_speaking(self) -> bool:
        """The caller."""
        return self._turn is not None and not self._turn.is_spoken

    @property
    def responses(self) -> tuple[str, ...]:
        """Ids of those that are running."""
        return tuple(self._responses)

    @property
    def is_free(self) -> bool:
        """Nobody speaks, and nothing is awaited."""
        return self.quiet_at() is not None and not (self._is_asked or self._turn)

    def awaits_tools(self, response_id: str) -> bool:
        """Whether a call of that response has no result yet."""
        return response_id in self._tools.values()

    def on_event(self, event: ev.Event, now: float) -> None:
        if self._follow(event):
            self._changed_at = now

    def asked(self, now: float) -> None:
        """response.create was sent."""
        self._is_asked, self._changed_at, self._asked_at = True, now, now

    def tool_answered(self, call_id: str, now: float) -> None:
        self._tools.pop(call_id, None)
        self._changed_at = now

    def quiet_at(self) -> float | None:
        """From when on nothing is under way if nothing more happens; None while something is."""
        if self.is_speaking or self._responses or self._tools:
            return None
        waits = self._is_asked or self._turn is not None
        return self._changed_at + (UNANSWERED_S if waits else SETTLED_S)

    def mute_at(self, *, answers_turns: bool) -> float | None:
        """From when on the service says nothing though it has to, if nothing comes; None while it has not.

        ``answers_turns``: by itself.
        """
        if self._responses:
            return self._changed_at + STALLED_S
        if self._is_asked:
            return self._asked_at + SILENT_S
        is_owed = (
            answers_turns and self._turn is not None and self._turn.is_spoken and not self._turn.is_taken
        )
        return self._changed_at + SILENT_S if is_owed else None

    def resumption(self) -> Resumption:
        """What is left to do if the session is gone now."""
        turn = self._turn
        if turn is not None and not (turn.is_spoken and turn.has_text):
            return Resumption(
                turn.start_ms, Ask.NOTHING, is_speech=True
            )  # heard again, it is answered by itself
        if self._tools:
            return Resumption(self._heard_to_ms, Ask.NOTHING)  # their results will be asked about
        if any(self._responses.values()):
            return Resumption(self._heard_to_ms, Ask.CONTINUE)
        is_owed = turn is not None or self._is_asked or bool(self._responses)
        return Resumption(self._heard_to_ms, Ask.AGAIN if is_owed else Ask.NOTHING)

    def takeover(self) -> Resumption:
        """The same if the session lives on and ends its answers itself: only what the caller is saying moves."""
        if self._turn is not None and not self._turn.is_spoken:
            return Resumption(self._turn.start_ms, Ask.NOTHING, is_speech=True)
        return Resumption(self._heard_to_ms, Ask.NOTHING)

    def _follow(self, event: ev.Event) -> bool:
        match event:
            case ev.SpeechStarted():
                self._turn = _Turn(event.item_id, event.audio_start_ms)
            case ev.SpeechStopped():
                self._heard_to_ms = event.audio_end_ms
                if self._turn is not None:
                    self._turn.is_spoken = True
            case ev.InputCommitted():
                if self._turn is not None:
                    self._turn.is_spoken = True
            case ev.UserTranscript():
                if self._turn is not None and event.item_id == self._turn.item_id:
                    self._turn.has_text = True
            case ev.ResponseCreated():
                self._responses[event.response_id] = self._is_asked = False
                _bound(self._responses)
                if self._turn is not None:
                    self._turn.is_taken = True
            case ev.OutputItemAdded() | ev.AssistantTranscriptDelta() | ev.TextDelta() | ev.AudioDone():
                self._said_something(event.response_id)
            case ev.FunctionCall():
                self._said_something(event.response_id)
                self._tools[event.call_id] = event.response_id
                _bound(self._tools)
            case ev.ResponseDone():
                self._responses.pop(event.response_id, None)
                self.has_answered |= event.status == "completed"
                if event.status == "completed" and not self.is_speaking:
                    self._turn = None
            case ev.ServiceError():
                self._is_asked = False
            case ev.McpCall() | ev.McpCallDone():
                pass
            case _:
                return False
        return True

    def _said_something(self, response_id: str) -> None:
        if response_id in self._responses:
            self._responses[response_id] = True
            if not self.is_speaking:
                self._turn = None


def _bound(open: dict[str, Any]) -> None:
    if len(open) > OPEN_MAX:
        del open[next(iter(open))]
