"""What waits to be sent when the connection does not take it at once: one ordered, bounded queue. No I/O.

Theory: audio and control events share one order (a commit belongs after the audio before it), but not one
limit. Nothing is left out of either: audio that the service never had would shift its clock, by which it tells
us where the caller spoke, and an event that got lost would leave it in a state that we do not know. A full queue
is an error, and the session's end: another one hears what this one did not take.
"""

from __future__ import annotations

from collections import deque

from sipua.errors import LocalError

APPENDS_MAX = (
    250  # 5 s of 20 ms frames: so many come at once after our own loop stood still (a socket's buffer)
)
CONTROLS_MAX = 256  # a new session is told a whole conversation at once (history.SEED_ITEMS_MAX)


class QueueFullError(LocalError):
    """A bounded queue of the Realtime session is full; the message names which one and its size."""

    reason = "realtime_queue_full"


class Outbox:
    """Entries are ``(is_append, bytes)`` in the order they were pushed."""

    def __init__(self, *, appends_max: int = APPENDS_MAX, controls_max: int = CONTROLS_MAX) -> None:
        self._entries: deque[tuple[bool, bytes]] = deque()
        self._appends = 0
        self._appends_max = appends_max
        self._controls_max = controls_max

    def __len__(self) -> int:
        return len(self._entries)

    def push_append(self, data: bytes) -> None:
        """Queue audio. Raises QueueFullError."""
        if self._appends >= self._appends_max:
            raise QueueFullError(
                f"the queue of audio to the voice service is full ({self._appends_max} packets)"
            )
        self._entries.append((True, data))
        self._appends += 1

    def push_control(self, data: bytes) -> None:
        """Queue a control event. Raises QueueFullError."""
        if len(self._entries) - self._appends >= self._controls_max:
            raise QueueFullError(
                f"the queue of control events to the voice service is full ({self._controls_max})"
            )
        self._entries.append((False, data))

    def pop(self) -> tuple[bool, bytes] | None:
        """The oldest entry, None if there is none."""
        if not self._entries:
            return None
        entry = self._entries.popleft()
        self._appends -= entry[0]
        return entry

    def clear(self) -> int:
        """Drop everything; how many appends were among it."""
        dropped, self._appends = self._appends, 0
        self._entries.clear()
        return dropped
