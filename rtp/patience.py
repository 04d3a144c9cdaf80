"""How long it pays to wait for a missing packet. No clock.

What happened to the missing packets of the recent past is the best forecast for the next: a packet is missed when a
later one has arrived, and from then on it comes after τ, or never. Of each wait w the expected cost is known then:

* while waiting, sound that is there is held back: with a packet every p, H(w) = w + (w − p) + (w − 2p) + … in
  packet·milliseconds, up to τ if the packet comes before w, else up to w;
* a packet that comes after w has been waited for in vain and is replaced by concealment: ``WORTH_MS``.

The wait is the one with the least expected cost. Where nothing that was missing ever came (loss without reordering,
also on a line with much jitter that keeps the order) that is 0; where packets overtake each other it reaches as far
as they do; a mixture is decided by its odds. What was learnt is forgotten with the number of gaps since, so a few
late packets are enough to wait longer. Before anything is known a quarter of a gap counts as one that closes.
"""

from __future__ import annotations

STEP_MS = 5
WORTH_MS = 3000.0  # packet·ms: holding back 13 packets of 20 ms for a certain one, 4 for one in twenty
MEMORY_GAPS = 60.0  # gaps after which a lesson counts 1/e
PRIOR_MS = (10, 20, 30, 40, 50, 60)  # of the first gap
PRIOR_WEIGHT = 0.25


class GapPatience:
    """The forecast of one call; survives a change of source, as the way through the network is the same."""

    __slots__ = ("_came", "_changed", "_growth", "_lost", "_packet_ms", "_steps", "_wait_s", "_weight")

    def __init__(self, max_wait_ms: float) -> None:
        self._steps = int(max_wait_ms // STEP_MS)
        self._came = [0.0] * (self._steps + 1)  # by τ in steps, rounded up; what is beyond is not waited for
        self._lost = 0.0
        self._weight = 1.0  # of the next lesson: grows instead of all others shrinking
        self._growth = 1.0 + 1.0 / MEMORY_GAPS
        for tau_ms in PRIOR_MS:
            self._came[min(tau_ms // STEP_MS, self._steps)] += PRIOR_WEIGHT / len(PRIOR_MS)
        self._changed = True
        self._packet_ms = 0.0
        self._wait_s = 0.0

    def came(self, tau_s: float) -> None:
        """A missing packet came ``tau_s`` after it had been missed, whether it was still waited for or not."""
        step = int(tau_s * 1000 / STEP_MS) + 1
        if step <= self._steps:
            self._came[step] += self._next_weight()

    def lost(self) -> None:
        """A gap was given up."""
        self._lost += self._next_weight()

    def was_late(self, tau_s: float) -> None:
        """A packet of a gap that had been given up came after all."""
        self._lost = max(0.0, self._lost - self._weight)
        self.came(tau_s)

    def _next_weight(self) -> float:
        self._changed = True
        self._weight *= self._growth
        if self._weight > 1e9:
            self._came = [each / self._weight for each in self._came]
            self._lost /= self._weight
            self._weight = 1.0
        return self._weight

    def wait_s(self, packet_ms: float) -> float:
        """How long to wait for what is missed now, on a stream with a packet every ``packet_ms``."""
        if self._changed or packet_ms != self._packet_ms:
            self._packet_ms = packet_ms
            self._wait_s = self._best_wait_ms(max(packet_ms, 1.0)) / 1000
            self._changed = False
        return self._wait_s

    def _best_wait_ms(self, packet_ms: float) -> float:
        open_weight = sum(self._came) + self._lost  # of the gaps not closed yet at this step
        vain = sum(self._came)
        spent = 0.0
        best, best_ms = vain * WORTH_MS, 0
        for step in range(1, self._steps + 1):
            held = 1 + int((step - 1) * STEP_MS / packet_ms)
            spent += open_weight * held * STEP_MS
            open_weight -= self._came[step]
            vain -= self._came[step]
            cost = spent + vain * WORTH_MS
            if cost < best - 1e-9:
                best, best_ms = cost, step * STEP_MS
        return float(best_ms)
