"""What one call costs, as it goes: into the ledger and the metrics, and whether a cap is reached."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from sipua.actions import Action, Logged
from sipua.metrics import Metrics
from sipua.ports import CallRecord, Clock
from sipua.realtime import events as ev
from sipua.realtime.config import SessionConfig
from sipua.spend import CallSpend, Charge, Spend


class Meter:
    """``today`` is the day where the callers are."""

    def __init__(
        self, spend: Spend, today: Callable[[], date], record: CallRecord, metrics: Metrics, clock: Clock,
        received_ms: Callable[[str], int],
    ) -> None:  # fmt: skip
        opening = record.opening
        number = opening.from_number if opening.direction == "inbound" else opening.to_number
        self._call = CallSpend(spend, number, received_ms)
        self._today = today
        self._record = record
        self._metrics = metrics
        self._clock = clock
        self._model = ""
        self._charge: Charge | None = None  # of the event at hand

    def is_over(self) -> bool:
        """Whether a cap is reached; counts it."""
        cap = self._call.reached(self._today())
        if cap is not None:
            self._metrics.spend_caps.labels(cap).inc()
            self._record.error(self._clock.now(), "spend_cap", f"the cap of spending by {cap} is reached")
        return cap is not None

    def on_event(self, event: ev.Event, config: SessionConfig) -> bool:
        """Counts what an event has cost; true once a cap is reached."""
        self._model = config.model
        transcription = config.transcription.model if config.transcription is not None else ""
        charge = self._charge = self._call.on_event(event, config.model, transcription, self._today())
        if charge is None:
            return False
        self._count(charge, config.model if isinstance(event, ev.ResponseDone) else transcription)
        return self.is_over()

    def close(self) -> None:
        """The call is over, perhaps amid a response."""
        for charge in self._call.over(self._model, self._today()):
            self._count(charge, self._model)

    def _count(self, charge: Charge, model: str) -> None:
        if charge.usd is None:
            self._metrics.unpriced.labels(model).inc()
        else:
            self._metrics.spent_usd.labels(model).inc(charge.usd)
        self._record.usage(self._clock.now(), self._call.as_dict())

    def priced(self, actions: list[Action]) -> list[Action]:
        """With the cost of the response that the event at hand has ended, for ``voice_events``."""
        if self._charge is None or self._charge.usd is None:
            return actions
        cost: dict[str, object] = {"cost_usd": round(self._charge.usd, 6)}
        if self._charge.is_estimated:
            cost["cost_estimated"] = True
        return [
            Logged(each.type, {**each.payload, **cost})
            if isinstance(each, Logged) and each.type == ev.ResponseDone.raw_type
            else each
            for each in actions
        ]
