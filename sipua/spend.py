"""What calls cost, and the caps on it: per call, per caller and day, per day. No I/O, no clock.

One ``Spend`` for the process, told at its start what the ledger has of the day; several processes on one database see
each other's spending at their start only. A day is one of the settings' time zone. A cap is reached after a response
has passed it: what a response will cost is not known before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator

from sipua.realtime import events as ev
from sipua.realtime.prices import PRICE_KEYS, Price, Tokens, price_of, tokens_of
from sipua.section import Section

CALLERS_MAX = 100_000  # of one day; those beyond push out the one who was charged longest ago

Cap = Literal["call", "caller", "day"]


class SpendSettings(Section):
    """What the voice service may cost. At a cap the caller is told, then the call ends."""

    call_usd: float = Field(default=0.0, ge=0)
    """Cap of one call in US dollars; 0 = none."""
    caller_day_usd: float = Field(default=0.0, ge=0)
    """Cap of one caller (or called number) and day; 0 = none."""
    day_usd: float = Field(default=0.0, ge=0)
    """Cap of all calls of a day; 0 = none."""
    prices: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    """Prices of models that we do not know, or others (docs/voice-service.md), in US dollars a million tokens."""

    @field_validator("prices")
    @classmethod
    def _known_prices(cls, value: Mapping[str, Mapping[str, float]]) -> Mapping[str, Mapping[str, float]]:
        for model, prices in value.items():
            for key, usd in prices.items():
                if key not in PRICE_KEYS:
                    raise ValueError(f"{model}.{key}: no such price; allowed: {', '.join(PRICE_KEYS)}")
                if usd < 0:
                    raise ValueError(f"{model}.{key} = {usd}: below 0")
        return value

    def own_prices(self) -> dict[str, Price]:
        return {model: Price(**prices) for model, prices in self.prices.items()}

    def warnings(self, *models: str) -> list[str]:
        """A cap on what has no price holds nothing back: of these models those that would pass it."""
        if not (self.call_usd or self.caller_day_usd or self.day_usd):
            return []
        own = self.own_prices()
        return [
            f"spend: {model!r} has no price, so no cap counts it; set spend.prices"
            for model in dict.fromkeys(models)
            if model and price_of(model, own) is None
        ]


class Spend:
    """All calls of the process."""

    def __init__(
        self, settings: SpendSettings, day: date, spent: Iterable[tuple[str | None, float]] = ()
    ) -> None:
        """``spent``: by number, on that day, as the ledger has it."""
        self._settings = settings
        self._own = settings.own_prices()
        self._day = day
        self._total = 0.0
        self._by_number: OrderedDict[str, float] = OrderedDict()
        for number, usd in spent:
            self._add(number, usd)

    @property
    def day_usd(self) -> float:
        return self._total

    def price(self, model: str) -> Price | None:
        return price_of(model, self._own)

    def charge(self, number: str | None, usd: float, day: date) -> None:
        if day > self._day:
            self._day, self._total = day, 0.0
            self._by_number.clear()
        self._add(number, usd)

    def reached(self, number: str | None, call_usd: float, day: date) -> Cap | None:
        """The cap that a call has reached, if any."""
        caps = self._settings
        if caps.call_usd and call_usd >= caps.call_usd:
            return "call"
        if day > self._day:
            return None
        if caps.caller_day_usd and number and self._by_number.get(number, 0.0) >= caps.caller_day_usd:
            return "caller"
        return "day" if caps.day_usd and self._total >= caps.day_usd else None

    def _add(self, number: str | None, usd: float) -> None:
        self._total += usd
        if number:
            self._by_number[number] = self._by_number.pop(number, 0.0) + usd
            if len(self._by_number) > CALLERS_MAX:
                self._by_number.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Charge:
    """One response or transcription. ``usd`` None: nobody has told us the price of its model."""

    tokens: Tokens
    usd: float | None


class CallSpend:
    """What one call has cost so far; ``number`` is the one we talk with."""

    def __init__(self, spend: Spend, number: str | None) -> None:
        self.usd = 0.0
        self._spend = spend
        self._number = number
        self._tokens = Tokens()
        self._responses = 0
        self._unpriced: set[str] = set()

    def on_event(self, event: ev.Event, model: str, transcription_model: str, day: date) -> Charge | None:
        """The charge that an event brings; None for all others."""
        match event:
            case ev.ResponseDone() if event.usage is not None:
                self._responses += 1
                return self._charged(tokens_of(event.usage), model, day)
            case ev.UserTranscript() if event.usage is not None:
                return self._charged(tokens_of(event.usage), transcription_model, day)
            case _:
                return None

    def reached(self, day: date) -> Cap | None:
        return self._spend.reached(self._number, self.usd, day)

    def as_dict(self) -> dict[str, Any]:
        """For ``voice_calls.metadata.usage``."""
        unpriced = {"unpriced": sorted(self._unpriced)} if self._unpriced else {}
        return {
            "responses": self._responses,
            **asdict(self._tokens),
            "cost_usd": round(self.usd, 6),
            **unpriced,
        }

    def _charged(self, tokens: Tokens, model: str, day: date) -> Charge:
        self._tokens += tokens
        price = self._spend.price(model)
        if price is None:
            self._unpriced.add(model)
            return Charge(tokens, None)
        usd = tokens.cost_usd(price)
        self.usd += usd
        self._spend.charge(self._number, usd, day)
        return Charge(tokens, usd)
