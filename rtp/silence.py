"""Keeps the listener's clock going while the sender sends nothing. No clock: ``now`` is an argument in seconds.

A sender that is silent (DTX, comfort noise, a key held down) sends no sound, and a listener that hears nothing would
never know that the speaker has finished. So silence is handed on while it lasts, every ``STEP_S``: soon if the sender
announced it, else after ``AFTER_S`` without sound, as a line that stands still for less is no silence. When the sender
goes on, its timestamp tells how long it was silent, and only the rest is due. What was too much, because the line had
only stood still, comes off the next silence.
"""

from __future__ import annotations

AFTER_S = 0.4
ANNOUNCED_AFTER_S = 0.06
STEP_S = 0.1
MAX_S = 10.0  # a longer silence is not made up


class Silence:
    """Of one stream."""

    __slots__ = (
        "_clock_rate",
        "_due",
        "_filled",
        "_frame_samples",
        "_heard",
        "_is_announced",
        "_surplus",
        "cut",
    )

    def __init__(self, clock_rate: int) -> None:
        self.cut = 0  # samples of silence beyond ``MAX_S``, not handed on
        self._clock_rate = clock_rate
        self._heard: float | None = None  # when the last sound arrived
        self._frame_samples = 0
        self._filled = 0  # since then
        self._surplus = 0  # handed on too much
        self._is_announced = False
        self._due: float | None = None

    def heard(self, samples: int, arrival: float) -> None:
        """Sound was handed on."""
        self._heard = arrival
        self._frame_samples = samples
        self._filled = 0
        self._is_announced = False
        self._due = arrival + AFTER_S

    def announced(self, now: float) -> None:
        """The sender says that it will be silent."""
        if self._heard is not None and not self._is_announced:
            self._is_announced = True
            self._due = now + ANNOUNCED_AFTER_S

    def deadline(self) -> float | None:
        """When ``expire`` must be called next, if no sound comes before."""
        return self._due

    def expire(self, now: float) -> int:
        """The samples of silence to hand on now: a packet that is due by now would have brought all before it."""
        if self._due is None or self._heard is None or now < self._due:
            return 0
        elapsed_s = min(now - self._heard, MAX_S)
        samples = max(0, round(elapsed_s * self._clock_rate) - self._frame_samples - self._filled)
        self._filled += samples
        self._due = now + STEP_S if elapsed_s < MAX_S else None
        return samples

    def rest(self, samples: int, packets: int) -> int:
        """What is still to be handed on for a gap of ``samples`` before the next sound."""
        limit = round(MAX_S * self._clock_rate)
        self.cut += max(0, samples - limit)
        rest = min(samples, limit) - self._filled
        self._filled = 0
        if rest < 0:
            self._surplus -= rest
            return 0
        if packets:  # of sound that was lost nothing is taken away
            return rest
        taken = min(rest, self._surplus)
        self._surplus -= taken
        return rest - taken
