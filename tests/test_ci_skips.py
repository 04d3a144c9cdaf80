"""The rule of ``ci_skips.py`` itself: a missing peer fails in CI and is a skip elsewhere; other skips stay skips."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOOK = Path(__file__).parent / "ci_skips.py"
CASES = """
import pytest
def test_peer(): pytest.skip("needs sipp: apt-get install sip-tester")
def test_data(): pytest.skip("REALTIME_RECORDINGS names no folder")
"""


@pytest.mark.parametrize(("ci", "expected"), [("true", "1 failed, 1 skipped"), ("", "2 skipped")])
def test_a_missing_peer_fails_only_in_ci(tmp_path: Path, ci: str, expected: str) -> None:
    (tmp_path / "conftest.py").write_text(HOOK.read_text("utf-8"), "utf-8")
    (tmp_path / "test_cases.py").write_text(CASES, "utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path)],
        cwd=tmp_path, env=os.environ | {"CI": ci}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert expected in result.stdout
