"""From nothing and from each shape in the wild to one shape, without losing a row; twice without harm."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from storage.desk_facts import Forgotten
from storage.migrate import check, load, migrate, migrations_dir, misfits
from storage.shape import LISTS
from storage.writer import LedgerWriter
from tests.storage import shapes
from tests.storage.rows import EIGHT, catalogue, contents, rows, run

OLD = ("v1", "v2", "october")
EXTRAS = ("voice_segments", "voice_call_outcomes", "voice_followups", "wa_messages")
CALL = UUID(int=1)


def same_row(table: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Every value of ``before`` is there, as it was or beside what it had to become."""
    for column, value in before.items():
        now = after[column]
        if column == "status" and table == "voice_calls" and value != now:
            assert value in (None, "") or after["metadata"]["status_as_written"] == value
        elif column in ("metadata", "prefs", "args", "result") and value != now:
            assert (
                value is None
                or isinstance(value, dict)
                or f"{column}_as_written" in now
                or "as_written" in now
            )
            assert not isinstance(value, dict) or value.items() <= now.items()
        elif column == "msisdn" and value != now:
            assert (now, after["prefs"]["msisdn_as_written"]) == (None, value)
        elif table == "voice_calls" and value == "":
            assert now in (None, "voice")
        elif column == "channel" and value is None:
            assert now == "voice"
        elif (column, value) != ("last_transcript_segment_at", None):
            assert now == value, (table, column)


@pytest.mark.parametrize("shape", shapes.SHAPES)
async def test_every_shape_becomes_the_one(empty_database: str, template: str, shape: str) -> None:
    run(empty_database, shapes.seed(shape))
    await migrate(empty_database)
    assert await check(empty_database) == []
    assert await misfits(empty_database) == []
    run(empty_database, f"DROP TABLE IF EXISTS {', '.join(f'public.{table}' for table in EXTRAS)}")
    one = catalogue(psycopg.conninfo.make_conninfo(empty_database, dbname=template))
    ours = catalogue(empty_database)
    assert [line for line in ours if line not in one and not is_list(line)] == []
    assert [line for line in one if line not in ours and not is_list(line)] == []
    longer = [line for line in ours if line not in one]  # by words of old rows
    assert {line[1] for line in longer} == (
        {"voice_calls c", "voice_events c"} if shape == "october" else set()
    )
    for table, words in [(line[1], set(line[2].split())) for line in longer]:
        assert any(set(line[2].split()) < words for line in one if line[1] == table)


def is_list(line: tuple[str, str, str]) -> bool:
    return line[0] == "constraint" and line[2].startswith("CHECK")


@pytest.mark.parametrize("shape", OLD)
async def test_no_row_is_lost_and_no_value(empty_database: str, shape: str) -> None:
    run(empty_database, shapes.seed(shape))
    before = contents(empty_database, (*EIGHT, *EXTRAS))
    assert sum(map(len, before.values())) > 15
    await migrate(empty_database)
    after = contents(empty_database, (*EIGHT, *EXTRAS))
    for table, old in before.items():
        found = {row["id"]: row for row in after[table]}
        for row in old:
            same_row(table, row, found[row["id"]])
        if table != "transcripts":
            assert len(found) == len(old)


@pytest.mark.parametrize("shape", shapes.SHAPES)
async def test_again_changes_nothing(empty_database: str, shape: str) -> None:
    run(empty_database, shapes.seed(shape))
    await migrate(empty_database)
    before = catalogue(empty_database), contents(empty_database)
    assert (await migrate(empty_database)).applied == ()
    assert (await migrate(empty_database, again=True)).applied == tuple(m.file for m in load())
    assert (catalogue(empty_database), contents(empty_database)) == before
    run(empty_database, "DELETE FROM supabase_migrations.schema_migrations")
    await migrate(empty_database)
    assert (catalogue(empty_database), contents(empty_database)) == before


@pytest.mark.parametrize("file", [migration.file for migration in load()])
async def test_every_file_may_run_again(database: str, file: str) -> None:
    """As other tools do that keep no history of ours."""
    before = catalogue(database)
    run(database, (migrations_dir() / file).read_text())
    assert catalogue(database) == before
    assert await check(database) == []


async def test_october_words_are_brought_to_the_list(empty_database: str) -> None:
    run(empty_database, shapes.seed("october"))
    await migrate(empty_database)
    calls = rows(empty_database, "SELECT * FROM voice_calls ORDER BY id")
    assert [c["status"] for c in calls] == [
        "in_progress", "completed", "initiated", "completed", "initiated", "no_answer",
    ]  # fmt: skip
    assert [c["channel"] for c in calls] == ["voice", "voice", "voice", "whatsapp", "voice", "voice"]
    assert [c["metadata"] for c in calls] == [
        {"status_as_written": "In-Progress"},
        {"a": 1},
        {"status_as_written": "weird"},
        {},
        {"metadata_as_written": [1]},
        {"status_as_written": "CANCELED", "metadata_as_written": ["x"]},
    ]
    assert calls[0]["created_at"] == calls[0]["updated_at"] == calls[0]["started_at"]
    run(empty_database, "INSERT INTO voice_calls (direction, status) VALUES ('inbound', 'ended')")
    assert len(rows(empty_database, "SELECT 1 FROM voice_calls WHERE status = 'completed'")) == 3


