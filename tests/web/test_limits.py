"""Token buckets: tables, and that the table stays bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.web.limits import Buckets, Rate, network_of


def test_a_burst_then_its_rate() -> None:
    buckets = Buckets(Rate(per_s=2, burst=3))
    assert [buckets.take("a", 10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b", 10.0) == 0  # another's bucket
    assert [buckets.take("a", 10.5), buckets.take("a", 10.5)] == [0, 0.5]
    assert [buckets.take("a", 1000.0) for _ in range(4)] == [0, 0, 0, 0.5]  # never more than full


def test_a_clock_that_goes_back_gives_nothing() -> None:
    buckets = Buckets(Rate(per_s=1, burst=1))
    assert buckets.take("a", 10.0) == 0
    assert buckets.take("a", 1.0) == 1.0
    assert buckets.take("a", 2.0) == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 5)), max_size=60))
def test_nobody_gets_more_than_the_rate_and_the_table_is_bounded(asked: list[tuple[int, float]]) -> None:
    buckets, now, given_to = Buckets(Rate(per_s=1, burst=2), keys_max=8), 0.0, dict.fromkeys(range(8), 0)
    for key, after in asked:
        now += after
        if not buckets.take(key, now) and key < 8:
            given_to[key] += 1
        assert len(buckets) <= 8
    if all(key < 8 for key, _ in asked):  # nobody was forgotten
        assert all(count <= 2 + now + 1e-6 for count in given_to.values())


NETWORKS = [
    ("192.0.2.7", "192.0.2.7"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
    ("2001:db8:1:2::9%eth0", "2001:db8:1:2::"),
    ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
    ("", ""),
    ("testclient", "testclient"),
]


@pytest.mark.parametrize(("host", "network"), NETWORKS)
def test_whom_an_address_stands_for(host: str, network: str) -> None:
    assert network_of(host) == network
