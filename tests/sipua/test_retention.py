"""When old rows go, the command that deletes them, and all that is known of one caller."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sipua.errors import ConfigError
from sipua.forgetting import forget_caller, spellings_of
from sipua.recording_store import StoreRefused
from sipua.retention import AFTER_START, CLOCKS_APART, befores, next_run, purge_all
from sipua.retention_settings import RetentionSettings
from sipua.settings import Settings
from storage import retention
from storage.facts import CallCreated, ConsentAnswered
from tests.sipua.test_cli import Shell
from tests.storage.rows import rows
from tests.storage.test_retention import CALLER, NOW, OLD, YOUNG, whole_call, written

KIGALI = ZoneInfo("Africa/Kigali")  # two hours ahead of UTC


def at(hour: int, minute: int = 0, day: int = 10) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "last", "due"),
    [
        (at(0), at(1, 30, 9), at(1, 30)),  # tonight
        (at(1, 30), at(1, 30, 9), at(1, 30, 11)),  # just now: tomorrow
        (at(12), at(1, 30), at(1, 30, 11)),
        (at(23), at(1, 30), at(1, 30, 11)),
        (at(12), None, at(12) + AFTER_START),  # never yet
        (at(12), at(1, 30, 7), at(12) + AFTER_START),  # it was off at night
        (at(12), at(1, 30, 20), at(1, 30, 11)),  # the clock was set back
    ],
)
def test_when_the_next_run_is_due(now: datetime, last: datetime | None, due: datetime) -> None:
    assert next_run(now, last, "03:30", KIGALI) == due


def test_every_table_has_its_days_and_children_go_first() -> None:
    assert set(RetentionSettings.model_fields) - {"at"} == set(retention.TABLES)
    everything = RetentionSettings.model_validate(dict.fromkeys(retention.TABLES, 5))
    order = list(befores(everything.days(), at(12)))
    assert order == list(retention.TABLES)
    assert order.index("transcripts") < order.index("voice_calls")
    assert befores({"transcripts": 5}, at(12)) == {"transcripts": at(12, day=5) - CLOCKS_APART}
    assert RetentionSettings().days() == {"webhooks": 30, "processes": 90}


async def test_a_run_deletes_and_notes_what_is_set(database: str) -> None:
    await written(database, whole_call(OLD), whole_call(YOUNG))
    chosen = RetentionSettings(transcripts=30, voice_events=30)
    expected = {"transcripts": 1, "voice_events": 1, "webhooks": 1, "processes": 0}
    assert await purge_all(database, chosen, NOW, dry=True) == expected
    assert await retention.last_purge(database) is None
    assert await purge_all(database, chosen, NOW) == expected
    (note,) = rows(database, "SELECT kind, counts FROM sipua.purges")
    assert note == {"kind": "retention", "counts": expected}
    assert len(rows(database, "SELECT id FROM transcripts")) == 1


async def test_a_day_is_kept_though_the_databases_clock_is_behind_ours(database: str) -> None:
    """It refuses to delete what is younger than a day by its own."""
    await written(database, whole_call(OLD), whole_call(YOUNG))
    ahead = datetime.now(UTC) + timedelta(minutes=5)
    assert (await purge_all(database, RetentionSettings(transcripts=1), ahead))["transcripts"] == 2


# ---- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def sipua(tmp_path: Path, database: str) -> Shell:
    shell = Shell(tmp_path)
    shell.env["DATABASE_URL"] = database
    return shell


async def test_the_command_says_what_goes_and_deletes_it(sipua: Shell, database: str) -> None:
    await written(database, whole_call(OLD), whole_call(YOUNG))
    days = {f"SIPUA_RETENTION__{name}": "0" for name in ("PROCESSES", "WEBHOOKS")}
    days["SIPUA_RETENTION__TRANSCRIPTS"] = "30"
    dry = await asyncio.to_thread(sipua, "purge", "--dry-run", **days)
    assert dry.stdout == b"transcripts: 1 would go, older than 30 days\n"
    done = await asyncio.to_thread(sipua, "purge", "--table", "transcripts", **days)
    assert done.stdout == b"transcripts: 1 deleted, older than 30 days\n"
    forgotten = await asyncio.to_thread(sipua, "purge", "--caller", CALLER)
    assert forgotten.returncode == 0, forgotten.stderr
    assert forgotten.stdout.splitlines()[-1] == b"all of it is gone"
    assert CALLER.encode()[1:] not in forgotten.stdout + forgotten.stderr


def test_wrong_words_are_told_before_any_database_is_asked(sipua: Shell) -> None:
    for arguments, said in (
        (("--table", "users"), b"--table 'users': allowed are call_attempts, call_consents"),
        (("--table", "transcripts"), b"retention.transcripts = 0, its rows are kept"),
        (("--caller", "0788"), b"--caller: expected a telephone number with +"),
        (("--caller", "+250788000123", "--table", "transcripts"), b"one of them"),
    ):
        done = sipua("purge", *arguments, DATABASE_URL="postgresql://u@127.0.0.1:9/x")
        assert done.returncode == 78
        assert said in done.stderr


# ---- one caller ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", ["", "250788000123", "0788000123", "+", "+12", "anonymous", "+250788000123; DROP"]
)
def test_what_is_no_number_of_a_caller(number: str) -> None:
    with pytest.raises(ConfigError, match="with \\+ and its country code") as raised:
        spellings_of(number)
    assert "788000123" not in str(raised.value).replace("+250788000123", "")


def test_a_number_is_looked_for_as_others_write_it() -> None:
    assert spellings_of("+250 788 000 123") == ["+250788000123", "250788000123", "00250788000123"]


def settings_of(folder: Path, **recording: Any) -> Settings:
    return Settings.model_validate({"state_dir": str(folder), "recording": recording})


def recorded(folder: Path, facts: list[Any], day: date, suffix: str = ".wav") -> Path:
    """A recording of that call, as the recorder names it."""
    call = next(fact.id for fact in facts if isinstance(fact, CallCreated))
    consent = next(fact.id for fact in facts if isinstance(fact, ConsentAnswered))
    path = folder / "recordings" / day.isoformat() / f"{call}_{consent}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(99))
    return path


async def test_a_caller_and_their_recordings_are_forgotten(database: str, tmp_path: Path) -> None:
    theirs, others = whole_call(OLD), whole_call(OLD, "+250788000199")
    await written(database, theirs, others)
    gone = [recorded(tmp_path, theirs, OLD.date()), recorded(tmp_path, theirs, OLD.date(), ".flac.part")]
    stays = recorded(tmp_path, others, OLD.date())
    settings, spellings = settings_of(tmp_path), spellings_of(CALLER)
    dry = await forget_caller(database, settings, spellings, dry=True)
    assert (dry.counts["recordings"], dry.counts["transcripts"], dry.is_all) == (2, 1, True)
    assert all(path.exists() for path in gone)
    done = await forget_caller(database, settings, spellings, dry=False)
    assert done == dry
    assert [path.exists() for path in (*gone, stays)] == [False, False, True]


async def test_what_is_still_coming_is_said(database: str, tmp_path: Path) -> None:
    await written(database, whole_call(YOUNG, ended=False))
    waiting = tmp_path / "spool" / "x" / "1.log"
    waiting.parent.mkdir(parents=True)
    waiting.write_bytes(bytes((1 << 20) - 5) + f'"{CALLER}"'.encode())
    done = await forget_caller(database, settings_of(tmp_path), spellings_of(CALLER), dry=False)
    assert (done.calls_up, done.waits_in_spool, done.is_all) == (1, True, False)
    waiting.write_bytes(b"+250788000199")
    again = await forget_caller(database, settings_of(tmp_path), spellings_of(CALLER), dry=False)
    assert (again.calls_up, again.waits_in_spool) == (1, False)


async def test_a_store_that_refuses_leaves_all_rows(database: str, tmp_path: Path) -> None:
    """So that the caller can still be found."""
    theirs = whole_call(OLD)
    await written(database, theirs)
    recorded(tmp_path, theirs, OLD.date())
    dead = {"s3_bucket": "calls", "s3_endpoint": "http://127.0.0.1:9", "s3_access_key_id": "a"}
    (tmp_path / "key").write_text("secret")
    settings = settings_of(tmp_path, **dead, s3_secret_key_file=str(tmp_path / "key"))
    with pytest.raises(StoreRefused, match=r"127\.0\.0\.1:9"):
        await forget_caller(database, settings, spellings_of(CALLER), dry=False)
    assert len(await retention.calls_of(database, spellings_of(CALLER))) == 1