async def test_what_october_allowed_is_still_allowed(empty_database: str) -> None:
    """Its writers go on, and its rows can be changed."""
    run(empty_database, shapes.seed("october"))
    await migrate(empty_database)
    run(empty_database, "UPDATE voice_calls SET last_note = 'x'; UPDATE voice_events SET payload = '{}'")
    run(
        empty_database,
        "INSERT INTO voice_events (type) VALUES ('response.done'), (NULL), ('openai_response_done')",
    )
    run(empty_database, "INSERT INTO transcripts (call_id, role) SELECT id, 'caller' FROM voice_calls")
    run(empty_database, "INSERT INTO mcp_tool_calls (tool) VALUES (NULL)")
    with pytest.raises(psycopg.errors.CheckViolation):
        run(empty_database, "INSERT INTO voice_events (type) VALUES ('nonsense')")


@pytest.mark.parametrize("shape", shapes.SHAPES)
async def test_every_word_of_ours_is_taken(empty_database: str, shape: str) -> None:
    run(empty_database, shapes.seed(shape))
    await migrate(empty_database)
    call = UUID(int=99)
    run(empty_database, f"INSERT INTO voice_calls (id, direction) VALUES ('{call}', 'inbound')")
    needed = {"voice_calls": {"direction": "inbound"}, "transcripts": {"call_id": str(call), "role": "user"}}
    for (table, column), words in LISTS.items():
        for word in words:
            values = needed.get(table, {}) | {
                column: word,
                **({"session_id": word} if "session" in table else {}),
            }
            names, texts = ", ".join(values), ", ".join(f"'{value}'" for value in values.values())
            run(empty_database, f"INSERT INTO {table} ({names}) VALUES ({texts})")


async def test_longer_lists_of_others_are_kept(empty_database: str) -> None:
    run(empty_database, shapes.seed("v1"))
    run(
        empty_database,
        "ALTER TABLE voice_events DROP CONSTRAINT voice_events_type_check, "
        "ADD CONSTRAINT voice_events_type_check CHECK (type IN ('call_started', 'webhook', 'error', 'of_theirs'));"
        "ALTER TABLE voice_calls DROP CONSTRAINT voice_calls_status_check, ADD CONSTRAINT voice_calls_status_check "
        "CHECK (status IN ('initiated', 'in_progress', 'completed', 'no_answer', 'queued', 'voicemail'));"
        "INSERT INTO voice_calls (direction, status) VALUES ('inbound', 'queued'), ('inbound', 'voicemail')",
    )
    await migrate(empty_database)
    for word in ("of_theirs", "openai_response_done"):
        run(empty_database, f"INSERT INTO voice_events (type) VALUES ('{word}')")
    run(
        empty_database,
        "INSERT INTO voice_calls (direction, status) VALUES ('inbound', 'queued'), ('inbound', 'busy')",
    )
    found = rows(empty_database, "SELECT status, count(*) AS n FROM voice_calls GROUP BY 1 ORDER BY 1")
    assert {row["status"]: row["n"] for row in found} == {
        "busy": 1, "completed": 1, "in_progress": 1, "initiated": 1, "no_answer": 1, "queued": 2, "voicemail": 1,
    }  # fmt: skip
    assert not rows(empty_database, "SELECT 1 FROM voice_calls WHERE metadata ? 'status_as_written'")
    with pytest.raises(psycopg.errors.CheckViolation):
        run(empty_database, "INSERT INTO voice_events (type) VALUES ('nonsense')")


async def test_segments_are_told_as_transcripts(empty_database: str) -> None:
    run(empty_database, shapes.seed("october"))
    await migrate(empty_database)
    lines = rows(
        empty_database, f"SELECT * FROM transcripts WHERE call_id = '{CALL}' AND t IS NOT NULL ORDER BY t, id"
    )
    assert [
        (x["role"], x["content"]) for x in lines if x["content"] not in ("good day", "twice the number")
    ] == [
        ("system", None),
        ("user", None),  # it was there
        ("caller", "hello"),
        ("assistant", "yes"),  # in both tables: once
        ("system", "nobody"),
    ]
    assert len({x["t"] for x in lines}) == len(lines) == 7  # strictly increasing
    assert sorted(x["sequence"] for x in lines if x["sequence"]) == [1, 2, 3]
    hello = next(x for x in lines if x["content"] == "hello")
    assert (float(hello["confidence"]), hello["t"].replace(microsecond=0)) == (
        0.9,
        datetime(2025, 10, 1, 8, tzinfo=UTC),
    )
    assert len(rows(empty_database, "SELECT 1 FROM voice_segments")) == 8
    newest = rows(
        empty_database, f"SELECT last_transcript_segment_at AS t FROM voice_calls WHERE id = '{CALL}'"
    )
    assert newest[0]["t"] == datetime(2025, 10, 1, 8, 0, 3, tzinfo=UTC)


