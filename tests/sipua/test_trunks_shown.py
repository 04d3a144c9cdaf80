"""`sipua trunks` for people: every line fits, and what has no room beside stands below."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from sipua.cli.trunks import _duration, _lines

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def target(address: str, **values: Any) -> dict[str, Any]:
    base = {"target": address, "state": "up", "why": "", "probe": "up", "breaker": "closed"}
    return (
        base | {"changed_at": "2026-11-22T10:59:00+00:00", "options_ms": 12.3, "options_code": 200} | values
    )


DOWN = target(
    "192.0.2.2:5060;udp", state="down", why="breaker open for 21 s more: no_response", breaker="open"
)
BINDING = {
    "account": "carrier", "state": "registered", "registered": True, "why": "granted 3600 s", "expires_in_s": 3411,
    "next_in_s": 2800, "failures": 0,
}  # fmt: skip
TRUNKS: list[Mapping[str, Any]] = [
    {
        "trunk": "carrier", "state": "up", "why": "", "changed_at": "2026-11-22T11:59:51+00:00", "calls": 12,
        "max_channels": 50, "dns": "", "registrations": [BINDING], "targets": [target("192.0.2.1:5060;udp"), DOWN],
    },
    {
        "trunk": "off", "state": "disabled", "why": "", "changed_at": None, "calls": 0, "max_channels": 0, "dns": "",
        "registrations": [], "targets": [],
    },
]  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_every_line_fits(width: int) -> None:
    assert all(len(line) <= width for line in _lines(TRUNKS, NOW, width))


def test_what_is_shown() -> None:
    assert [line.plain for line in _lines(TRUNKS, NOW, 120)] == [
        "trunk                 state     changed        OPTIONS         calls  why",
        "carrier               up        9 s ago                        12/50",
        "  registration        up                                              expires in 56 min 51 s",
        "  192.0.2.1:5060;udp  up        1 h 1 min ago  200 in 12.3 ms",
        "  192.0.2.2:5060;udp  down      1 h 1 min ago  200 in 12.3 ms         breaker open for 21 s more: no_response",
        "off                   disabled  -",
    ]
    narrow = [line.plain for line in _lines(TRUNKS, NOW, 80)]
    assert "      breaker open for 21 s more: no_response" in narrow


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([target("192.0.2.1:5060;udp")], "carrier.test: no answer from DNS; the last addresses stay"),
        ([], "carrier.test: no answer from DNS"),
    ],
)
def test_addresses_stay_where_there_were_any(targets: list[dict[str, Any]], said: str) -> None:
    broken = {**TRUNKS[0], "dns": "carrier.test: no answer from DNS", "targets": targets}
    assert [line.plain for line in _lines([broken], NOW, 120)][-1].endswith(said)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (90_000, "1 d 1 h"), (-3, "0 s")],
)
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert _duration(seconds) == text
