"""`sipua drill` as a user runs it: every drill holds, and every drill can be seen to fail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sipua.drills.scenarios import SCENARIOS
from tests.peers.processes import run

FIGURES = {"detect_ms", "attempted", "lost", "extra_pdd_ms", "attempts_per_call", "recover_ms"}
FAILING_OVER = [name for name, each in SCENARIOS.items() if each.expects_failover]
NEVER_ELSEWHERE = [name for name, each in SCENARIOS.items() if each.forbids_retry]


def drills(*arguments: str, code: int) -> dict[str, dict[str, Any]]:
    """The results by name."""
    result = run(["drill", "run", *arguments, "--json"], timeout_s=400.0)
    assert "Traceback" not in result.stderr, result.stderr
    assert result.returncode == code, result.stderr
    return {each["name"]: each for each in json.loads(result.stdout)["drills"]}


def test_the_list() -> None:
    result = run(["drill", "list", "--json"])
    found = json.loads(result.stdout)["drills"]
    assert [each["name"] for each in found] == list(SCENARIOS)
    assert all(each["breaks"] and each["expected"] for each in found)


@pytest.mark.timeout(420)
def test_every_drill_holds() -> None:
    found = drills("all", code=0)
    assert list(found) == list(SCENARIOS)
    for name, each in found.items():
        assert each.keys() >= FIGURES
        assert each["held"] is not False, (name, each["what_happened"])
        assert each["lost"] == 0, name
        assert each["held"] is None or each["timeline"]
    hole = found["black-hole"]
    assert 400 <= hole["detect_ms"] <= 700
    assert (hole["attempts_per_call"], hole["attempted"] >= 4) == (1.5, True)


@pytest.mark.timeout(420)
def test_without_failover_those_that_need_it_do_not_hold() -> None:
    found = drills(*FAILING_OVER, "--mutate", "no-failover", code=1)
    assert [name for name, each in found.items() if each["held"] is not False] == []


@pytest.mark.timeout(420)
def test_a_drill_that_breaks_nothing_does_not_hold() -> None:
    found = drills("all", "--mutate", "no-break", code=1)
    assert [name for name, each in found.items() if each["held"]] == []


@pytest.mark.timeout(120)
def test_whoever_asks_elsewhere_after_a_refusal_is_seen() -> None:
    found = drills(*NEVER_ELSEWHERE, "--mutate", "retry-always", code=1)
    assert [name for name, each in found.items() if each["held"]] == []


def test_a_drill_that_is_none() -> None:
    result = run(["drill", "run", "white-hole", "--json"])
    assert result.returncode == 78
    assert "black-hole" in json.loads(result.stdout)["error"]["message"]
