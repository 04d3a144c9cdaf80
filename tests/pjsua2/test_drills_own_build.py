"""Drills on our own build of pjsua2: many calls at once while a trunk dies, certificates held by OpenSSL 3."""

from __future__ import annotations

import json

import pytest

from tests.peers.processes import run

NAMES = (
    "fifty-calls",
    "black-hole",
    "tls-expired",
    "tls-other-host",
    "registrar-down",
    "media-stops",
    "own-address",
)


@pytest.mark.timeout(180)
def test_no_call_is_lost_when_the_primary_dies(own_build: None) -> None:
    result = run(["drill", "run", *NAMES, "--no-record", "--json"], timeout_s=150.0)
    assert result.returncode == 0, result.stderr
    drills = {each["name"]: each for each in json.loads(result.stdout)["drills"]}
    assert [name for name, each in drills.items() if not each["held"]] == []
    fifty = drills["fifty-calls"]
    assert (fifty["attempted"], fifty["lost"]) == (50, 0)
    assert any("10 at a time" in each["text"] for each in fifty["timeline"])
