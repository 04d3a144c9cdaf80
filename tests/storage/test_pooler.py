"""Through pgbouncer in transaction mode with TLS required, on Debian's PostgreSQL, which requires it too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from psycopg import conninfo

from storage import retention
from storage.call_filter import CallFilter
from storage.call_reads import list_calls
from storage.call_story import call_story
from storage.errors import DatabaseUnreachable
from storage.export import Export, Period
from storage.facts import CallCreated, CallEnded, Event, Group, Transcript
from storage.migrate import check, load, migrate, misfits
from storage.reading import ReadPool
from storage.writer import LedgerWriter
from tests.certificates import Authority
from tests.storage import debian, shapes
from tests.storage.rows import rows, run

pytestmark = pytest.mark.peer
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONFIG = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = {host}
listen_port = PORT
unix_socket_dir = FOLDER
logfile = FOLDER/log
auth_type = scram-sha-256
auth_file = FOLDER/users.txt
pool_mode = transaction
default_pool_size = 2
client_tls_sslmode = require
client_tls_key_file = FOLDER/server.key
client_tls_cert_file = FOLDER/server.pem
server_tls_sslmode = verify-full
server_tls_ca_file = FOLDER/ca.pem
"""


class Hosted:
    """DSNs as a hoster gives them: the owner's past the pooler (``direct``) and through it, and the writer's."""

    def __init__(self, ca: Path, port: int, pooler: int) -> None:
        self._ca = ca
        self.direct = self.dsn("owner", port)
        self.pooled = self.dsn("owner", pooler)
        self.writer = self.dsn("agent", pooler)

    def dsn(self, user: str, port: int) -> str:
        return conninfo.make_conninfo(
            host=debian.HOST, port=port, user=user, password="secret", dbname="calls", sslmode="verify-full",
            sslrootcert=str(self._ca),
        )  # fmt: skip


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    identity = authority.issue(debian.HOST)
    files = {"server.pem": identity.certificate, "server.key": identity.key, "ca.pem": authority.file}
    tls = "-c ssl=on -c ssl_cert_file=FOLDER/server.pem -c ssl_key_file=FOLDER/server.key"
    with debian.server(hba="hostssl all all 127.0.0.1/32 scram-sha-256", files=files, options=tls) as dsn:
        run(dsn, "CREATE ROLE owner LOGIN CREATEROLE PASSWORD 'secret'")
        run(dsn, "CREATE ROLE agent LOGIN PASSWORD 'secret'")
        run(dsn, "CREATE DATABASE calls OWNER owner")
        port = int(str(conninfo.conninfo_to_dict(dsn)["port"]))
        users = '"owner" "secret"\n"agent" "secret"\n'
        with debian.pooler(CONFIG.format(host=debian.HOST, port=port), users, files) as pooler:
            yield Hosted(authority.file, port, pooler)


async def test_migrated_through_the_pooler_and_written_by_the_least_login(hosted: Hosted) -> None:
    """By an owner who is no superuser, several at once; then rows by a member of sipua_writer, past nobody."""
    run(
        hosted.direct,
        shapes.ROLES.replace("BYPASSRLS", "") + shapes.text("october") + shapes.text("october_rows"),
    )
    reports = await asyncio.gather(*(migrate(hosted.pooled) for _ in range(3)))
    assert sorted(file for report in reports for file in report.applied) == [m.file for m in load()]
    assert await check(hosted.pooled) == []
    assert (await migrate(hosted.direct)).applied == ()
    assert await misfits(hosted.writer) != []
    run(hosted.direct, "GRANT sipua_writer TO agent")
    assert await misfits(hosted.writer) == []
    assert (await migrate(hosted.writer)).applied == ()
    writer = LedgerWriter(hosted.writer, instance=uuid4())
    calls = [uuid4() for _ in range(50)]
    for call in calls:
        group: Group = (CallCreated(call, "inbound"), Event(uuid4(), call, "call_started", NOW))
        writer.put(group)
        writer.put(
            (Transcript(uuid4(), call, 1, "caller", "hello", t=NOW), CallEnded(call, NOW, 1, "completed"))
        )
    assert await writer.close(20)
    assert (writer.stats.poisoned, writer.stats.unmatched, writer.stats.written) == (0, 0, 200)
    written = "SELECT count(*) AS n FROM voice_calls c JOIN transcripts t ON t.call_id = c.id WHERE content = 'hello'"
    assert rows(hosted.direct, written + " AND status = 'completed'") == [{"n": 50}]
    await read_back(hosted.writer, calls)
    await delete(hosted.writer)


async def read_back(dsn: str, calls: list[UUID]) -> None:
    """By the same login through the pooler, more at once than it has connections; and a cursor, row by row."""
    async with ReadPool(dsn) as pool:
        stories = await asyncio.gather(*(call_story(pool, call) for call in calls))
        page = await list_calls(pool, CallFilter(status="completed"), None, 200)
    assert {call["id"] for call in page.calls} >= {str(call) for call in calls}
    assert [story["transcripts"][0]["content"] for story in stories if story is not None] == ["hello"] * 50
    period = Period(NOW - timedelta(days=3650))
    exported = [row["call_id"] for batch in Export(dsn, "transcripts", period).batches() for row in batch]
    assert set(exported) >= {str(call) for call in calls}
    assert [exported.count(str(call)) for call in calls] == [1] * 50


async def delete(dsn: str) -> None:
    """The functions do as their owner may, who is no superuser; nothing of a session is needed."""
    before = datetime.now(UTC) - timedelta(days=2)
    old = await retention.purge(dsn, "transcripts", before, dry=True)
    assert old
    assert await retention.purge(dsn, "transcripts", before, batch=1, pause_s=0) == old
    assert await retention.purge(dsn, "transcripts", before, dry=True) == 0
    assert set((await retention.forget(dsn, ["+250788999999"], dry=False, recordings=0)).values()) == {0}


async def test_without_tls_nobody_gets_in(hosted: Hosted) -> None:
    for dsn in (hosted.direct, hosted.pooled):
        with pytest.raises(DatabaseUnreachable) as caught:
            await migrate(conninfo.make_conninfo(dsn, sslmode="disable"))
        assert "secret" not in str(caught.value)


async def test_another_certificate_is_refused(hosted: Hosted, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(DatabaseUnreachable, match="certificate verify failed") as caught:
        await migrate(conninfo.make_conninfo(hosted.pooled, sslrootcert=str(stranger.file)))
    assert not caught.value.retryable
