"""From the agent's wish to hang up to the BYE: when its last words have been heard. No I/O, no clock."""

from __future__ import annotations

from sipua.outcome import AGENT_HUNG_UP, Ending

LATEST_S = 30.0  # after the wish: a service that says no goodbye must not hold the call
TAIL_S = 0.3  # the far end's jitter buffer still plays; others clip 100 to 300 ms


class LastWords:
    """``ending`` is how the call will have ended."""

    def __init__(self) -> None:
        self.ending = AGENT_HUNG_UP
        self._wanted_at: float | None = None
        self._is_said = False
        self._empty_since: float | None = None

    @property
    def is_wanted(self) -> bool:
        return self._wanted_at is not None

    def wanted(self, now: float, ending: Ending = AGENT_HUNG_UP) -> None:
        """The model may have something to say first."""
        if self._wanted_at is None:
            self._wanted_at, self.ending = now, ending

    def said(self) -> None:
        """Nothing follows what is queued."""
        self._is_said = self.is_wanted

    def taken_back(self) -> None:
        """The caller has spoken."""
        self._wanted_at, self._is_said, self._empty_since = None, False, None

    def are_heard(self, now: float, queued_ms: int) -> bool:
        """Whether the call is over; ``queued_ms`` is what the playout still holds. To be asked every frame or so."""
        if self._wanted_at is None:
            return False
        if not self._is_said:
            return now - self._wanted_at >= LATEST_S
        if queued_ms:
            self._empty_since = None
            return False
        if self._empty_since is None:
            self._empty_since = now
        return now - self._empty_since >= TAIL_S
