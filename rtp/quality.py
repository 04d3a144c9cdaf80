"""The quality of a call as the E-model estimates it (ITU-T G.107): R, and MOS-CQE from it. Pure arithmetic.

R = Ro − Is − Id − Ie,eff with the default values of G.107 for everything that a gateway cannot know (loudness, noise,
echo at 65 dB): 93.2 for a perfect line. Id grows with the delay from mouth to ear; Ie,eff with loss, and with its
burstiness (G.107 7-29): BurstR is how much longer the bursts are than loss at random would make them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

NO_DBM0P = -61.179  # sum of the noises with default values, G.107 (7-3)
SLR_DB, RLR_DB = 8.0, 2.0
TELR_DB, WEPL_DB = 65.0, 110.0
RO = 15 - 1.5 * (SLR_DB + NO_DBM0P)  # G.107 (7-2)
IS = 1.4136  # G.107 (7-8) with default values
MOST_R = 100.0
LEAST_MOS, MOST_MOS = 1.0, 4.5  # G.107 Annex B


@dataclass(frozen=True, slots=True)
class Impairment:
    """Of a codec (ITU-T G.113): ``ie`` without loss, ``bpl`` its robustness against random loss."""

    ie: float
    bpl: float


G711_CONCEALED = Impairment(0.0, 25.1)  # with concealment as in Appendix I
G711_BARE = Impairment(0.0, 4.3)


@dataclass(frozen=True, slots=True)
class Losses:
    """Of ``expected`` packets ``lost`` were not heard, in ``gaps`` runs of one or more."""

    expected: int
    lost: int
    gaps: int

    @property
    def percent(self) -> float:
        """Ppl."""
        return 100 * min(1.0, self.lost / self.expected) if self.expected > 0 else 0.0

    @property
    def burst_ratio(self) -> float:
        """Mean length of a run over that of random loss, 1/(1 − p); 1 without loss, never below."""
        if not self.gaps or self.lost >= self.expected:
            return 1.0
        return max(1.0, self.lost / self.gaps * (1 - self.lost / self.expected))


@dataclass(frozen=True, slots=True)
class Quality:
    """``r`` from 0 to 100, ``mos`` (MOS-CQE) from 1 to 4.5, and what they follow from."""

    r: float
    mos: float
    loss_percent: float
    burst_ratio: float
    delay_ms: float


def quality(losses: Losses, delay_ms: float, impairment: Impairment = G711_CONCEALED) -> Quality:
    """Of what a listener hears ``delay_ms`` after it was said."""
    r = RO - IS - delay_impairment(delay_ms) - loss_impairment(losses, impairment)
    r = min(MOST_R, max(0.0, r))
    return Quality(r, mos_of(r), losses.percent, losses.burst_ratio, delay_ms)


def loss_impairment(losses: Losses, impairment: Impairment) -> float:
    """Ie,eff, G.107 (7-29)."""
    percent = losses.percent
    weight = percent / (percent / losses.burst_ratio + impairment.bpl)
    return impairment.ie + (95 - impairment.ie) * weight


def delay_impairment(delay_ms: float) -> float:
    """Id = Idte + Idle + Idd, G.107 (7-18) to (7-28), with T = Ta = Tr/2."""
    delay_ms = max(0.0, delay_ms)
    terv = TELR_DB - 40 * math.log10((1 + delay_ms / 10) / (1 + delay_ms / 150))
    terv += 6 * math.exp(-0.3 * delay_ms**2)
    talker = -1.5 * (NO_DBM0P - RLR_DB) - (80 + 2.5 * (terv - 14))
    idte = (talker / 2 + math.sqrt(talker**2 / 4 + 100) - 1) * (1 - math.exp(-delay_ms))
    listener = RO - 10.5 * (WEPL_DB + 7) * math.pow(2 * delay_ms + 1, -0.25)
    idle = listener / 2 + math.sqrt(listener**2 / 4 + 169)
    return idte + idle + _absolute_delay(delay_ms)


def _absolute_delay(delay_ms: float) -> float:
    """Idd: nothing to 100 ms."""
    if delay_ms <= 100:
        return 0.0
    x = math.log2(delay_ms / 100)
    return 25 * (math.pow(1 + x**6, 1 / 6) - 3 * math.pow(1 + (x / 3) ** 6, 1 / 6) + 2)


def mos_of(r: float) -> float:
    """MOS-CQE of an R value, G.107 Annex B; the dip below 1 at the lower end is 1."""
    if r <= 0:
        return LEAST_MOS
    if r >= MOST_R:
        return MOST_MOS
    return max(LEAST_MOS, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)
