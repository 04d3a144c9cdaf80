"""What hindsight could do at best with isochronous playout (Moon, Kurose, Towsley 1998, doi 10.1007/s005300050073).

One constant playout delay per talk spurt. With d the sorted delays of a spurt of n packets, j of them late:
cost(n, j) = (n − j) · d[n − j − 1] and D(k, i) = min over j of D(k − 1, i − j) + cost(n_k, j). Here the delay that the
packets had anyhow is subtracted, cost(n, j) − sum(d[: n − j]): then the optimum is that of the added delay, the
measure of this bench, and no isochronous playout can be below it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rtp.traces import Trace
from sipua.bench.jitter.outcome import Outcome, Times, first_arrivals

ROUNDING_S = 1e-9


def spurts_of(trace: Trace) -> list[npt.NDArray[np.intp]]:
    """Per talk spurt the indices of its packets that arrive."""
    arrived = ~np.isnan(first_arrivals(trace))
    numbers = np.array([packet.spurt for packet in trace.packets])
    return [np.flatnonzero(arrived & (numbers == number)) for number in np.unique(numbers[arrived])]


def optimum(trace: Trace, max_late: int, *, added: bool = True) -> Outcome:
    """The least mean with at most ``max_late`` late packets; ``added=False``: of the delay as the paper has it."""
    arrived = first_arrivals(trace)
    sent = np.array([packet.sent_s for packet in trace.packets])
    spurts = spurts_of(trace)
    total = sum(map(len, spurts))
    best = np.full(max_late + 1, np.inf)
    best[0] = 0.0
    choices = []
    for spurt in spurts:
        delays = np.sort((arrived - sent)[spurt])
        sums = np.cumsum(delays) if added else np.zeros(len(delays))
        extended = np.full(max_late + 1, np.inf)
        choice = np.zeros(max_late + 1, dtype=int)
        for late in range(min(len(delays), max_late) + 1):
            count = len(delays) - late
            cost = count * delays[count - 1] - sums[count - 1] if count else 0.0
            candidate = np.full(max_late + 1, np.inf)
            candidate[late:] = best[: max_late + 1 - late] + cost
            is_better = candidate < extended
            extended[is_better] = candidate[is_better]
            choice[is_better] = late
        choices.append(choice)
        best = extended
    late = int(np.argmin(best / np.maximum(1, total - np.arange(max_late + 1))))
    handed_over: Times = np.full(len(arrived), np.nan)
    for spurt, choice in zip(reversed(spurts), reversed(choices), strict=True):
        played = spurt[np.argsort((arrived - sent)[spurt], kind="stable")][: len(spurt) - choice[late]]
        if played.size:
            handed_over[played] = sent[played] + (arrived - sent)[played].max()
        late -= int(choice[late])
    return Outcome(handed_over, arrived)


def best_fixed(trace: Trace, max_late: int) -> Outcome:
    """One playout delay for the whole trace: the least with which at most ``max_late`` packets are late."""
    sent = np.array([packet.sent_s for packet in trace.packets])
    arrived = first_arrivals(trace)
    delays = np.sort((arrived - sent)[~np.isnan(arrived)])
    playout = sent + delays[max(0, len(delays) - 1 - max_late)]
    in_time = arrived <= playout + ROUNDING_S
    return Outcome(np.where(in_time, np.maximum(playout, arrived), np.nan), arrived)
