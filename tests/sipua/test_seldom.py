"""Lines that a stranger can cause are said seldom, and say what was left out."""

from __future__ import annotations

from sipua.seldom import Seldom


def test_the_first_is_said_and_then_one_per_interval_with_the_count() -> None:
    seldom = Seldom(interval_s=10)
    said = [seldom.unsaid("a", now) for now in (0.0, 1.0, 9.9, 10.0, 15.0, 30.0)]
    assert said == [0, None, None, 2, None, 1]


def test_kinds_do_not_disturb_each_other() -> None:
    seldom = Seldom(interval_s=10)
    assert [seldom.unsaid(kind, 0.0) for kind in ("a", "b", "a")] == [0, 0, None]


def test_many_kinds_take_no_more_room() -> None:
    seldom = Seldom(interval_s=10, kinds_max=3)
    for number in range(100):
        assert seldom.unsaid(number, 0.0) == 0
    assert len(seldom._kinds) == 3
    assert seldom.unsaid(99, 1.0) is None
    assert seldom.unsaid(0, 1.0) == 0
