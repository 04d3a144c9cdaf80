"""Is what comes from the line the caller, or our own voice coming back? A decision per frame; no I/O, no clock.

A telephone network echoes: a hybrid or a loudspeaker returns our sound some 20 to 600 ms later, weaker. No canceller
stands between it and the model, whose voice detection then takes the agent for an interrupting caller. The guard keeps
both envelopes (root mean square per frame) and looks for our own in what is heard: the lag with the highest
correlation, and the gain there. While a frame is no louder than that echo can be, it is told to be echo, and the
adapter sends silence of equal length in its place, so that the service's clock stays true. A caller who speaks over us
is louder than the echo, by ``margin_db`` or more, and passes at once; a weak caller under a loud echo does not, which
is the price of the guard and why it is off by default.

Both are kept on a grid of 20 ms that our sending advances, so neither the packets' length nor their jitter matters.

Until the echo's path is known (about two seconds of our own voice) the loudest of what we sent stands for it, less
``assumed_loss_db``: the least echo return loss that a line may be expected to have (ITU-T G.168: 6 dB for the hybrid
alone). A second of our voice during which less comes back lowers that: on a line without echo nobody has to shout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FRAME_MS = 20
HISTORY_FRAMES = 100  # 2 s: what the path is learnt from
BOUND_FRAMES = 50  # 1 s: what bounds a path that is not known
MAX_LAG_FRAMES = 30  # 600 ms; the longest round trip by satellite and mobile
SPREAD_FRAMES = 3  # 60 ms around the lag: dispersion, and frames that are not aligned
LEARN_EVERY_FRAMES = 10
LEAST_CORRELATION = 0.8
QUIET = 30.0  # of 32,768: -61 dBov; less is the line's own noise, neither voice nor echo
LOUD = 10 * QUIET  # of our own voice: what comes back of less tells nothing


@dataclass(frozen=True, slots=True)
class EchoRules:
    """``margin_db``: how much louder than its echo a caller must be. Losses are positive dB."""

    margin_db: float = 6.0
    assumed_loss_db: float = 6.0
    hangover_ms: int = 200  # a caller who passed goes on passing for so long, or words lose their ends

    def __post_init__(self) -> None:
        if not 0 <= self.margin_db <= 30:
            raise ValueError(f"margin_db {self.margin_db:g}: 0 to 30")
        if not 0 <= self.assumed_loss_db <= 40:
            raise ValueError(f"assumed_loss_db {self.assumed_loss_db:g}: 0 to 40")
        if not 0 <= self.hangover_ms <= 1000:
            raise ValueError(f"hangover_ms {self.hangover_ms}: 0 to 1000")


@dataclass(frozen=True, slots=True)
class EchoPath:
    """Where our voice comes back: after ``lag_ms``, ``loss_db`` weaker."""

    lag_ms: int
    loss_db: float


class EchoGuard:
    """The decision for one call. Levels are root mean squares of 16-bit samples."""

    def __init__(self, rules: EchoRules) -> None:
        self._margin = 10 ** (rules.margin_db / 20)
        self._assumed = 10 ** (-rules.assumed_loss_db / 20)
        self._hangover_frames = rules.hangover_ms // FRAME_MS
        self._sent = np.zeros(HISTORY_FRAMES + MAX_LAG_FRAMES + SPREAD_FRAMES)  # oldest first
        self._heard = np.zeros(HISTORY_FRAMES)
        self._has_heard = np.zeros(HISTORY_FRAMES, bool)  # whether anything came in that frame
        self._ahead_ms = self._ahead = 0.0  # of the frame that is not complete: length and level
        self._lag: int | None = None
        self._gain = 0.0
        self._frames = 0
        self._passing = 0
        self.echo_frames = 0

    @property
    def path(self) -> EchoPath | None:
        """The echo as learnt; None while there is none to be seen."""
        if self._lag is None:
            return None
        return EchoPath(self._lag * FRAME_MS, -20 * math.log10(max(self._gain, 1e-6)))

    def sent(self, level: float, ms: float = FRAME_MS) -> None:
        """So much has left, also if it was silence: time passes by it."""
        self._ahead = max(self._ahead, level)
        self._ahead_ms += ms
        while self._ahead_ms >= FRAME_MS:
            self._ahead_ms -= FRAME_MS
            self._advance(self._ahead)
            self._ahead = level if self._ahead_ms else 0.0

    def _advance(self, level: float) -> None:
        for history in (self._sent, self._heard, self._has_heard):
            history[:-1] = history[1:]
        self._sent[-1] = level
        self._heard[-1] /= 2  # until something comes: a packet that is late, or a phone that sends no silence
        self._has_heard[-1] = False
        self._frames += 1
        if self._frames % LEARN_EVERY_FRAMES == 0:
            self._learn()

    def is_echo(self, heard: float, before: int = 0) -> bool:
        """Of one frame that came just now, or of a long packet the one so many frames ``before`` its last."""
        at = -1 - before
        self._heard[at] = max(self._heard[at], heard) if self._has_heard[at] else heard
        self._has_heard[at] = True
        if heard < QUIET:
            self._passing = max(0, self._passing - 1)
            return False
        if heard > self._margin * self._expected():
            self._passing = self._hangover_frames
            return False
        if self._passing:
            self._passing -= 1
            return False
        self.echo_frames += 1
        return True

    def _expected(self) -> float:
        """The loudest that an echo could be in this frame."""
        if self._lag is None:
            return float(self._sent.max()) * self._assumed if self._is_talking() else 0.0
        newest = len(self._sent) - 1 - self._lag
        near = self._sent[max(0, newest - SPREAD_FRAMES) : newest + SPREAD_FRAMES + 1]
        return float(near.max()) * self._gain

    def _is_talking(self) -> bool:
        """Whether anything of ours can still be on its way back."""
        return bool(self._sent[-MAX_LAG_FRAMES:].max() >= QUIET)

    def _learn(self) -> None:
        """Takes the lag and gain that explain best what was heard; keeps the former ones if nothing explains it."""
        if self._lag is None:
            self._bound()
        heard = self._heard
        if np.count_nonzero(heard >= QUIET) < HISTORY_FRAMES // 5:
            return
        centred = heard - heard.mean()
        behind = np.lib.stride_tricks.sliding_window_view(self._sent, HISTORY_FRAMES)[::-1][
            : MAX_LAG_FRAMES + 1
        ]
        energy = np.einsum("ij,ij->i", behind, behind)
        power = (energy - behind.sum(axis=1) ** 2 / HISTORY_FRAMES) * (centred @ centred)
        correlation = (behind @ centred) / np.sqrt(np.maximum(power, 1.0))
        lag = int(correlation.argmax())
        if correlation[lag] > LEAST_CORRELATION:
            self._lag = lag
            self._gain = min(1.0, float(heard @ behind[lag]) / float(energy[lag]))

    def _bound(self) -> None:
        """No echo can be stronger than what came back in a second of our voice, whoever spoke besides."""
        sent = self._sent[-BOUND_FRAMES - MAX_LAG_FRAMES :]
        loudest = np.lib.stride_tricks.sliding_window_view(sent, MAX_LAG_FRAMES + 1).max(axis=1)[
            -BOUND_FRAMES:
        ]
        told = self._has_heard[-BOUND_FRAMES:] & (loudest >= LOUD)
        if np.count_nonzero(told) >= BOUND_FRAMES * 4 // 5:
            back = float((self._heard[-BOUND_FRAMES:][told] / loudest[told]).max())
            self._assumed = min(self._assumed, back)
