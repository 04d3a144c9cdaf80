"""What calls cost, by table; the caps; the day that ends."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from sipua.realtime import events as ev
from sipua.realtime.prices import PRICES, Price, Tokens, price_of, tokens_of
from sipua.spend import CALLERS_MAX, CallSpend, Charge, Spend, SpendSettings

TODAY = date(2026, 11, 22)
TOMORROW = TODAY + timedelta(days=1)


def usage(
    text: int, audio: int, text_out: int, audio_out: int, cached: tuple[int, int] = (0, 0)
) -> dict[str, Any]:
    return {
        "input_tokens": text + audio,
        "output_tokens": text_out + audio_out,
        "input_token_details": {
            "text_tokens": text,
            "audio_tokens": audio,
            "cached_tokens_details": {"text_tokens": cached[0], "audio_tokens": cached[1]},
        },
        "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
    }


def done(spent: dict[str, Any] | None) -> ev.ResponseDone:
    return ev.ResponseDone("r", "completed", None, None, None, spent)


@pytest.mark.parametrize(
    ("model", "spent", "usd"),
    [
        ("gpt-realtime-2.1", usage(1_000_000, 0, 0, 0), 4.0),
        ("gpt-realtime-2.1", usage(0, 1_000_000, 0, 0), 32.0),
        ("gpt-realtime-2.1", usage(0, 0, 1_000_000, 0), 24.0),
        ("gpt-realtime-2.1", usage(0, 0, 0, 1_000_000), 64.0),
        (
            "gpt-realtime-2.1",
            usage(1_000_000, 1_000_000, 0, 0, cached=(1_000_000, 500_000)),
            0.4 + 16.0 + 0.2,
        ),
        ("gpt-realtime", usage(0, 0, 1_000_000, 0), 16.0),
        ("gpt-realtime-2025-08-28", usage(0, 0, 1_000_000, 0), 16.0),
        ("gpt-realtime-mini-2025-12-15", usage(0, 0, 0, 1_000_000), 20.0),
        ("gpt-realtime-2.1-mini", usage(0, 600, 0, 1200), 0.006 + 0.024),  # a minute each way
        ("whisper-1", {"type": "duration", "seconds": 30}, 0.003),
        ("gpt-transcribe", {"type": "tokens", "input_token_details": {"audio_tokens": 600}}, 0.0045),
        ("gpt-4o-transcribe", {"input_token_details": {"audio_tokens": 1000}, "output_tokens": 100}, 0.007),
    ],
)
def test_what_a_usage_costs(model: str, spent: dict[str, Any], usd: float) -> None:
    price = price_of(model)
    assert price is not None
    assert tokens_of(spent).cost_usd(price) == pytest.approx(usd)


@pytest.mark.parametrize(
    "spent",
    [
        None,
        {},
        {"input_token_details": 7},
        {"output_token_details": {"audio_tokens": "many"}},
        {"seconds": -3},
    ],
)
def test_a_strange_usage_costs_nothing(spent: dict[str, Any] | None) -> None:
    assert tokens_of(spent).cost_usd(PRICES["gpt-realtime"]) == 0


def test_prices_of_the_operator_come_first_and_unknown_models_are_named() -> None:
    settings = SpendSettings(
        prices={"our-deployment": {"audio_out": 100.0}, "gpt-realtime-2.1": {"audio_out": 1.0}}
    )
    spend = Spend(settings, TODAY)
    assert spend.price("our-deployment") == Price(audio_out=100.0)
    assert spend.price("gpt-realtime-2.1") == Price(audio_out=1.0)
    call = CallSpend(spend, None)
    charge = call.on_event(done(usage(0, 0, 0, 10)), "somebody-elses", "", TODAY)
    assert charge is not None
    assert charge.usd is None
    assert call.as_dict()["unpriced"] == ["somebody-elses"]


@pytest.mark.parametrize("prices", [{"m": {"audio": 1.0}}, {"m": {"audio_in": -1.0}}])
def test_a_bad_price_is_refused(prices: dict[str, dict[str, float]]) -> None:
    with pytest.raises(ValidationError, match=r"allowed: text_in|below 0"):
        SpendSettings(prices=prices)


CAPS: list[tuple[dict[str, float], list[float], str | None]] = [
    ({}, [9.0, 9.0], None),
    ({"call_usd": 1.0}, [0.6], None),
    ({"call_usd": 1.0}, [0.6, 0.4], "call"),
    ({"caller_day_usd": 2.0}, [0.9], None),  # the ledger had 1.0 of this caller …
    ({"caller_day_usd": 2.0}, [1.0], "caller"),
    ({"day_usd": 5.0}, [0.9], None),  # … and 3.0 of others
    ({"day_usd": 5.0}, [1.0], "day"),
]


@pytest.mark.parametrize(("caps", "charges", "cap"), CAPS)
def test_caps(caps: dict[str, float], charges: list[float], cap: str | None) -> None:
    spend = Spend(
        SpendSettings.model_validate(caps),
        TODAY,
        [("+250788123456", 1.0), (None, 1.0), ("+12025550123", 2.0)],
    )
    call = CallSpend(spend, "+250788123456")
    for usd in charges:
        call.on_event(done(usage(0, 0, 0, round(usd / 64 * 1e6))), "gpt-realtime-2.1", "", TODAY)
    assert call.reached(TODAY) == cap
    if cap in ("caller", "day"):
        assert call.reached(TOMORROW) is None


def test_a_new_day_begins_at_nothing() -> None:
    spend = Spend(SpendSettings(day_usd=5.0), TODAY, [(None, 5.0)])
    assert spend.reached(None, 0.0, TODAY) == "day"
    spend.charge(None, 1.0, TOMORROW)
    assert (spend.day_usd, spend.reached(None, 0.0, TOMORROW)) == (1.0, None)
    spend.charge(None, 1.0, TODAY)  # a clock that was set back starts no new day
    assert spend.day_usd == 2.0


def test_callers_are_forgotten_beyond_a_bound() -> None:
    spend = Spend(SpendSettings(caller_day_usd=1.0), TODAY, ((str(n), 1.0) for n in range(CALLERS_MAX + 1)))
    assert spend.reached("0", 0.0, TODAY) is None
    assert spend.reached("1", 0.0, TODAY) == "caller"


def test_the_sum_of_a_call() -> None:
    call = CallSpend(Spend(SpendSettings(), TODAY), None)
    assert call.on_event(ev.ResponseCreated("r"), "gpt-realtime-2.1", "", TODAY) is None
    call.on_event(done(usage(10, 600, 20, 1200)), "gpt-realtime-2.1", "gpt-transcribe", TODAY)
    heard = ev.UserTranscript("u", "Hello", usage={"type": "duration", "seconds": 60})
    call.on_event(heard, "gpt-realtime-2.1", "gpt-transcribe", TODAY)
    found = call.as_dict()
    assert (found["responses"], found["audio_in"], found["audio_out"], found["seconds"]) == (
        1,
        600,
        1200,
        60.0,
    )
    assert found["cost_usd"] == pytest.approx(0.00004 + 0.0192 + 0.00048 + 0.0768 + 0.0045)


def test_a_response_whose_end_never_comes_is_estimated() -> None:
    spend = Spend(SpendSettings(call_usd=0.05), TODAY)
    received = {"i1": 15_000, "i2": 5_000, "i3": 60_000}
    call = CallSpend(spend, None, lambda item_id: received.get(item_id, 0))

    def told(*events: ev.Event) -> list[Charge | None]:
        return [call.on_event(each, "gpt-realtime-2.1", "", TODAY) for each in events]

    told(ev.ResponseCreated("r"), done(usage(100, 10, 5, 20, cached=(50, 0))))
    before = call.usd
    lost = ev.ResponseDone("r1", "cancelled", "connection_lost", None, None, None)
    items = [ev.OutputItemAdded("r1", item, "message", None) for item in ("i1", "i2")]
    *_, charge = told(ev.ResponseCreated("r1"), *items, lost)
    assert charge is not None
    assert charge.is_estimated
    assert charge.tokens == Tokens(text_in=50, text_cached=50, audio_in=10, audio_out=400)
    assert call.usd == pytest.approx(before + (50 * 4 + 50 * 0.4 + 10 * 32 + 400 * 64) / 1e6)
    assert call.reached(TODAY) is None
    assert told(lost) == [None]  # once
    assert told(ev.ResponseCreated("r2"), ev.ResponseDone("r2", "failed", None, None, None, None))[1] is None
    told(ev.ResponseCreated("r3"), ev.OutputItemAdded("r3", "i3", "message", None))
    (end,) = call.over("gpt-realtime-2.1", TODAY)
    assert (end.is_estimated, end.tokens.audio_out) == (True, 1200)
    assert call.over("gpt-realtime-2.1", TODAY) == []
    assert (call.as_dict()["responses"], call.as_dict()["estimated_responses"]) == (3, 2)
    assert call.reached(TODAY) == "call"


def test_a_cap_on_a_model_without_a_price_is_told() -> None:
    """An Azure deployment has a name of its owner's."""
    models = ("our-deployment", "gpt-transcribe", "")
    assert SpendSettings().warnings(*models) == []
    for cap in ("call_usd", "caller_day_usd", "day_usd"):
        (told,) = SpendSettings.model_validate({cap: 1.0}).warnings(*models)
        assert told == "spend: 'our-deployment' has no price, so no cap counts it; set spend.prices"
    priced = SpendSettings(day_usd=1.0, prices={"our-deployment": {"audio_out": 64.0}})
    assert priced.warnings(*models) == []
