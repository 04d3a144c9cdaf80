"""Our tables in a file, and back: PostgreSQL's own archive format, readable by its pg_restore too.

``dump`` takes the eight shared tables (with ``voice_segments``) and the schema ``sipua``, as they are at one moment.
``restore`` puts tables, rows, indexes and constraints back in one transaction; functions, triggers, policies, rights
and views are those of the migrations, which are applied before and once more afterwards, so that a file of an older
version becomes today's shape. The history of migrations stays that of the target.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg import sql
from psycopg.rows import tuple_row

from storage.cluster import reason
from storage.columns import TABLES
from storage.dsn import check_dsn, connected
from storage.errors import StoreError
from storage.programs import DUMP, PSQL, RESTORE, Programs, environment, programs

APPLICATION = "sipua-db"
SHARED = (*(name for name in TABLES if name.startswith("public.")), "public.voice_segments")
KEPT = "sipua.migrations"  # the target's own
ALIVE_S = 60  # a process that the database has heard of since then may write
# Of an archive's table of contents: what the migrations make themselves, and what belongs to the target.
_LEFT_OUT = re.compile(
    r"^\d+; \d+ \d+ (POLICY|TRIGGER|ROW SECURITY|ACL|DEFAULT ACL|COMMENT|PUBLICATION TABLE|EXTENSION|FUNCTION|SCHEMA) "
    r"|^\d+; \d+ \d+ VIEW sipua | sipua migrations "
)
_HEADER_LINES = 200  # of a restore script; what an older server does not know stands there
_UNKNOWN_BEFORE_17 = b"SET transaction_timeout"
_OURS = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND (n.nspname = 'sipua' OR n.nspname || '.' || c.relname = ANY(%s))
AND n.nspname || '.' || c.relname <> %s ORDER BY 1, 2
"""
_VIEWS = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'v' AND (n.nspname = 'sipua' OR n.nspname = 'public' AND c.relname = 'voice_call_kpis')
"""
_ALIVE = """
SELECT p.node, p.worker FROM sipua.processes p JOIN sipua.writers w ON w.instance = p.instance
WHERE p.ended_at IS NULL AND w.seen_at > now() - make_interval(secs => %s) ORDER BY 1, 2 LIMIT 3
"""


async def client(dsn: str, *, is_embedded: bool) -> Programs:
    """The programs for this server."""
    async with connected(dsn, APPLICATION, tuple_row) as connection:
        return programs(connection.info.server_version // 10_000, is_embedded=is_embedded)


async def dump(dsn: str, file: Path, *, is_embedded: bool) -> int:
    """Its size in bytes. The file is there whole, for its owner only, or not at all. Raises StoreError."""
    used = await client(dsn, is_embedded=is_embedded)
    wanted = [f"--table={name}" for name in (*SHARED, "sipua.*")]
    scratch = file.with_name(f".{file.name}.{os.getpid()}.part")
    argv = [used.path(DUMP), "--format=custom", "--no-password", f"--file={scratch}", *wanted]
    _make(file, scratch)
    try:
        await _run(argv, environment(check_dsn(dsn)))
        return _put_in_place(scratch, file)
    finally:
        scratch.unlink(missing_ok=True)


def _make(file: Path, scratch: Path) -> None:
    """Readable for nobody else from its first byte on."""
    if file.exists():
        raise StoreError(f"{file} is there already: name another file")
    try:
        os.close(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror}") from None


def _put_in_place(scratch: Path, file: Path) -> int:
    try:
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        scratch.rename(file)
        return file.stat().st_size
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror or error}") from None


async def filled(dsn: str) -> list[str]:
    """Our tables there that have rows."""
    found = []
    async with connected(dsn, APPLICATION, tuple_row) as connection:
        for schema, name in await (await connection.execute(_OURS, (list(SHARED), KEPT))).fetchall():
            query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(str(schema), str(name)))
            row = await (await connection.execute(query)).fetchone()
            if row is not None and row[0]:
                found.append(f"{schema}.{name}")
    return found


async def alive(dsn: str) -> list[str]:
    """Processes that may write there; the tables of ours have to be there."""
    async with connected(dsn, APPLICATION, tuple_row) as connection:
        rows = await (await connection.execute(_ALIVE, (ALIVE_S,))).fetchall()
    return [f"node {node}, worker {worker}" for node, worker in rows]


async def contents(used: Programs, file: Path) -> list[str]:
    """The lines of its table of contents that are restored. StoreError for what is no dump of ours."""
    listed = (await _run([used.path(RESTORE), "--list", str(file)], {})).splitlines()
    if not any(" TABLE DATA public voice_calls " in line for line in listed):
        raise StoreError(f"{file} is no dump of `sipua db dump`: there is no table voice_calls in it")
    return [line for line in listed if not line.startswith(";") and not _LEFT_OUT.search(line)]


async def restore(dsn: str, file: Path, *, is_embedded: bool) -> None:
    """In the place of what our tables hold there, in one transaction. To be migrated before and after."""
    used = await client(dsn, is_embedded=is_embedded)
    lines = await contents(used, file)
    with TemporaryDirectory(prefix="sipua-restore-") as folder:
        listing, before = Path(folder) / "contents", Path(folder) / "before.sql"
        listing.write_text("\n".join(lines) + "\n")
        before.write_text(await _removal(dsn))
        make = [
            used.path(RESTORE),
            "--no-owner",
            "--no-privileges",
            f"--use-list={listing}",
            "--file=-",
            str(file),
        ]
        take = [used.path(PSQL), "--no-psqlrc", "--quiet", "--no-password", "--single-transaction"]
        take += ["--set=ON_ERROR_STOP=1", "--output=/dev/null", f"--file={before}", "--file=-"]
        await _piped(make, take, environment(check_dsn(dsn)))


async def _removal(dsn: str) -> str:
    """Without CASCADE: what others have built on our tables is theirs to remove."""
    async with connected(dsn, APPLICATION, tuple_row) as connection:
        views = await (await connection.execute(_VIEWS)).fetchall()
        tables = await (await connection.execute(_OURS, (list(SHARED), KEPT))).fetchall()
        statements = [
            sql.SQL("DROP {} {};\n").format(
                sql.SQL(kind),
                sql.SQL(", ").join(sql.Identifier(str(schema), str(name)) for schema, name in names),
            )
            for kind, names in (("VIEW", views), ("TABLE", tables))
            if names
        ]
        return sql.Composed(statements).as_string(connection)


# ---- programs --------------------------------------------------------------------------------------------------


async def _run(argv: Sequence[str], env: dict[str, str]) -> str:
    """What it says on stdout. StoreError with its reason."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=env,
    )  # fmt: skip
    try:
        out, err = await process.communicate()
    finally:
        await _ended(process)
    if process.returncode:
        raise StoreError(f"{Path(argv[0]).name}: {reason(err.decode(errors='replace'))}")
    return out.decode(errors="replace")


