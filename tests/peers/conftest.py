"""Peers of somebody else's against the product as a user runs it. Everything stays on 127.0.0.0/8.

``agent`` is shared by the whole session, since starting one costs more than most calls do: rows are told apart by
Call-ID, and every test leaves it idle. Tests that break something get processes of their own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from rtp.traces import Trace
from tests.ci_skips import INSTALL_HINT
from tests.peers.agent import Agent, Emulator
from tests.peers.desk import TRANSFERS, Desk
from tests.peers.kamailio import Kamailio
from tests.peers.line import Line
from tests.peers.phone import Phone
from tests.peers.scene import Scene, scene
from tests.peers.secure_line import SecureLine, running_line
from tests.peers.sipp import Sipp, start_sipp
from tests.peers.tap import Tap
from tests.postgres import create_database, drop_database

PACKAGES = {
    "sipp": "sip-tester",
    "baresip": "baresip-core",
    "kamailio": "kamailio",
    "nft": "nftables",
    "ip": "iproute2",
    "tshark": "tshark",
    "chromium": "chromium",
}
SOUNDS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")


def missing(package: str) -> None:
    """Skips the test; with CI=true the hook of ``tests.ci_skips`` makes that a failure."""
    pytest.skip(f"install Debian package {package}: {INSTALL_HINT} {package}")


def need(program: str) -> None:
    """A peer's program must be there."""
    if shutil.which(program) is None:
        missing(PACKAGES[program])


@pytest.fixture(scope="session")
def human_speech() -> Path:
    """A folder of recorded prompts, 8 kHz WAV."""
    if not SOUNDS.is_dir():
        missing("asterisk-core-sounds-en-wav")
    return SOUNDS


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peers")


@pytest.fixture(scope="session")
def emulator(session_folder: Path) -> Iterator[Emulator]:
    """One without faults, which keeps what it hears."""
    recordings = session_folder / "heard"
    recordings.mkdir()
    process = Emulator(session_folder / "emulator.log", "--record", str(recordings))
    process.recordings = recordings
    yield process
    process.end()


@pytest.fixture(scope="session")
def shared_agent(
    session_folder: Path, emulator: Emulator, postgres_server: str, template: str
) -> Iterator[Agent]:
    dsn = create_database(postgres_server, template)
    process = Agent(session_folder / "agent", dsn, emulator.base_url, SIPUA_KEYS__LEDGER="keys")
    yield process
    process.end()
    open_rows = process.select("SELECT id, status FROM voice_calls WHERE ended_at IS NULL")
    drop_database(postgres_server, dsn)
    assert open_rows == []


@pytest.fixture(scope="session")
def shared_line(
    session_folder: Path, emulator: Emulator, postgres_server: str, template: str
) -> Iterator[SecureLine]:
    dsn = create_database(postgres_server, template)
    folder = session_folder / "secure"
    folder.mkdir()
    with running_line(folder, dsn, emulator.base_url) as line:
        yield line
    drop_database(postgres_server, dsn)


@pytest.fixture
def line(shared_line: SecureLine) -> Iterator[SecureLine]:
    """TLS trunks with and without SRTP; idle before and after."""
    shared_line.agent.idle()
    before = shared_line.agent.open_sockets()
    yield shared_line
    shared_line.agent.idle()
    assert shared_line.agent.open_sockets() == before, "RTP sockets left over"


@pytest.fixture
def agent(shared_agent: Agent) -> Iterator[Agent]:
    """The shared one, idle before and after."""
    shared_agent.idle()
    yield shared_agent
    shared_agent.idle()
    assert shared_agent.open_sockets() == 1, "RTP sockets left over"


class StartSipp(Protocol):
    def __call__(self, target: str, scenario: str, **options: Any) -> Sipp: ...


