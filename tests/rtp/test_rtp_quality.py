"""The E-model against values that G.107 and G.113 state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.codec import CODECS
from rtp.quality import (
    G711_BARE,
    G711_CONCEALED,
    IS,
    RO,
    Losses,
    delay_impairment,
    loss_impairment,
    mos_of,
    quality,
)
from rtp.uplink import Uplink

NONE = Losses(1000, 0, 0)


def test_a_perfect_line_has_the_value_of_the_recommendation() -> None:
    assert quality(NONE, 0).r == pytest.approx(93.2, abs=0.05)
    assert quality(NONE, 0).mos == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(
    ("r", "mos"), [(93.2, 4.41), (90, 4.34), (80, 4.02), (70, 3.60), (60, 3.10), (50, 2.58)]
)
def test_the_table_of_annex_b(r: float, mos: float) -> None:
    assert mos_of(r) == pytest.approx(mos, abs=0.006)


def test_the_ends_of_the_scale() -> None:
    assert [mos_of(r) for r in (-5, 0, 3, 100, 120)] == [1, 1, 1, 4.5, 4.5]
    assert quality(Losses(100, 100, 1), 400, G711_BARE).r < 5
    assert quality(Losses(0, 0, 0), 0) == quality(NONE, 0)


@pytest.mark.parametrize(
    ("lost", "gaps", "bare", "concealed"),
    [
        # of 1000 packets: Ie,eff by hand from G.107 (7-29), BurstR 1 as random
        (10, 10, 95 / 5.3, 95 / 26.1),
        (50, 50, 95 * 5 / 9.3, 95 * 5 / 30.1),
        (200, 160, 95 * 20 / 24.3, 95 * 20 / 45.1),
        # in bursts of four: BurstR = 4 × 0.9 = 3.6
        (100, 25, 95 * 10 / (10 / 3.6 + 4.3), 95 * 10 / (10 / 3.6 + 25.1)),
    ],
)
def test_loss_by_hand(lost: int, gaps: int, bare: float, concealed: float) -> None:
    losses = Losses(1000, lost, gaps)
    assert loss_impairment(losses, G711_BARE) == pytest.approx(bare)
    assert loss_impairment(losses, G711_CONCEALED) == pytest.approx(concealed)


def test_delay_hurts_little_before_150_ms_and_much_after_300() -> None:
    r = {delay: RO - IS - delay_impairment(delay) for delay in (0, 100, 150, 200, 250, 300, 400, 500)}
    assert r[0] - r[150] < 5
    assert r[0] - r[400] > 20
    assert list(r.values()) == sorted(r.values(), reverse=True)
    # Cole and Rosenbluth's fit of the model, 2001: 0.024 d + 0.11 (d − 177.3) above 177.3 ms
    for delay in (100, 150, 200, 250, 300):
        fit = 0.024 * delay + 0.11 * max(0.0, delay - 177.3)
        assert r[0] - r[delay] == pytest.approx(fit, abs=2)


@given(
    expected=st.integers(0, 10_000), lost=st.integers(0, 10_000), gaps=st.integers(0, 10_000),
    delay_ms=st.floats(0, 10_000),
)  # fmt: skip
def test_anything_measured_has_a_quality(expected: int, lost: int, gaps: int, delay_ms: float) -> None:
    found = quality(Losses(expected, lost, gaps), delay_ms)
    assert 0 <= found.r <= 100
    assert 1 <= found.mos <= 4.5


@given(st.integers(0, 999), st.floats(10, 1000))  # below 10 ms the model itself is not monotone
def test_more_loss_and_more_delay_are_never_better(lost: int, delay_ms: float) -> None:
    assert (
        quality(Losses(1000, lost + 1, lost + 1), delay_ms).r <= quality(Losses(1000, lost, lost), delay_ms).r
    )
    assert quality(Losses(1000, lost, lost), delay_ms + 1).r <= quality(Losses(1000, lost, lost), delay_ms).r


def test_an_uplink_rates_what_it_heard() -> None:
    uplink = Uplink(CODECS["PCMU"], 200)
    for n in range(1000):
        if n % 50 not in (20, 21):
            uplink.put(n, n * 160, b"s" * 160, n * 0.02, marker=False, announces_silence=False)
        uplink.expire(n * 0.02)
    assert (uplink.reorder.counters.lost, uplink.reorder.counters.gaps) == (40, 20)
    assert uplink.quality(50) == quality(Losses(1000, 40, 20), 70)