async def _piped(make: Sequence[str], take: Sequence[str], env: dict[str, str]) -> None:
    """One program's output into the other, but for the line that servers before 17 refuse."""
    pipe = asyncio.subprocess.PIPE
    source = await asyncio.create_subprocess_exec(*make, stdout=pipe, stderr=pipe, env={})
    try:
        sink = await asyncio.create_subprocess_exec(*take, stdin=pipe, stderr=pipe, env=env)
        try:
            assert source.stdout is not None
            assert source.stderr is not None
            assert sink.stdin is not None
            assert sink.stderr is not None
            said = [asyncio.create_task(stream.read()) for stream in (source.stderr, sink.stderr)]
            whole = await _pump(source.stdout, sink.stdin)
            made = await source.wait() == 0 and whole
            if made:
                sink.stdin.close()
            else:
                sink.kill()  # else it would commit the half that it has
            taken = await sink.wait() == 0
            told_by_source, told_by_sink = [
                text.decode(errors="replace") for text in await asyncio.gather(*said)
            ]
        finally:
            await _ended(sink)
    finally:
        await _ended(source)
    if not taken and told_by_sink.strip():
        raise StoreError(f"psql: {reason(told_by_sink)}; nothing was changed")
    if not (made and taken):
        raise StoreError(f"pg_restore: {reason(told_by_source)}; nothing was changed")


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> bool:
    """False where the sink takes no more."""
    try:
        for _ in range(_HEADER_LINES):
            line = await source.readline()
            if not line.startswith(_UNKNOWN_BEFORE_17):
                sink.write(line)
            if not line or line.startswith(b"COPY "):
                break
        while chunk := await source.read(1 << 16):
            sink.write(chunk)
            await sink.drain()
    except (ConnectionError, ValueError):  # it has ended; a line of the header that is too long
        await source.read()
        return False
    return True


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
