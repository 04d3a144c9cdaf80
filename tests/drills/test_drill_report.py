"""The report of drills as a file, and what its figures are made of."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sipua.drills.findings import CanaryCall, Check, Entry, Result, result_of, said
from sipua.drills.mutations import Mutation
from sipua.drills.report import About, html_of
from sipua.drills.timeline import MANY_CALLS, svg_of

ABOUT = About("2026-11-22 15:00 UTC", "0.1.0", "pjsua2 2.17 (own, 1024 calls)", "node")
HELD = Result(
    name="black-hole",
    held=True,
    breaks="the primary <says> nothing",
    expected="up on the secondary",
    what_happened="it went well",
    expects_failover=True,
    detect_ms=401,
    attempted=7,
    extra_pdd_ms=399,
    attempts_per_call=1.5,
    recover_ms=1051,
    checks=(Check("the call is up", True, "call 2 & 3"),),
    calls=(
        CanaryCall("call 1", "primary", 93.0, 4.41, 0.0),
        CanaryCall("call 2", "", None, None, None),
        CanaryCall("call 3", "secondary", 62.5, 3.22, 10.0),
    ),
    timeline=(
        Entry("drill", 150, None, "the primary goes <silent>", "bad"),
        Entry("call 1", 20, 100, "primary: 200 answered", "good"),
        Entry("call 1", 100, 160, "up on primary", "good"),
        Entry("trunk primary", 560, None, "breaker open", "bad"),
        Entry("drill", 700, None, "well again", "good"),
    ),
)
FAILED = Result(
    "busy", False, "b", "e", "rang twice", False, checks=(Check("once", False, "2 INVITE"),), lost=1
)


def test_the_report_stands_alone() -> None:
    text = html_of([HELD, FAILED], ABOUT)
    assert not re.search(r"https?://|<script|<link|@import|url\(", text)
    assert "1 of 2" in text
    assert "not: busy" in text
    assert "the primary &lt;says&gt; nothing" in text.lower()
    assert "+399" in text
    assert "1.05" in text


def test_the_report_tells_how_good_the_calls_were() -> None:
    text = html_of([HELD, FAILED], ABOUT)
    assert HELD.worst_mos == 3.22
    assert "call 1 <b>4.41</b> <small>R 93</small></span> · <span>call 3 <b>3.22</b> (10 % lost)" in text
    assert "call 2 <b>" not in text
    assert FAILED.worst_mos is None
    assert text.count("What the caller heard".lower()) == 2  # one drill, and what it means


def test_the_report_says_what_was_made_wrong() -> None:
    text = html_of([FAILED], About("now", "1", "b", "n", Mutation.NO_FAILOVER))
    assert "no-failover" in text
    assert "Made wrong" in text


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(svg).iter("text")]


def test_the_timeline_has_a_lane_each_drill_first() -> None:
    svg = svg_of("black-hole", HELD.timeline)
    lanes = [each for each in texts(svg) if each in ("drill", "trunk primary", "call 1")]
    assert lanes == ["drill", "trunk primary", "call 1"]
    assert "the primary goes <silent>" in texts(svg)


def test_bars_stand_where_things_happened() -> None:
    root = ElementTree.fromstring(svg_of("x", HELD.timeline))
    bars = [each for each in root.iter("rect") if "bar" in (each.get("class") or "")]
    first, second = (float(each.get("x") or 0) for each in bars)
    assert first < second
    assert float(bars[0].get("width") or 0) > float(bars[1].get("width") or 0)
    assert sum(1 for each in root.iter("rect") if each.get("class") == "broken") == 1


def test_labels_stay_within_the_picture() -> None:
    entries = [
        Entry("drill", at, None, "something that takes a few words to say", "plain")
        for at in range(0, 900, 90)
    ]
    entries += [
        Entry(f"call {n}", n * 90, n * 90 + 60, "primary: 200 answered", "good") for n in range(1, 10)
    ]
    root = ElementTree.fromstring(svg_of("x", entries))
    width, height = (float(each) for each in (root.get("viewBox") or "").split()[2:])
    for each in root.iter("text"):
        x, length = float(each.get("x") or 0), len(each.text or "") * 5.9
        left = x - length if each.get("text-anchor") == "end" else x
        assert left >= -20, each.text
        assert left + (0 if each.get("text-anchor") == "middle" else length) <= width + 10, each.text
        assert float(each.get("y") or 0) <= height


def test_many_calls_are_drawn_without_labels() -> None:
    entries = [
        Entry(f"call {n}", n, n + 60, "primary: 200 answered", "good") for n in range(1, MANY_CALLS + 6)
    ]
    assert "19 calls" in texts(svg_of("x", entries))
    assert "call 3" not in texts(svg_of("x", entries))


def test_nothing_happened() -> None:
    assert svg_of("x", ()) == ""


def test_a_result_survives_json(tmp_path: Path) -> None:
    assert result_of(HELD.as_dict()) == HELD


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ([Check("a", True, "x"), Check("b", True, "x"), Check("c", True, "y")], "x; y"),
        ([Check("a", True, "x"), Check("b", False, "y")], "expected b, found y"),
    ],
)
def test_what_happened_is_what_did_not_hold_or_all_that_was_found(checks: list[Check], expected: str) -> None:
    assert said(checks) == expected
