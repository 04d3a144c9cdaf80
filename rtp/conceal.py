"""What stands for sound that was lost, so that the listener's millisecond clock stays true.

As in G.711 Appendix I the last pitch periods are repeated, at full level for 10 ms, then 20 % less every 10 ms and
mute after 60. But here a gap is filled when the packet after it is there (that is how it is known to be one), so the
sound after it is continued backwards by the same rule and the two are cross-faded. Nothing that arrived is changed or
delayed. A stretch in which the sender was silent by itself is silence.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .codec import Codec
from .g711 import Pcm

Wave = npt.NDArray[np.float64]

HISTORY_MS = 50
FULL_MS = 10
MUTE_MS = 60
FADE_IN_MS = 5
SHORTEST_PITCH_MS = 5  # 200 Hz
LONGEST_PITCH_MS = 15  # 66 Hz
WINDOW_MS = 20  # that two stretches are compared over
LEAST_WINDOW_MS = 5  # where so little sound is there
QUIET = 1e3  # power of a sample; below it a likeness means nothing


class Concealer:
    """Fills gaps of one stream of ``codec`` payload."""

    __slots__ = ("_codec", "_history", "_history_bytes")

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._history = b""
        self._history_bytes = codec.frame_bytes(HISTORY_MS)

    def heard(self, payload: bytes) -> None:
        """Remember the sound that a following gap continues."""
        self._history = (self._history + payload)[-self._history_bytes :]

    def fill(self, samples: int, packets: int, following: bytes = b"", noise: bytes = b"") -> bytes:
        """``samples`` of payload for a gap in which ``packets`` were lost (0: the sender was silent).

        Silence is of ``noise``, if there is any.
        """
        if packets and samples:
            before, after = self._decoded(following[: self._history_bytes])
            filled = self._encoded(before, self._between(before, after, samples), after, samples)
        else:
            filled = (
                (noise * (samples // len(noise) + 1))[:samples] if noise else self._codec.silence * samples
            )
        self.heard(filled)
        return filled

    def _decoded(self, following: bytes) -> tuple[Wave, Wave]:
        """What was before and what follows, by one coder: with a state, the second needs the first."""
        wave = self._codec.decode(self._history + following).astype(np.float64)
        end = len(self._history) * self._codec.sample_rate // self._codec.clock_rate
        return wave[:end], wave[end:]

    def _encoded(self, before: Wave, wave: Wave, after: Wave, samples: int) -> bytes:
        """A coder with a delay is brought to where it would be, and is given its input ahead by so much."""
        encode, delay = self._codec.new_encoder(), self._codec.delay_samples
        if delay:
            wave = np.concatenate((wave, after[:delay], np.zeros(max(0, delay - len(after)))))
            run_up = np.concatenate((before, wave[:delay]))
            encode(_samples(run_up[len(run_up) % self._codec.encoder_samples :]))
        return encode(_samples(wave[delay:])).ljust(samples, self._codec.silence)

    def _between(self, before: Wave, after: Wave, samples: int) -> Wave:
        rate = self._codec.sample_rate
        samples = samples * rate // self._codec.clock_rate
        forward = continued(before, samples, rate)
        backward = continued(after[::-1], samples, rate)[::-1]
        weight = (np.arange(samples) + 0.5) / samples
        return forward * (1 - weight) + backward * weight


def faded_in(payload: bytes, codec: Codec) -> bytes:
    """Sound that begins in its middle, without a click. A coder with a state is left alone: its state would be lost."""
    if codec.delay_samples:
        return payload
    wave = codec.decode(payload).astype(np.float64)
    length = min(len(wave), FADE_IN_MS * codec.sample_rate // 1000)
    wave[:length] *= (np.arange(length) + 0.5) / length
    return codec.encode(_samples(wave))


def _samples(wave: Wave) -> Pcm:
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16)


def continued(history: Wave, samples: int, rate: int) -> Wave:
    """``history`` continued by its last pitch periods, fading."""
    ms = rate // 1000
    length = min(samples, MUTE_MS * ms)
    out = np.zeros(samples)
    if len(history) < SHORTEST_PITCH_MS * ms + LEAST_WINDOW_MS * ms:
        return out
    pitch = pitch_of(history, ms)
    out[:length] = repeated(history, pitch, length) * fade(length, ms)
    return out


def fade(length: int, ms: int) -> Wave:
    """The level of each sample: full, then falling to nothing."""
    step = np.arange(length) / ms
    return np.clip((MUTE_MS - step) / (MUTE_MS - FULL_MS), 0.0, 1.0)


def pitch_of(history: Wave, ms: int) -> int:
    """The lag, in samples, at which the end of ``history`` is most like what was before it."""
    longest = min(LONGEST_PITCH_MS * ms, len(history) - LEAST_WINDOW_MS * ms)
    shortest = min(SHORTEST_PITCH_MS * ms, longest)
    window = min(WINDOW_MS * ms, len(history) - longest)
    recent = history[-window:]
    region = history[-window - longest :]
    products = np.correlate(region[: len(region) - shortest], recent, "valid")  # lag = longest - index
    squares = np.concatenate(([0.0], np.cumsum(region * region)))
    energies = squares[window : window + len(products)] - squares[: len(products)]
    score = products / np.sqrt(energies + QUIET * window)
    return int(longest - np.argmax(score))


def repeated(history: Wave, pitch: int, length: int) -> Wave:
    """The last period again and again, each joined to the next over a quarter of it."""
    quarter = max(1, min(pitch // 4, len(history) - pitch))
    rising = (np.arange(quarter) + 1) / (quarter + 1)
    period = history[-pitch:].copy()
    before = history[len(history) - pitch - quarter : len(history) - pitch]
    period[-quarter:] += (before - period[-quarter:]) * rising
    out = np.resize(period, length)
    join = min(quarter, length)
    out[:join] += (history[-1] - before[-1]) * (1 - rising[:join])
    return out
