"""Country and language of a caller."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.locale import LOCALE_BY_PREFIX, country_of, locale_of


@pytest.mark.parametrize(
    ("number", "locale", "country"),
    [
        ("+250788123456", "rw", "RW"),
        ("+254712345678", "sw", "KE"),
        ("+255712345678", "sw", "TZ"),
        ("+33612345678", "fr", "FR"),
        ("+2250712345678", "fr", "CI"),
        ("+221771234567", "fr", "SN"),
        ("+256712345678", "en", "UG"),
        ("+12025550123", "en", "US"),
        ("+80012345678", "en", None),  # international freephone: no country
        ("+999123456", "en", None),
        ("0788123456", "en", None),  # national form: of which nation?
        ("+", "en", None),
        ("", "en", None),
        (None, "en", None),
    ],
)
def test_the_prefix_decides(number: str | None, locale: str, country: str | None) -> None:
    assert (locale_of(number), country_of(number)) == (locale, country)


@given(st.text())
def test_no_number_is_too_odd(number: str) -> None:
    assert locale_of(number) in {"en", *LOCALE_BY_PREFIX.values()}
    country = country_of(number)
    assert country is None or (len(country) == 2 and country.isalpha())
