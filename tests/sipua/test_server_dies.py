"""The embedded server is killed or hangs while calls run: nothing is lost, and it is there again by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from sipua.clock import SystemClock
from sipua.database import ledger_writer
from sipua.feed import Feed
from sipua.identity import Identity
from sipua.ledger import Ledger
from sipua.outcome import CALLER_HUNG_UP
from sipua.settings import Settings
from storage.embedded import EmbeddedPostgres
from storage.writer import LedgerWriter
from tests.postgres import scratch_dir
from tests.sipua.test_ledger import OPENING
from tests.storage.rows import rows

now = SystemClock().now
LIKE_OURS = {"fsync": "off"}  # no power fails here; what was committed outlives the process


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(scratch_dir(), settings=LIKE_OURS) as running:
        yield running


def postmaster(server: EmbeddedPostgres) -> int:
    return int((server.data_dir / "pg" / "postmaster.pid").read_text().split("\n", 1)[0])


def backends(pid: int) -> list[int]:
    """The server and all its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def call(writer: LedgerWriter, events: int = 50) -> UUID:
    id = uuid4()
    record = Ledger(writer, Feed(), {"node": "n", "worker": 0}).open(replace(OPENING, id=id), now())
    for number in range(events):
        record.error(now(), "test", str(number))
    record.ended(now(), CALLER_HUNG_UP, {})
    return id


def written(dsn: str) -> dict[UUID, tuple[str, int]]:
    query = "SELECT c.id, status, count(*) AS n FROM voice_calls c JOIN voice_events e ON call_id = c.id GROUP BY 1"
    found = rows(dsn, query)
    return {row["id"]: (row["status"], row["n"]) for row in found}


@pytest.mark.parametrize("fault", ["kill -9", "SIGSTOP"])
async def test_calls_go_on_and_all_is_written(server: EmbeddedPostgres, tmp_path: Path, fault: str) -> None:
    settings = Settings.model_validate({"state_dir": str(tmp_path)})
    async with ledger_writer(server.dsn, settings, Identity("n", 0)) as writer:
        ids = [call(writer)]
        assert await writer.flush(10)
        pid = postmaster(server)
        stopped = backends(pid) if fault == "SIGSTOP" else []
        for each in stopped:
            os.kill(each, signal.SIGSTOP)
        try:
            if fault == "kill -9":
                os.kill(pid, signal.SIGKILL)
            ids += [call(writer) for _ in range(5)]
            assert not await writer.flush(0.3)
        finally:
            for each in stopped:
                os.kill(each, signal.SIGCONT)
        async with asyncio.timeout(20):
            assert await writer.flush(20)
        assert (writer.stats.dropped, writer.stats.poisoned) == (0, 0)
        if fault == "kill -9":
            assert postmaster(server) != pid
    assert written(server.dsn) == dict.fromkeys(ids, ("completed", 52))


async def test_a_server_that_hangs_at_the_start_is_waited_for(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Connecting to it takes five seconds to fail."""
    settings = Settings.model_validate({"state_dir": str(tmp_path)})
    async with ledger_writer(server.dsn, settings, Identity("n", 0)):
        pass
    stopped = backends(postmaster(server))
    for each in stopped:
        os.kill(each, signal.SIGSTOP)
    try:
        async with ledger_writer(server.dsn, settings, Identity("n", 0)) as writer:
            assert "timeout" in writer.gate.why
            id = call(writer)
            for each in stopped:
                os.kill(each, signal.SIGCONT)
            async with asyncio.timeout(30):
                await writer.gate.wait()
                assert await writer.flush(20)
    finally:
        for each in stopped:
            os.kill(each, signal.SIGCONT)
    assert written(server.dsn) == {id: ("completed", 52)}
