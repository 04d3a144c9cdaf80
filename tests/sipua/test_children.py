"""Child processes: ready line, last words, end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sipua.children import Child
from sipua.errors import LocalError

ENV = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("SIPUA_", "OPENAI_", "DATABASE_URL"))
}


async def test_a_child_is_ready_at_its_first_line_and_ends_when_told(tmp_path: Path) -> None:
    child = await Child.start(
        "the emulator", ["emulate", "realtime"], env=ENV, log=tmp_path / "logs" / "emulator.log"
    )
    try:
        assert child.ready["event"] == "ready"
        assert child.ready["pid"] == child.process.pid
        assert os.getsid(child.process.pid) == child.process.pid  # Ctrl-C does not reach it
    finally:
        code = await child.end()
    assert code == 0
    assert child.last_words() == "it said nothing"
    assert await child.end() == 0


async def test_a_child_that_does_not_come_up_has_last_words(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"^the agent ended with exit code 78: .*OPENAI_API_KEY"):
        await Child.start("the agent", ["serve"], env=ENV, log=tmp_path / "serve.log")


async def test_a_child_that_says_something_else_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"^it said b'sipua .* instead of its ready line"):
        await Child.start("it", ["version"], env=ENV, log=tmp_path / "version.log")


async def test_output_is_read_to_the_end(tmp_path: Path) -> None:
    child = await Child.start("it", ["version", "--json"], env=ENV, log=tmp_path / "log", wait=False)
    assert b'"pjsua2"' in await child.output()
    assert await child.end() == 0


async def test_a_child_that_was_killed_is_told_by_its_code(tmp_path: Path) -> None:
    child = await Child.start("the emulator", ["emulate", "realtime"], env=ENV, log=tmp_path / "log")
    child.process.send_signal(signal.SIGKILL)
    assert await child.end() == -signal.SIGKILL
