"""Clear speech of the caller to which a session says nothing: it is open, and does not hear. No I/O, no clock.

A service says within half a second that somebody speaks. Voice is what is louder than a line's noise and well above
what this line was in its quietest moments of late, so steady noise is none. Music is; what follows from it is bounded
by ``sipua.realtime.continuity``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

SPEECH_MS = 3_000  # of voice …
WITHIN_MS = 10_000  # … in the latest audio, all of which the next session hears (``uplink.LOOK_BACK_MS``)
VOICE_MIN = 580.0  # of 32,768: -35 dBov
ABOVE_NOISE = 4.0  # 12 dB: between syllables a voice falls lower than that
NOISE_DOUBLES_MS = 700  # so fast what counts as noise rises: a hum that sets in is voice for less than 3 s


class Unheard:
    """One call's. ``level`` gives the root mean square of 16-bit samples."""

    def __init__(self, level: Callable[[bytes], float], bytes_per_ms: int) -> None:
        self._level = level
        self._bytes_per_ms = bytes_per_ms
        self._latest: deque[tuple[float, bool]] = deque()  # length, voice?
        self._held_ms = self._voice_ms = 0.0
        self._noise = VOICE_MIN

    @property
    def is_clear(self) -> bool:
        """Whoever listens has noticed."""
        return self._voice_ms >= SPEECH_MS

    def heard(self, audio: bytes) -> None:
        level, ms = self._level(audio), len(audio) / self._bytes_per_ms
        risen = max(self._noise, VOICE_MIN / ABOVE_NOISE) * 2 ** (ms / NOISE_DOUBLES_MS)
        self._noise = min(level, risen)
        is_voice = level >= max(VOICE_MIN, ABOVE_NOISE * self._noise)
        self._latest.append((ms, is_voice))
        self._held_ms += ms
        self._voice_ms += ms * is_voice
        while self._held_ms > WITHIN_MS:
            length, was_voice = self._latest.popleft()
            self._held_ms -= length
            self._voice_ms -= length * was_voice

    def answered(self) -> None:
        """The session has said something: it lives."""
        self._latest.clear()
        self._held_ms = self._voice_ms = 0.0
