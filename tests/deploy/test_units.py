"""The units for systemd: its own judgement of them, and what `serve` tells it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipua.systemd import Systemd
from tests.storage.debian import need

UNITS = Path(__file__).parents[2] / "conf" / "deploy"
EXEC = "/opt/sipua/.venv/bin/sipua"


def unit(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize(
    ("name", "instance"), [("sipua.service", "sipua.service"), ("sipua@.service", "sipua@0.service")]
)
def test_systemd_finds_nothing_wrong(name: str, instance: str, tmp_path: Path) -> None:
    need("systemd-analyze", "systemd")
    text = (UNITS / name).read_text()
    (tmp_path / instance).write_text(text.replace(EXEC, shutil.which("true") or sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / instance], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_template_differs_in_what_a_worker_has_of_its_own() -> None:
    one, many = unit("sipua.service"), unit("sipua@.service")
    assert {key for key in one | many if one.get(key) != many.get(key)} == {
        "Description", "EnvironmentFile", "Environment", "StateDirectory",
    }  # fmt: skip


# ---- what is told ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """As NOTIFY_SOCKET has it, and the socket."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@sipua-test-{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        sock.settimeout(5)
        yield name, sock


def test_it_is_told_what_stands_there(listening: tuple[str, socket.socket]) -> None:
    name, sock = listening
    Systemd({"NOTIFY_SOCKET": name}).tell(READY="1", STATUS="SIP 127.0.0.1:5060")
    assert sock.recv(1000) == b"READY=1\nSTATUS=SIP 127.0.0.1:5060"


async def test_the_loop_says_that_it_lives_and_then_that_it_stops(
    listening: tuple[str, socket.socket],
) -> None:
    name, sock = listening
    stop = asyncio.Event()
    supervisor = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000"})
    beating = asyncio.create_task(supervisor.beat(stop))
    heard = [await asyncio.to_thread(sock.recv, 1000) for _ in range(2)]
    stop.set()
    while heard[-1] != b"STOPPING=1":
        heard.append(await asyncio.to_thread(sock.recv, 1000))
    after = await asyncio.to_thread(sock.recv, 1000)
    beating.cancel()
    assert {*heard[:-1], after} == {b"WATCHDOG=1"}


@pytest.mark.parametrize(
    ("environment", "beat_s"),
    [
        ({}, None), ({"WATCHDOG_USEC": "30000000"}, 15.0), ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None), ({"WATCHDOG_USEC": "0"}, None),
    ],
)  # fmt: skip
def test_without_systemd_nothing_is_told(environment: dict[str, str], beat_s: float | None) -> None:
    supervisor = Systemd({"NOTIFY_SOCKET": "/nowhere/notify"} | environment)
    assert supervisor.beat_s == beat_s
    supervisor.tell(READY="1")
    Systemd({}).tell(READY="1")
