"""What calls cost, and the caps on it: per call, per caller and day, per day. No I/O, no clock.

One ``Spend`` for the process, told at its start what the ledger has of the day; several processes on one database see
each other's spending at their start only. A day is one of the settings' time zone. A cap is reached after a response
has passed it: what a response will cost is not known before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator

from sipua.realtime import events as ev
from sipua.realtime.prices import AUDIO_OUT_TOKEN_S, PRICE_KEYS, Price, Tokens, price_of, tokens_of
from sipua.section import Section

CALLERS_MAX = 100_000  # of one day; those beyond push out the one who was charged longest ago
RUNNING_MAX = 64  # responses without an end, and items of one: that service is in disorder

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
    is_estimated: bool = False


class CallSpend:
    """What one call has cost so far; ``number`` is the one we talk with.

    A response whose end, and so its usage, never comes (its session is lost, or the caller hangs up) has cost all the
    same: the audio that came of its items (``received_ms``), and the input of the response before it.
    """

    def __init__(
        self, spend: Spend, number: str | None, received_ms: Callable[[str], int] = lambda item_id: 0
    ) -> None:
        self.usd = 0.0
        self._spend = spend
        self._number = number
        self._tokens = Tokens()
        self._responses = self._estimated = 0
        self._received_ms = received_ms
        self._running: dict[str, set[str]] = {}  # response → items
        self._input = Tokens()  # of the latest response
        self._unpriced: set[str] = set()

    def on_event(self, event: ev.Event, model: str, transcription_model: str, day: date) -> Charge | None:
        """The charge that an event brings; None for all others."""
        match event:
            case ev.ResponseCreated():
                self._running[event.response_id] = set()
                if len(self._running) > RUNNING_MAX:
                    del self._running[next(iter(self._running))]
            case ev.OutputItemAdded():
                items = self._running.get(event.response_id, set())
                if len(items) < RUNNING_MAX:
                    items.add(event.item_id)
            case ev.ResponseDone():
                items = self._running.pop(event.response_id, set())
                if event.usage is None:
                    return self._guessed(items, model, day)
                tokens = tokens_of(event.usage)
                self._responses += 1
                self._input = replace(tokens, text_out=0, audio_out=0)
                return self._charged(tokens, model, day)
            case ev.UserTranscript() if event.usage is not None:
                return self._charged(tokens_of(event.usage), transcription_model, day)
        return None

    def over(self, model: str, day: date) -> list[Charge]:
        """The call is: what was being said has cost something too."""
        running, self._running = self._running, {}
        charges = [self._guessed(items, model, day) for items in running.values()]
        return [each for each in charges if each is not None]

    def reached(self, day: date) -> Cap | None:
        return self._spend.reached(self._number, self.usd, day)

    def as_dict(self) -> dict[str, Any]:
        """For ``voice_calls.metadata.usage``."""
        unpriced = {"unpriced": sorted(self._unpriced)} if self._unpriced else {}
        return {
            "responses": self._responses,
            **asdict(self._tokens),
            "cost_usd": round(self.usd, 6),
            **({"estimated_responses": self._estimated} if self._estimated else {}),
            **unpriced,
        }

    def _guessed(self, items: Iterable[str], model: str, day: date) -> Charge | None:
        seconds = sum(map(self._received_ms, items)) / 1000
        if not seconds:
            return None
        self._responses += 1
        self._estimated += 1
        tokens = replace(self._input, audio_out=round(seconds / AUDIO_OUT_TOKEN_S))
        return replace(self._charged(tokens, model, day), is_estimated=True)

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
