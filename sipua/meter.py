"""What one call costs, as it goes: into the ledger and the metrics, and whether a cap is reached."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from sipua.metrics import Metrics
from sipua.ports import CallRecord, Clock
from sipua.realtime import events as ev
from sipua.realtime.config import SessionConfig
from sipua.spend import CallSpend, Spend


class Meter:
    """``today`` is the day where the callers are."""

    def __init__(
        self, spend: Spend, today: Callable[[], date], record: CallRecord, metrics: Metrics, clock: Clock
    ) -> None:
        opening = record.opening
        number = opening.from_number if opening.direction == "inbound" else opening.to_number
        self._call = CallSpend(spend, number)
        self._today = today
        self._record = record
        self._metrics = metrics
        self._clock = clock

    def is_over(self) -> bool:
        """Whether a cap is reached; counts it."""
        cap = self._call.reached(self._today())
        if cap is not None:
            self._metrics.spend_caps.labels(cap).inc()
            self._record.error(self._clock.now(), "spend_cap", f"the cap of spending by {cap} is reached")
        return cap is not None

    def on_event(self, event: ev.Event, config: SessionConfig) -> bool:
        """Counts what an event has cost; true once a cap is reached."""
        transcription = config.transcription.model if config.transcription is not None else ""
        charge = self._call.on_event(event, config.model, transcription, self._today())
        if charge is None:
            return False
        model = config.model if isinstance(event, ev.ResponseDone) else transcription
        if charge.usd is None:
            self._metrics.unpriced.labels(model).inc()
        else:
            self._metrics.spent_usd.labels(model).inc(charge.usd)
        self._record.usage(self._clock.now(), self._call.as_dict())
        return self.is_over()
