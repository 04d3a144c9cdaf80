"""Is what comes from the line the caller, or our own voice coming back? A decision per frame; no I/O, no clock.

A telephone network echoes: a hybrid or a loudspeaker returns our sound some 20 to 600 ms later, weaker. No canceller
stands between it and the model, whose voice detection then takes the agent for an interrupting caller. The guard keeps
both envelopes (root mean square per frame) and looks for our own in what is heard: the lag with the highest
correlation, and the gain there. While a frame is no louder than that echo can be, it is told to be echo, and the
adapter sends silence of equal length in its place, so that the service's clock stays true. A caller who speaks over us
is louder than the echo, by ``margin_db`` or more, and passes at once; a weak caller under a loud echo does not, which
is the price of the guard and why it is off by default.

Before the echo's path is known (about a second of our own voice), ``assumed_loss_db`` stands for it: the least
echo return loss that a line may be expected to have (ITU-T G.168 takes 6 dB for the hybrid alone).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FRAME_MS = 20
HISTORY_FRAMES = 100  # 2 s: what the path is learnt from
MAX_LAG_FRAMES = 30  # 600 ms; the longest round trip by satellite and mobile
SPREAD_FRAMES = 3  # 60 ms around the lag: dispersion, and frames that are not aligned
LEARN_EVERY_FRAMES = 10
LEAST_CORRELATION = 0.8
QUIET = 30.0  # of 32,768: -61 dBov; less is the line's own noise, neither voice nor echo


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
    """The decision for one call. Feed ``sent`` and ``heard`` one level per 20 ms each, in step."""

    def __init__(self, rules: EchoRules) -> None:
        self._margin = 10 ** (rules.margin_db / 20)
        self._assumed = 10 ** (-rules.assumed_loss_db / 20)
        self._hangover_frames = rules.hangover_ms // FRAME_MS
        self._sent = np.zeros(HISTORY_FRAMES + MAX_LAG_FRAMES + SPREAD_FRAMES)  # oldest first
        self._heard = np.zeros(HISTORY_FRAMES)
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

    def is_echo(self, heard: float, sent: float) -> bool:
        """Of one frame and the one that left at the same time, as root mean squares of 16-bit samples."""
        self._sent[:-1] = self._sent[1:]
        self._sent[-1] = sent
        self._heard[:-1] = self._heard[1:]
        self._heard[-1] = heard
        self._frames += 1
        if self._frames % LEARN_EVERY_FRAMES == 0:
            self._learn()
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
        heard = self._heard
        if np.count_nonzero(heard >= QUIET) < HISTORY_FRAMES // 5:
            return
        best, best_lag = LEAST_CORRELATION, None
        for lag in range(MAX_LAG_FRAMES + 1):
            correlation = _correlation(heard, self._behind(lag))
            if correlation > best:
                best, best_lag = correlation, lag
        if best_lag is not None:
            sent = self._behind(best_lag)
            self._lag = best_lag
            self._gain = min(1.0, float(heard @ sent / (sent @ sent)))

    def _behind(self, lag: int) -> npt.NDArray[np.float64]:
        end = len(self._sent) - lag
        return self._sent[end - HISTORY_FRAMES : end]


def _correlation(heard: npt.NDArray[np.float64], sent: npt.NDArray[np.float64]) -> float:
    a, b = heard - heard.mean(), sent - sent.mean()
    power = float(a @ a) * float(b @ b)
    return float(a @ b) / math.sqrt(power) if power > 0 else 0.0
