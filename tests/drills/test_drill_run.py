"""`sipua drill` as a user runs it: every drill holds, and every drill can be seen to fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sipua.drills.scenarios import SCENARIOS
from tests.peers.processes import run

FIGURES = {"detect_ms", "attempted", "lost", "extra_pdd_ms", "attempts_per_call", "recover_ms"}
FAILING_OVER = [name for name, each in SCENARIOS.items() if each.expects_failover]
MANY = ("--at-once", "4")  # where figures do not matter
NEVER_ELSEWHERE = [name for name, each in SCENARIOS.items() if each.forbids_retry]


def drills(*arguments: str, code: int) -> dict[str, dict[str, Any]]:
    """The results by name."""
    result = run(["drill", "run", *arguments, "--no-record", "--json"], timeout_s=400.0)
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
        assert each["held"], (name, each["what_happened"])
        assert each["lost"] == 0, name
        assert each["timeline"]
        assert len(each["calls"]) == each["attempted"]
    assert all(call["mos"] > 4 for call in found["black-hole"]["calls"])
    hole = found["black-hole"]
    assert 400 <= hole["detect_ms"] <= 700
    assert (hole["attempts_per_call"], hole["attempted"] >= 4) == (1.5, True)


@pytest.mark.timeout(420)
def test_without_failover_those_that_need_it_do_not_hold() -> None:
    found = drills(*FAILING_OVER, "--mutate", "no-failover", *MANY, code=1)
    assert [name for name, each in found.items() if each["held"]] == []


@pytest.mark.timeout(420)
def test_a_drill_that_breaks_nothing_does_not_hold() -> None:
    found = drills("all", "--mutate", "no-break", *MANY, code=1)
    assert [name for name, each in found.items() if each["held"]] == []


@pytest.mark.timeout(120)
def test_whoever_asks_elsewhere_after_a_refusal_is_seen() -> None:
    found = drills(*NEVER_ELSEWHERE, "--mutate", "retry-always", *MANY, code=1)
    assert [name for name, each in found.items() if each["held"]] == []


def test_a_drill_that_is_none() -> None:
    result = run(["drill", "run", "white-hole", "--json"])
    assert result.returncode == 78
    assert "black-hole" in json.loads(result.stdout)["error"]["message"]


def test_results_are_rows_and_a_report(tmp_path: Path, database: str) -> None:
    env = os.environ | {"DATABASE_URL": database, "SIPUA_NODE": "drilled"}
    command = [sys.executable, "-m", "sipua", "drill"]
    file = tmp_path / "report.html"
    for mutation in ([], ["--mutate", "no-break"]):
        subprocess.run(
            [*command, "run", "busy", "603", "--html", str(file), *mutation], env=env, timeout=60, check=False
        )
    assert "0 of 2" in file.read_text()
    shown = subprocess.run(
        [*command, "history", "--json"], env=env, capture_output=True, timeout=60, check=True
    )
    runs = json.loads(shown.stdout)["runs"]
    assert sorted((each["drill"], each["held"], each["mutate"]) for each in runs) == [
        ("603", False, "no-break"), ("603", True, None), ("busy", False, "no-break"), ("busy", True, None),
    ]  # fmt: skip
    assert len({each["run_id"] for each in runs}) == 2
    assert {each["node"] for each in runs} == {"drilled"}
    with psycopg.connect(database) as connection:
        (details,) = connection.execute(
            "SELECT details FROM sipua.drill_runs WHERE drill = 'busy' AND held"
        ).fetchone() or ({},)
    assert details["timeline"]
    assert {"lane", "trunk", "r", "mos", "loss_percent"} <= details["calls"][0].keys()


def test_without_a_database_the_results_are_told_all_the_same() -> None:
    env = os.environ | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/never"}
    command = [sys.executable, "-m", "sipua", "drill", "run", "603", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "not recorded: " in done.stderr
    assert json.loads(done.stdout)["drills"][0]["held"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["busy", "--trunk", "a"], "--live"),
        (["busy", "--within", "0"], "more than 0 seconds"),
        (["busy", "--html", "/nowhere/at/all.html"], "there is no folder"),
    ],
)
def test_what_cannot_be_asked(arguments: list[str], words: str) -> None:
    result = run(["drill", "run", *arguments, "--json"])
    assert result.returncode == 78
    assert words in json.loads(result.stdout)["error"]["message"]