async def test_one_row_a_caller(empty_database: str) -> None:
    run(empty_database, shapes.seed("october"))
    await migrate(empty_database)
    memory = rows(empty_database, "SELECT * FROM voice_memories WHERE msisdn = '+250700000001'")
    assert [row["prefs"] for row in memory] == [{"name": "new"}]
    others = rows(empty_database, "SELECT prefs FROM voice_memories WHERE prefs ? 'msisdn_as_written'")
    assert len(others) == 2
    writer = LedgerWriter(empty_database)
    writer.put((Forgotten("+250700000001"),))
    assert await writer.close(10)
    gone = "prefs ->> 'msisdn_as_written' = '+250700000001' OR msisdn = '+250700000001'"
    assert rows(empty_database, f"SELECT 1 FROM voice_memories WHERE {gone}") == []
    run(empty_database, "INSERT INTO voice_memories (msisdn) VALUES ('+250700000001')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(empty_database, "INSERT INTO voice_memories (msisdn) VALUES ('+250700000001')")


@pytest.mark.parametrize(
    ("shape", "providers"), [("v1", ["twilio"] * 2), ("v2", ["mtn"] * 2), ("october", ["twilio"] * 3)]
)
async def test_whose_call_it_was_is_data(empty_database: str, shape: str, providers: list[str]) -> None:
    run(empty_database, shapes.seed(shape))
    await migrate(empty_database)
    known = rows(empty_database, "SELECT provider FROM voice_calls WHERE provider IS NOT NULL")
    assert [row["provider"] for row in known] == providers


async def test_rows_that_no_shape_foresees_stay(empty_database: str) -> None:
    """No direction, more words than a list takes, rows of calls that are gone, segments without ids and numbers."""
    run(empty_database, shapes.seed("october"))
    run(
        empty_database,
        "UPDATE voice_calls SET direction = NULL; INSERT INTO voice_events (type) SELECT 'word ' || n FROM "
        "generate_series(1, 150) AS n; ALTER TABLE wa_threads DROP CONSTRAINT wa_threads_call_id_fkey; "
        "INSERT INTO wa_threads (call_id) VALUES (gen_random_uuid()); ALTER TABLE voice_segments DROP COLUMN id",
    )
    before = contents(empty_database)
    await migrate(empty_database)
    assert await check(empty_database) == []
    after = contents(empty_database)
    assert {t: len(lines) for t, lines in before.items() if t != "transcripts"} == {
        t: len(lines) for t, lines in after.items() if t not in ("transcripts", "openai_sessions")
    }
    assert len(after["transcripts"]) == len(before["transcripts"]) + 5
    held = (catalogue(empty_database), after)
    run(empty_database, "DELETE FROM supabase_migrations.schema_migrations")
    await migrate(empty_database)
    assert (catalogue(empty_database), contents(empty_database)) == held


@pytest.mark.parametrize("shape", shapes.SHAPES)
async def test_the_view_of_the_readers_is_there(empty_database: str, shape: str) -> None:
    run(empty_database, shapes.seed(shape))
    await migrate(empty_database)
    run(
        empty_database,
        "INSERT INTO voice_calls (direction, status, started_at, duration_seconds, first_time_to_assistant_seconds) "
        "VALUES ('inbound', 'completed', '2026-01-01', 10, 1), ('inbound', 'failed', '2026-01-01', 20, 2)",
    )
    (day,) = rows(empty_database, "SELECT * FROM voice_call_kpis WHERE day = '2026-01-01'")
    assert {key: float(value) for key, value in day.items() if key not in ("day", "channel")} == {
        "total_calls": 2,
        "completed_calls": 1,
        "failed_calls": 1,
        "average_duration_seconds": 15,
        "p95_assistant_seconds": pytest.approx(1.95),
    }


@pytest.mark.parametrize("table", ["voice_calls", "voice_memories"])
async def test_updated_at_moves_by_itself(empty_database: str, table: str) -> None:
    run(empty_database, shapes.seed("v1"))
    await migrate(empty_database)
    run(
        empty_database,
        f"ALTER TABLE {table} DISABLE TRIGGER USER; UPDATE {table} SET updated_at = '2001-01-01'",
    )
    assert f"trigger sipua_updated_at on public.{table}" in await check(empty_database)
    run(empty_database, f"ALTER TABLE {table} ENABLE TRIGGER USER; UPDATE {table} SET country = 'RW'")
    assert rows(empty_database, f"SELECT 1 FROM {table} WHERE updated_at < now() - interval '1 hour'") == []


async def test_a_database_of_an_earlier_release_is_taken_along(empty_database: str, tmp_path: Any) -> None:
    """File by file as they were released, with rows written in between."""
    run(empty_database, shapes.seed("october"))
    before = contents(empty_database)
    for migration in load():
        (tmp_path / migration.file).write_bytes((migrations_dir() / migration.file).read_bytes())
        report = await migrate(empty_database, folder=tmp_path)
        assert report.applied == (migration.file,)
        run(empty_database, "INSERT INTO voice_calls (direction) VALUES ('outbound')")
    assert await check(empty_database) == []
    assert len(contents(empty_database)["voice_calls"]) == len(before["voice_calls"]) + len(load())
