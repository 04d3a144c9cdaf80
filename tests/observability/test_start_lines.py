"""What a start that fails says, where stderr holds JSON: a line like all others, and the exit code."""

from __future__ import annotations

import socket
from pathlib import Path

import orjson
import pytest

from tests.peers.agent import write_conf
from tests.peers.processes import run

KEY = "sk-of-the-tests"
TRUNK = {"plain": '["127.0.0.1/32"]'}


TRACES = {"SIPUA_TRACING__ENDPOINT": "http://127.0.0.1:4318/", "SIPUA_TRACING__HEADERS_FILE": "/nowhere"}


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        ({}, 1, "failed: HTTP cannot listen on tcp 127.0.0.1:"),
        (TRACES, 78, "configuration fault: tracing: the file that it names cannot be read"),
    ],
    ids=["port in use", "a setting"],
)
def test_a_start_that_fails(more: dict[str, str], code: int, text: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = {
            "SIPUA_CONF": str(write_conf(tmp_path / "conf", TRUNK)),
            "SIPUA_STATE_DIR": str(tmp_path / "state"),
            "SIPUA_SIP__PORT": "0",
            "SIPUA_HTTP__PORT": str(taken.getsockname()[1]),
            "SIPUA_LOG__FORMAT": "json",
            "OPENAI_API_KEY": KEY,
        }
        ended = run(["serve"], env=env | more)
    assert ended.returncode == code
    assert ended.stdout == ""
    lines = [orjson.loads(line) for line in ended.stderr.splitlines()]
    assert lines[-1]["level"] == "critical"
    assert lines[-1]["event"].startswith(text)
    assert KEY not in ended.stderr
