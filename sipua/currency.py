"""Costs in a second currency, by a set rate. The ledger has US dollars, which is what services charge in. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from sipua.section import Section


class CurrencySettings(Section):
    """A currency in which costs are shown beside US dollars."""

    code: str = Field(default="", pattern=r"^([A-Z]{3})?$")
    """Three letters (ISO 4217), such as RWF; empty = US dollars alone."""
    per_usd: float = Field(default=0.0, ge=0, lt=1e12, allow_inf_nan=False)
    """How much of it a US dollar is; the rate of today is used for all days."""

    @model_validator(mode="after")
    def _whole(self) -> CurrencySettings:
        if bool(self.code) != bool(self.per_usd):
            raise ValueError("code and per_usd: both or neither, such as RWF and 1450.0")
        if self.code == "USD":
            raise ValueError(
                "code = 'USD': costs are shown in US dollars in any case; give another one or none"
            )
        return self


def cost_of(metadata: object) -> float | None:
    """What a call has cost in US dollars, of the column ``metadata``; others write that too."""
    usage = metadata.get("usage") if isinstance(metadata, Mapping) else None
    found = usage.get("cost_usd") if isinstance(usage, Mapping) else None
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def cost_fields(usd: float | None, currency: CurrencySettings) -> dict[str, float | str | None]:
    """For JSON: ``cost_usd``, and where a currency is set ``cost`` in it and its ``currency``."""
    told: dict[str, float | str | None] = {"cost_usd": None if usd is None else round(usd, 6)}
    if currency.code:
        told |= {"cost": None if usd is None else round(usd * currency.per_usd, 4), "currency": currency.code}
    return told


def cost_text(usd: float | None, currency: CurrencySettings) -> str:
    """For people: ``USD 0.0123 / RWF 17.8``; "" where the cost is not known."""
    if usd is None:
        return ""
    told = f"USD {_amount(usd)}"
    return f"{told} / {currency.code} {_amount(usd * currency.per_usd)}" if currency.code else told


def _amount(value: float) -> str:
    """Three digits that say something: calls cost cents, days of them millions of a small unit."""
    for bound, digits in ((0.1, 4), (10, 2 if value >= 1 else 3), (1000, 2)):
        if abs(value) < bound:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"
