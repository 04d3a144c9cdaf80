"""``sipua bench srtp`` as a user runs it. No times asserted."""

from __future__ import annotations

import subprocess
import sys

import orjson

NAMES = {"plain", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"}


def test_the_figures_of_a_short_run() -> None:
    command = [sys.executable, "-m", "sipua", "bench", "srtp", "--rounds", "2"]
    document = orjson.loads(subprocess.check_output([*command, "--json"], timeout=60))
    for key in ("us_per_packet", "ratio", "percent_of_a_core_per_call"):
        assert set(document[key]) == NAMES
        assert all(value > 0 for value in document[key].values())
    assert document["ratio"]["plain"] == 1
    assert document["packets"] == 800
    text = subprocess.check_output(command, timeout=60).decode()
    assert all(name in text for name in NAMES)


def test_no_rounds_are_refused() -> None:
    command = [sys.executable, "-m", "sipua", "bench", "srtp", "--rounds", "0"]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 2
