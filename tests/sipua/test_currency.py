"""Costs in two currencies."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sipua.currency import CurrencySettings, cost_fields, cost_text

FRANCS = CurrencySettings(code="RWF", per_usd=1450.0)
NONE = CurrencySettings()


@pytest.mark.parametrize(
    ("usd", "alone", "both"),
    [
        (None, "", ""),
        (0.0, "USD 0.0000", "USD 0.0000 / RWF 0.0000"),
        (0.0123, "USD 0.0123", "USD 0.0123 / RWF 17.84"),
        (0.5, "USD 0.500", "USD 0.500 / RWF 725.00"),
        (7.25, "USD 7.25", "USD 7.25 / RWF 10,512"),
        (1234.5, "USD 1,234", "USD 1,234 / RWF 1,790,025"),
    ],
)
def test_people_read_both(usd: float | None, alone: str, both: str) -> None:
    assert (cost_text(usd, NONE), cost_text(usd, FRANCS)) == (alone, both)


def test_programs_get_both() -> None:
    assert cost_fields(0.0123456789, NONE) == {"cost_usd": 0.012346}
    assert cost_fields(0.0123, FRANCS) == {"cost_usd": 0.0123, "cost": 17.835, "currency": "RWF"}
    assert cost_fields(None, FRANCS) == {"cost_usd": None, "cost": None, "currency": "RWF"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"code": "RWF"}, "both or neither"),
        ({"per_usd": 1450.0}, "both or neither"),
        ({"code": "USD", "per_usd": 1.0}, "in any case"),
        ({"code": "rwf", "per_usd": 1.0}, "pattern"),
        ({"code": "RWF", "per_usd": -1.0}, "greater than or equal"),
        ({"code": "RWF", "per_usd": float("inf")}, "finite"),
        ({"code": "RWF", "per_usd": float("nan")}, "finite"),
    ],
)
def test_half_a_currency_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CurrencySettings.model_validate(given)
