"""Who we say we are, and whose call we pass on."""

from __future__ import annotations

from typing import Any

import pytest

from sipua.our_number import headers_of
from sipua.trunk import Trunk
from sipua.trunks.numbers import Dialled

DIALLED = Dialled("+250788123456", "+250788000001", "+250788123456", "+250788000001", "")
ASSERTED = ("P-Asserted-Identity", "<sip:+250788000001@carrier.test>")


@pytest.mark.parametrize(
    ("keys", "diverted_from", "headers"),
    [
        ({}, "+250788000777", []),
        ({"diversion": "send"}, "", []),
        ({"diversion": "send"}, "agent", []),
        (
            {"diversion": "send"},
            "+250788000777",
            [("Diversion", "<sip:+250788000777@carrier.test>;reason=deflection")],
        ),
        (
            {"diversion": "send", "from_format": "national"},
            "+250788000777",
            [("Diversion", "<sip:0788000777@carrier.test>;reason=deflection")],
        ),
        ({"pai": "send"}, "", [ASSERTED]),
        ({"pai": "send", "privacy": "id"}, "", [ASSERTED, ("Privacy", "id")]),
        (
            {"pai": "send", "privacy": "id", "diversion": "send"},
            "+250788000777",
            [
                ASSERTED,
                ("Privacy", "id"),
                ("Diversion", "<sip:+250788000777@carrier.test>;reason=deflection"),
            ],
        ),
    ],
)
def test_headers(keys: dict[str, Any], diverted_from: str, headers: list[tuple[str, str]]) -> None:
    trunk = Trunk.model_validate(
        {"schema": 1, "name": "a", "provider": "a", "caller_id": "+250788000001"} | keys
    )
    assert list(headers_of(trunk, DIALLED, "carrier.test", diverted_from)) == headers
