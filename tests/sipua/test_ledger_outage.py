"""A process as ``serve`` opens its ledger, killed while the database is gone: the next start leaves nothing missing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

from psycopg import conninfo

from sipua.database import ledger_writer, spool_unready
from sipua.identity import Identity
from sipua.settings import LedgerSettings, Settings
from storage.rehearsal import Rehearsal
from tests.storage.rows import rows

CHILD = """
import asyncio, sys
from uuid import UUID
from sipua.clock import SystemClock
from sipua.database import ledger_writer
from sipua.feed import Feed
from sipua.identity import Identity
from sipua.ledger import Ledger
from sipua.outcome import Ending, Status
from sipua.settings import LedgerSettings, Settings
from tests.sipua.test_ledger import OPENING
from dataclasses import replace

now = SystemClock().now

async def main(dsn, spools, ended, cut_off):
    identity = Identity("n", 0)
    async with ledger_writer(dsn, Settings(ledger=LedgerSettings(spool_dir=spools)), identity) as writer:
        ledger = Ledger(writer, Feed(), identity.as_dict())
        calls = [ledger.open(replace(OPENING, id=UUID(id)), now()) for id in (ended, cut_off)]
        assert await writer.flush(10)
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)  # the database is gone now
        for call in calls:
            call.answered(now(), "PCMU")
            for number in range(500):
                call.error(now(), "test", str(number))
        calls[0].ended(now(), Ending(Status.COMPLETED, "caller_hangup"), {})
        await asyncio.sleep(0.3)
        print(writer.stats.queued, writer.stats.dropped, flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_kill_in_an_outage_loses_nothing_and_leaves_no_call_open(
    database: str, postgres_server: str, tmp_path: Path
) -> None:
    gone = Rehearsal(postgres_server, str(conninfo.conninfo_to_dict(database)["dbname"]))
    ended, cut_off = uuid4(), uuid4()
    command = [sys.executable, "-c", CHILD, database, str(tmp_path), str(ended), str(cut_off)]
    child = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    assert await child.stdout.readline() == b"open\n"
    await gone.take_away()
    child.stdin.write(b"\n")
    put, dropped = map(int, (await child.stdout.readline()).split())
    assert (put >= 1000, dropped) == (True, 0)
    child.kill()
    await child.wait()
    await gone.give_back()

    settings = Settings(ledger=LedgerSettings(spool_dir=str(tmp_path)))
    async with ledger_writer(database, settings, Identity("n", 0)) as writer:
        async with asyncio.timeout(20):
            while still_open(database):  # noqa: ASYNC110 - the reaper's, on a connection of its own
                await asyncio.sleep(0.05)
        assert writer.stats.replayed > 1000
        assert await spool_unready(writer) == ""
    for call in (ended, cut_off):
        found = rows(database, f"SELECT type, payload FROM voice_events WHERE call_id = '{call}'")
        said = sorted(int(row["payload"]["message"]) for row in found if row["type"] == "error")
        assert said == list(range(500))
        assert [row["type"] for row in found].count("call_ended") == 1
    outcomes = {
        row["id"]: (row["status"], row["outcome"]) for row in rows(database, "SELECT * FROM voice_calls")
    }
    assert outcomes == {ended: ("completed", "caller_hangup"), cut_off: ("failed", "process_lost")}
    lives = rows(database, "SELECT ended_at IS NULL AS lives FROM sipua.processes")
    assert [row["lives"] for row in lives] == [False, False]


def still_open(dsn: str) -> list[UUID]:
    return [row["id"] for row in rows(dsn, "SELECT id FROM voice_calls WHERE ended_at IS NULL")]