@pytest.fixture
def sipp(tmp_path: Path) -> Iterator[StartSipp]:
    """Starts scenarios; what still runs at the end of the test is killed."""
    need("sipp")
    running: list[Sipp] = []

    def start(target: str, scenario: str, **options: Any) -> Sipp:
        process = start_sipp(tmp_path, target, scenario, **options)
        running.append(process)
        return process

    yield start
    for process in running:
        process.stop()


@pytest.fixture
def start_kamailio(tmp_path: Path) -> Iterator[Callable[..., Kamailio]]:
    """Registrars and carriers of the test's own."""
    need("kamailio")
    running: list[Kamailio] = []

    def start(**options: Any) -> Kamailio:
        running.append(Kamailio(tmp_path, **options))
        return running[-1]

    yield start
    for process in running:
        process.end()


@pytest.fixture
def kamailio(start_kamailio: Callable[..., Kamailio]) -> Kamailio:
    """One with digest by MD5, without TLS."""
    return start_kamailio()


@pytest.fixture
def phone() -> Iterator[Phone]:
    with Phone() as each:
        yield each


@pytest.fixture
def start_emulator(tmp_path: Path) -> Iterator[Callable[..., Emulator]]:
    """Emulators with flags of the test's own; what they are sent by ``base_url`` is held to the SDK's types."""
    running: list[Emulator] = []
    with ExitStack() as taps:

        def start(*flags: str, **options: Any) -> Emulator:
            process = Emulator(tmp_path / f"emulator{len(running)}.log", *flags, **options)
            running.append(process)
            process.base_url = taps.enter_context(Tap(str(process.ready["http"]))).base_url
            return process

        yield start
        for process in running:
            process.end()


@pytest.fixture
def start_agent(tmp_path: Path, database: str) -> Iterator[Callable[..., Agent]]:
    """Agents of the test's own."""
    running: list[Agent] = []

    def start(base_url: str, **settings: Any) -> Agent:
        process = Agent(tmp_path / f"agent{len(running)}", database, base_url, **settings)
        running.append(process)
        return process

    yield start
    for process in running:
        process.end()


@pytest.fixture(scope="module")
def start_desk(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, template: str
) -> Iterator[Callable[..., Desk]]:
    """Agents that transfer their callers, each with a database and an emulator of its own."""
    with ExitStack() as stack:

        def start(*flags: str, script: str = TRANSFERS, **settings: Any) -> Desk:
            folder = tmp_path_factory.mktemp("bridge")
            (folder / "script.toml").write_text(script)
            dsn = create_database(postgres_server, template)
            stack.callback(drop_database, postgres_server, dsn)
            emulator = Emulator(folder / "emulator.log", "--script", str(folder / "script.toml"), *flags)
            stack.callback(emulator.end)
            desk = Desk(folder / "agent", dsn, emulator, **settings)
            stack.callback(desk.agent.end)
            return desk

        yield start


def need_namespaces() -> None:
    """A line is between network namespaces, which root may make; with CI=true root is expected."""
    need("ip")
    if os.geteuid() != 0 and os.environ.get("CI") != "true":
        pytest.skip("a line between network namespaces: run as root")


@pytest.fixture
def start_line(tmp_path: Path) -> Iterator[Callable[..., Line]]:
    """Lines of the test's own; options are traces (``to_near``, ``to_far``)."""
    need_namespaces()
    running: list[Line] = []

    def start(**traces: Trace) -> Line:
        folder = tmp_path / f"line{len(running)}"
        folder.mkdir()
        running.append(Line(folder, **traces))
        return running[-1]

    yield start
    for process in running:
        process.end()


@pytest.fixture
def start_scene(tmp_path: Path, database: str, human_speech: Path) -> Iterator[Callable[..., Scene]]:
    """An agent at the near end of a line; options are those of ``start_line``."""
    need_namespaces()
    need("tshark")
    with ExitStack() as stack:
        yield lambda **traces: stack.enter_context(scene(tmp_path, database, human_speech, **traces))
