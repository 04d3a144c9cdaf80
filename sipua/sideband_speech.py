"""What the service plays to the caller of a call that it terminates, as far as it says so. No I/O, no clock.

It tells the beginning and the end of each playout, not how long it takes: while it plays, "something is queued". A
service that does not tell the end must not hold the call, so a playout lasts ``PLAYS_MAX_S`` at most.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from sipua.realtime import events as ev
from sipua.turns import Flushed

SOME_MS = 20  # one frame: more is not known of
PLAYS_MAX_S = 60.0
ANSWERS_MAX = 16  # responses to one turn: each call of a tool leads to one


class TurnLatency:
    """How soon the caller hears an answer: from the end of their words, as the service takes it, to its playout."""

    def __init__(self) -> None:
        self._silent_at: float | None = None  # as long as no answer has begun
        self._items: dict[str, str] = {}  # of responses since then ("": not known yet); some only call tools

    def on_event(self, event: ev.Event, now: float) -> tuple[str, float] | None:
        """The item that answers and the seconds that it took, once a turn."""
        match event:
            case ev.SpeechStarted():
                self._silent_at = None
            case ev.SpeechStopped():
                self._silent_at, self._items = now, {}
            case ev.ResponseCreated() if len(self._items) < ANSWERS_MAX:
                self._items[event.response_id] = ""
            case ev.OutputItemAdded(type="message") if event.response_id in self._items:
                self._items[event.response_id] = event.item_id
            case ev.PlayoutBegan() if self._silent_at is not None and event.response_id in self._items:
                seconds, self._silent_at = now - self._silent_at, None
                return self._items[event.response_id], seconds
        return None


class RemoteSpeech:
    """``sipua.turns.Speech`` and ``sipua.call_voice.Queue``. ``now`` gives the monotonic clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since: float | None = None
        self.has_begun = False  # ever

    def on_event(self, event: ev.Event) -> None:
        match event:
            case ev.PlayoutBegan():
                self.has_begun, self._since = True, self._now()
            case ev.PlayoutEnded() | ev.PlayoutCleared():
                self._since = None

    @property
    def queued_ms(self) -> int:
        is_playing = self._since is not None and self._now() - self._since < PLAYS_MAX_S
        return SOME_MS if is_playing else 0

    def flush(self, keep: Collection[str] = ()) -> Sequence[Flushed]:
        return ()  # the service has done so

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def end_item(self, item_id: str) -> None:
        pass

    def sent_ms(self, item_id: str) -> int:
        return 0

    def received_ms(self, item_id: str) -> int:
        return 0

    def waiting_ms(self, item_id: str) -> int:
        return 0
