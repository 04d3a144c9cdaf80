"""What waits to be sent when the connection does not take it at once: one ordered, bounded queue. No I/O.

Theory: audio and control events share one order (a commit belongs after the audio before it), but not one
policy. Audio that is too old is worth nothing, so a full queue loses its oldest append and counts it. A
control event that got lost would leave the service in a state that we do not know: a full queue of those is
an error.
"""

from __future__ import annotations

from collections import deque

from sipua.errors import LocalError

APPENDS_MAX = 50  # one second of 20 ms frames
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

    def push_append(self, data: bytes) -> bool:
        """Queue audio; True if the oldest append was dropped for it."""
        dropped = self._appends >= self._appends_max
        if dropped:
            oldest = next(index for index, (is_append, _) in enumerate(self._entries) if is_append)
            del self._entries[oldest]
            self._appends -= 1
        self._entries.append((True, data))
        self._appends += 1
        return dropped

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
