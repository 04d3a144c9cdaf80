"""For benchmarks of the ledger: a database of its own, taken away for a while, and what is in it afterwards."""

from __future__ import annotations

from psycopg import conninfo, sql
from psycopg.rows import tuple_row

from storage.dsn import connected

_COUNT = "SELECT count(*), count(DISTINCT payload ->> 'n') FROM public.voice_events"


class Rehearsal:
    """``dsn`` is of a server's own database; a new one is made beside it."""

    def __init__(self, dsn: str, name: str) -> None:
        self._server = dsn
        self._name = sql.Identifier(name)
        self.dsn = conninfo.make_conninfo(dsn, dbname=name)

    async def make(self) -> None:
        await self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(self._name))
        await self._run(sql.SQL("CREATE DATABASE {}").format(self._name))

    async def take_away(self) -> None:
        """Nobody gets in, and who is in is thrown out."""
        await self._run(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(self._name))
        ours = sql.Literal(conninfo.conninfo_to_dict(self.dsn)["dbname"])
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}"
        await self._run(sql.SQL(query).format(ours))

    async def give_back(self) -> None:
        await self._run(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(self._name))

    async def events(self) -> tuple[int, int]:
        """Rows of ``voice_events``, and how many different ``n`` they have."""
        async with connected(self.dsn, "sipua-bench", tuple_row) as connection:
            row = await (await connection.execute(_COUNT)).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    async def _run(self, query: sql.Composed) -> None:
        async with connected(self._server, "sipua-bench", tuple_row) as connection:
            await connection.execute(query)
