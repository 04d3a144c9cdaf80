"""Whose turn it is to speak: what a caller's voice does to what the agent is saying. No I/O, no clock.

What waits is flushed, the service is told of each item how many milliseconds of it left as RTP, late audio of the
response is dropped by its id. Never by wall clock, and never for an item of which nothing was left unheard: that would
delete its text, and the model would say it again. Audio that arrives after the cut is as unheard as what was flushed.

With ``interrupt_response`` the service cancels by itself, before anything here could weigh it. So who cancels is:

    opening protected, or pause | interrupt_response | the caller's voice over the agent
    neither                     | true               | service cancels; flush, truncate
    opening protected           | false              | nothing during the opening; else flush, cancel, truncate
    pause                       | false              | playout pauses. Shorter than pause_ms, or no words: goes on where
                                |                    | it was, and what the service answers to it is cancelled.
                                |                    | Else flush, cancel, truncate as at the pause
    echo guard (any of these)   | as above           | our own voice goes up as silence of equal length: never heard

While a response runs that it may not interrupt, the service creates none for what the caller says (from the
specification): that answer ``is_owed``, and asked for when the response is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from sipua.actions import Action, CancelResponse, IgnoreResponse, Truncate

ACTIVE_MAX = 8  # responses at once; the protocol allows one
OWN_ITEM = "sipua_"  # items of the playout that the service does not know
PROTECTED_MAX = 4  # items of ours
ITEMS_MAX = 64  # of the opening, and those that were cut off


class Flushed(Protocol):
    """An item that was cut off: milliseconds really sent, and those thrown away."""

    @property
    def item_id(self) -> str: ...
    @property
    def sent_ms(self) -> int: ...
    @property
    def queued_ms(self) -> int: ...


class Speech(Protocol):
    """The playout as the conversation sees it."""

    @property
    def queued_ms(self) -> int: ...
    def flush(self, keep: Collection[str] = ()) -> Sequence[Flushed]: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def end_item(self, item_id: str) -> None: ...
    def sent_ms(self, item_id: str) -> int: ...
    def received_ms(self, item_id: str) -> int: ...
    def waiting_ms(self, item_id: str) -> int: ...


@dataclass(frozen=True, slots=True)
class TurnRules:
    """``pause_ms``: speech shorter than this is no interruption; 0: all of it is.

    ``prefix_ms`` and ``silence_ms`` are what the service's VAD adds to speech before and after.
    """

    protects_opening: bool = False
    pause_ms: int = 0
    prefix_ms: int = 300
    silence_ms: int = 500

    @property
    def service_interrupts(self) -> bool:
        """For ``turn_detection.interrupt_response``."""
        return not (self.protects_opening or self.pause_ms)


@dataclass(slots=True)
class _Pause:
    item_id: str  # of the caller's speech
    start_ms: int
    until: float  # then it has lasted too long to be nothing


class Turns:
    """One call's. ``now`` is monotonic; what is returned is to be done in its order."""

    def __init__(self, rules: TurnRules, speech: Speech) -> None:
        self.rules = rules
        self.is_owed = False  # an answer that the service will not give by itself
        self._speech = speech
        self._active: dict[str, None] = {}  # responses, oldest first
        self._opening: dict[str, None] = {}  # its items, while they may not be cut off
        self._protected: deque[str] = deque(maxlen=PROTECTED_MAX)
        self._opening_response: str | None = None
        self._truncated: dict[str, None] = {}
        self._pause: _Pause | None = None
        self._dismissed: str | None = None  # speech that was none: its answer is not wanted
        self._was_interrupted = False

    def take_interruption(self) -> bool:
        """Whether there has been one since this was asked."""
        was, self._was_interrupted = self._was_interrupted, False
        return was

    @property
    def active_response(self) -> str | None:
        """The newest that runs."""
        return next(reversed(self._active), None)

    @property
    def is_paused(self) -> bool:
        return self._pause is not None

    def deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        return None if self._pause is None else self._pause.until

    def tick(self, now: float) -> list[Action]:
        """The caller still speaks: it is an interruption."""
        return self.interrupt() if self._pause is not None and now >= self._pause.until else []

    # ---- the caller ----------------------------------------------------------------------------------------

    def speech_started(
        self, item_id: str, start_ms: int, now: float, *, is_last_chance: bool = False
    ) -> list[Action]:
        """The service hears a voice. ``is_last_chance``: the call is about to end, and the shortest yes counts."""
        if not self.rules.pause_ms or is_last_chance or self._is_in_opening():
            return self.interrupt(cancels=not self.rules.service_interrupts)
        if self._pause is not None:  # said twice
            self._pause.item_id, self._pause.start_ms = item_id, start_ms
        elif self._active or self._speech.queued_ms:
            self._speech.pause()
            until = now + (self.rules.pause_ms + self.rules.silence_ms) / 1000
            self._pause = _Pause(item_id, start_ms, until)
        return []

    def speech_stopped(self, item_id: str, end_ms: int) -> list[Action]:
        """``end_ms`` includes the silence by which the end was known."""
        pause = self._pause
        if pause is None or pause.item_id != item_id:
            return []
        lasted_ms = end_ms - pause.start_ms - self.rules.prefix_ms - self.rules.silence_ms
        if lasted_ms >= self.rules.pause_ms:
            return self.interrupt()
        self._go_on(pause)
        return []

    def transcribed(self, item_id: str, text: str) -> None:
        """Of the caller's speech: no words are no interruption."""
        if self._pause is not None and self._pause.item_id == item_id and not text.strip():
            self._go_on(self._pause)

    def committed(self, item_id: str) -> None:
        """The caller's speech is in the conversation."""
        if self._dismissed != item_id:
            self._dismissed = None
            self.is_owed = bool(self._active) and not self.rules.service_interrupts

    def protect(self, item_id: str) -> None:
        """Words of ours that must be heard to their end."""
        self._protected.append(item_id)

    def interrupt(self, *, cancels: bool = True) -> list[Action]:
        """Silence at once, and the service told how much was heard; what is protected goes on."""
        self._pause = None
        self._was_interrupted = True
        in_opening = self._is_in_opening()
        flushed = self._speech.flush({*self._protected, *(self._opening if in_opening else ())})
        actions: list[Action] = []
        for response_id in self._active:
            if in_opening and response_id == self._opening_response:
                continue
            actions.append(IgnoreResponse(response_id))
            if cancels:
                actions.append(CancelResponse(response_id))
        return actions + [
            self._truncate(item.item_id)
            for item in flushed
            if item.queued_ms > 0 and not item.item_id.startswith(OWN_ITEM)
        ]

    def _go_on(self, pause: _Pause) -> None:
        self._pause = None
        self._dismissed = pause.item_id
        self._speech.resume()

    # ---- the agent -----------------------------------------------------------------------------------------

    def response_created(self, response_id: str, *, is_asked: bool, is_opening: bool = False) -> list[Action]:
        """``is_asked``: by us; else it is the service's answer to what the caller said."""
        if len(self._active) < ACTIVE_MAX:
            self._active[response_id] = None
        self.is_owed = False
        if is_opening and self.rules.protects_opening:
            self._opening_response = response_id
        if self._dismissed is None or is_asked:
            return []
        self._dismissed = None
        return [IgnoreResponse(response_id), CancelResponse(response_id)]

    def item_added(self, response_id: str, item_id: str) -> None:
        """The response says something."""
        if response_id == self._opening_response and len(self._opening) < ITEMS_MAX:
            self._opening[item_id] = None

    def response_done(self, response_id: str) -> None:
        self._active.pop(response_id, None)

    def late_audio(self, item_id: str) -> list[Action]:
        """Audio of a response that was interrupted came and was dropped: the caller has not heard it."""
        return [] if item_id in self._truncated else [self._truncate(item_id)]

    def _truncate(self, item_id: str) -> Truncate:
        self._truncated[item_id] = None
        if len(self._truncated) > ITEMS_MAX:
            del self._truncated[next(iter(self._truncated))]
        return Truncate(item_id, min(self._speech.sent_ms(item_id), self._speech.received_ms(item_id)))

    def _is_in_opening(self) -> bool:
        """It is being made, or heard."""
        if self._opening_response is None:
            return False
        is_over = self._opening_response not in self._active and not any(
            self._speech.waiting_ms(item) for item in self._opening
        )
        if is_over:
            self._opening_response = None
            self._opening.clear()
        return not is_over
