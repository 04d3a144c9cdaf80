"""What is shown is found by indexes: PostgreSQL's own counters say whether a table was read from end to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from storage.call_filter import CallFilter
from storage.call_reads import list_calls, live_calls, per_day
from storage.call_story import call_story
from storage.made_up import TALK_EVERY, call_id, make_up, sip_session_id
from storage.reading import ReadPool
from tests.postgres import create_database, drop_database

CALLS = 20_000
NOW = datetime.now(UTC)
_SCANS = """
SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname IN (
  'voice_calls', 'transcripts', 'voice_events', 'openai_sessions', 'mcp_tool_calls', 'call_consents')
"""
_OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sipua-read' AND datname = current_database()"


@pytest.fixture(scope="module")
def crowd(postgres_server: str, template: str) -> Iterator[str]:
    dsn = create_database(postgres_server, template)
    make_up(dsn, CALLS, lambda count: None)
    yield dsn
    drop_database(postgres_server, dsn)


Read = Callable[[ReadPool], Awaitable[object]]
READS: dict[str, Read] = {
    "live": live_calls,
    "story": lambda pool: call_story(pool, call_id(7 * TALK_EVERY)),
    "story_by_sip_call_id": lambda pool: call_story(pool, sip_session_id(7 * TALK_EVERY)),
    "latest": lambda pool: list_calls(pool, CallFilter()),
    "by_status": lambda pool: list_calls(pool, CallFilter(status="busy")),
    "by_trunk": lambda pool: list_calls(pool, CallFilter(trunk="mtn")),
    "of_a_trunk_without_calls": lambda pool: list_calls(pool, CallFilter(trunk="none")),
    "of_a_caller": lambda pool: list_calls(pool, CallFilter(from_number="+250781000007")),
    "of_a_number_without_calls": lambda pool: list_calls(pool, CallFilter(to_number="+250788099099")),
    "by_last_digits": lambda pool: list_calls(pool, CallFilter(digits="1000007")),
    "live_only": lambda pool: list_calls(pool, CallFilter(is_live=True)),
    "a_day": lambda pool: list_calls(
        pool, CallFilter(since=NOW - timedelta(days=9), until=NOW - timedelta(days=8))
    ),
    "sums_of_a_week": lambda pool: per_day(pool, "Africa/Kigali", 7, NOW.date()),
}


def scans(dsn: str) -> dict[str, int]:
    """Reads from end to end so far, told when the last connection that read has ended."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(_OURS).fetchone() != (0,):
            connection.execute("SELECT pg_sleep(0.005)")
        return dict(connection.execute(_SCANS).fetchall())


@pytest.mark.parametrize("name", READS)
async def test_nothing_is_read_from_end_to_end(crowd: str, name: str) -> None:
    before = await asyncio.to_thread(scans, crowd)
    assert len(before) == 6
    async with ReadPool(crowd) as pool:
        await READS[name](pool)
    assert await asyncio.to_thread(scans, crowd) == before


async def test_what_no_index_helps_is_seen(crowd: str) -> None:
    """The counters count: a language that nobody speaks is looked for everywhere."""
    before = await asyncio.to_thread(scans, crowd)
    async with ReadPool(crowd) as pool:
        assert (await list_calls(pool, CallFilter(language="xx"))).calls == []
        await pool.read(
            lambda connection: connection.execute("SELECT count(lead_name) FROM public.voice_calls")
        )
    after = await asyncio.to_thread(scans, crowd)
    assert after["voice_calls"] > before["voice_calls"]
