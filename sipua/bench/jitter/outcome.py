"""What one receiver made of one trace, and the figures of it.

Added delay is hand-over time minus arrival time, over the packets that were handed over. Late is a packet that
arrived and was not used, as a fraction of those that arrived; what the network lost counts for nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rtp.traces import Trace

Times = npt.NDArray[np.float64]  # seconds, one a packet of the trace


def first_arrivals(trace: Trace) -> Times:
    """When each packet came first; nan: never."""
    return np.array([min(packet.arrivals, default=np.nan) for packet in trace.packets])


@dataclass(frozen=True, slots=True)
class Outcome:
    """``handed_over`` in seconds, nan where the packet was not used."""

    handed_over: Times
    arrived: Times

    @property
    def late_fraction(self) -> float:
        return self.late_count / max(1, int(np.sum(~np.isnan(self.arrived))))

    @property
    def late_count(self) -> int:
        return int(np.sum(~np.isnan(self.arrived) & np.isnan(self.handed_over)))

    def added_ms(self) -> Times:
        """Of each packet handed over."""
        added = (self.handed_over - self.arrived) * 1000
        return np.asarray(added[~np.isnan(added)])

    def added_outside_gaps_ms(self) -> Times:
        """Of those that did not wait for a packet which the network had lost."""
        added = (self.handed_over - self.arrived) * 1000
        return np.asarray(added[~np.isnan(added) & ~self._behind_losses()])

    def _behind_losses(self) -> npt.NDArray[np.bool_]:
        """Packets after a loss that had arrived when the first of them was handed over."""
        behind = np.zeros(len(self.arrived), dtype=bool)
        used = np.flatnonzero(~np.isnan(self.handed_over))
        for lost in np.flatnonzero(np.isnan(self.arrived)):
            position = np.searchsorted(used, lost)
            if position < used.size:
                given_up = self.handed_over[used[position]]
                behind[lost:] |= self.arrived[lost:] <= given_up
        return behind
