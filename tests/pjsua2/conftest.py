"""Fixtures for what depends on which pjsua2 is installed. `make test` runs these tests on the wheel of PyPI,
`make test-pjsua2` on our own build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.peers.conftest import emulator, session_folder, sipp, start_agent, start_emulator
from tests.postgres import database, postgres_server, template

__all__ = [
    "database", "emulator", "postgres_server", "session_folder", "sipp", "start_agent", "start_emulator", "template",
]  # fmt: skip

ROOT = Path(__file__).parents[2]
MARKER = Path(sys.prefix) / ".pjsua2"  # what `make pjsua2` leaves: the name of the wheel that it installed
PROBE = """
import dataclasses, json
from sipua.pj.build import c_library, probe_library
facts = probe_library()
ioqueue = c_library().pj_ioqueue_name
import ctypes
ioqueue.restype = ctypes.c_char_p
more = {"has_current_tls": facts.has_current_tls, "ioqueue": ioqueue().decode()}
print(json.dumps(dataclasses.asdict(facts) | more))
"""


def run_python(code: str, *arguments: str) -> str:
    """In a process of its own: the library allows one endpoint per process and may abort it."""
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="session")
def facts() -> dict[str, Any]:
    """What sipua.pj.build says about the library that this environment loads."""
    found: dict[str, Any] = json.loads(run_python(PROBE))
    return found


@pytest.fixture(scope="session")
def is_own() -> bool:
    """Whether our build was asked for, by ``make pjsua2`` in this environment."""
    asked = MARKER.exists()
    assert asked or os.environ.get("PJSUA2_BUILD") != "own", "make test-pjsua2 did not install our build"
    return asked


@pytest.fixture
def own_build(is_own: bool) -> None:
    """The test is about our build."""
    if not is_own:
        pytest.skip("about our own build of pjsua2: make test-pjsua2")
