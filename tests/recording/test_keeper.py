"""Where recordings stay and for how long: in a folder, and in an S3 server in a process of its own (moto's)."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sipua.errors import ConfigError
from sipua.recorder import Recorder
from sipua.recording_keeper import BACKOFF_MAX_S, BEGUN_S, Backoff, Keeper
from sipua.recording_settings import RecordingSettings
from sipua.recording_store import (
    CHUNK_BYTES,
    BucketStore,
    FolderStore,
    Store,
    StoreRefused,
    call_of,
    consent_of,
)
from tests.recording.moto import Moto
from tests.recording.parts import DAY, Counted, Remembered, begun, files, finished, stereo, talk, until

SOUND = b"RIFF" + bytes(60)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def keeper(folder: Path, store: Store, ledger: Remembered, **more: Any) -> Keeper:
    values: dict[str, Any] = {"keep_days": 30, "spool_bytes": 1 << 30, "now": lambda: NOW} | more
    return Keeper(folder, store, ledger, **values)


@pytest.fixture
def ledger() -> Remembered:
    return Remembered()


# ---- a folder --------------------------------------------------------------------------------------------


async def test_a_finished_recording_gets_its_name_and_its_address(tmp_path: Path, ledger: Remembered) -> None:
    consent, part = finished(tmp_path, SOUND)
    assert await keeper(tmp_path, FolderStore(tmp_path), ledger).settle()
    (file,) = files(tmp_path)
    assert file == part.with_suffix("")
    assert ledger.kept == {consent: file.as_uri()}
    assert consent_of(file.name) == consent


async def test_an_address_begins_with_what_the_operator_says(tmp_path: Path, ledger: Remembered) -> None:
    consent, part = finished(tmp_path, SOUND)
    await keeper(tmp_path, FolderStore(tmp_path, "https://calls.example.org/r"), ledger).settle()
    assert ledger.kept[consent] == f"https://calls.example.org/r/2026-01-02/{part.with_suffix('').name}"


async def test_what_is_being_written_is_left_alone(tmp_path: Path, ledger: Remembered) -> None:
    _, part = finished(tmp_path, SOUND)
    with part.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        await keeper(tmp_path, FolderStore(tmp_path), ledger).settle()
        assert (files(tmp_path), ledger.kept) == ([part], {})
    await keeper(tmp_path, FolderStore(tmp_path), ledger).settle()  # its writer was killed
    assert len(ledger.kept) == 1


async def test_what_ends_while_another_is_being_stored_is_kept_whole(
    tmp_path: Path, ledger: Remembered
) -> None:
    """A file of which only the header was there when the files were listed."""
    finished(tmp_path, SOUND)
    consent, late = finished(tmp_path, SOUND[:44])
    os.utime(late, (2e9, 2e9))  # the last in order

    class Slow(FolderStore):
        async def keep(self, file: Path, name: str) -> str:
            late.write_bytes(SOUND)
            return await super().keep(file, name)

    await keeper(tmp_path, Slow(tmp_path), ledger).settle()
    assert consent in ledger.kept
    assert late.with_suffix("").read_bytes() == SOUND


async def test_a_move_that_has_begun_is_told_though_its_keeper_ends(
    tmp_path: Path, ledger: Remembered
) -> None:
    consent, _ = finished(tmp_path, SOUND)
    moved = asyncio.Event()
    told = asyncio.Event()

    class Slow(FolderStore):
        async def keep(self, file: Path, name: str) -> str:
            address = await super().keep(file, name)
            moved.set()
            await told.wait()
            return address

    guard = keeper(tmp_path, Slow(tmp_path), ledger)
    running = asyncio.create_task(guard.run())
    await moved.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    told.set()
    assert await guard.settle()
    assert list(ledger.kept) == [consent]


async def test_one_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path, ledger: Remembered) -> None:
    _, broken = finished(tmp_path, SOUND)
    broken.unlink()
    broken.mkdir()  # nobody opens that for writing, not even root
    consent, _ = finished(tmp_path, SOUND)
    told: list[str] = []
    assert await keeper(tmp_path, FolderStore(tmp_path), ledger, on_refused=told.append).settle()
    assert (list(ledger.kept), told) == ([consent], ["unreadable"])


async def test_what_is_not_locked_yet_is_left_to_its_writer(tmp_path: Path, ledger: Remembered) -> None:
    _, part = finished(tmp_path, b"")
    await keeper(tmp_path, FolderStore(tmp_path), ledger).settle()
    assert (files(tmp_path), ledger.kept) == ([part], {})


async def test_what_the_recorder_writes_is_its_own_until_it_ends(tmp_path: Path, ledger: Remembered) -> None:
    recorder, guard = Recorder(tmp_path, Counted()), keeper(tmp_path, FolderStore(tmp_path), ledger)
    recorder.start()
    tape = begun(recorder, [])
    talk(tape, 5)
    await until(lambda: any(file.stat().st_size > 44 for file in files(tmp_path)))
    await guard.settle()
    assert ledger.kept == {}
    tape.finish(5.0)
    await recorder.stop()
    await guard.settle()
    assert len(ledger.kept) == 1


async def test_a_file_without_sound_is_no_recording(tmp_path: Path, ledger: Remembered) -> None:
    finished(tmp_path, SOUND[:44])
    await keeper(tmp_path, FolderStore(tmp_path), ledger).settle()
    assert (files(tmp_path), ledger.kept) == ([], {})


@pytest.mark.parametrize(
    "name", ["notes.wav.part", "x_y.wav.part", f"{'-' * 36}_{'-' * 36}.wav.part", "a.mp3"]
)
async def test_files_of_others_are_left_alone(name: str, tmp_path: Path, ledger: Remembered) -> None:
    finished(tmp_path, SOUND, name)
    os.utime(files(tmp_path)[0], (0, 0))
    guard = keeper(tmp_path, FolderStore(tmp_path), ledger)
    await guard.settle()
    await guard.sweep()
    assert [file.name for file in files(tmp_path)] == [name]


async def test_a_running_keeper_takes_each_recording_as_it_ends(tmp_path: Path, ledger: Remembered) -> None:
    guard = keeper(tmp_path, FolderStore(tmp_path), ledger)
    recorder = Recorder(tmp_path, Counted())
    recorder.on_closed = guard.woken.set
    recorder.start()
    running = asyncio.create_task(guard.run())
    for _ in range(2):
        kept = len(ledger.kept)
        tape = begun(recorder, [])
        talk(tape, 3)
        tape.finish(3.0)
        await until(lambda kept=kept: len(ledger.kept) > kept)  # type: ignore[misc]
    running.cancel()
    await recorder.stop()
    assert {file.suffix for file in files(tmp_path)} == {".wav"}


# ---- for how long ----------------------------------------------------------------------------------------


async def test_old_recordings_go_and_the_ledger_knows(tmp_path: Path, ledger: Remembered) -> None:
    guard = keeper(tmp_path, FolderStore(tmp_path), ledger)
    old, first = finished(tmp_path, SOUND)
    await guard.settle()
    new, _ = finished(tmp_path, SOUND)
    await guard.settle()
    for file in files(tmp_path):
        age = timedelta(days=31 if consent_of(file.name) == old else 29)
        os.utime(file, ((NOW - age).timestamp(),) * 2)
    await guard.sweep()
    assert [consent_of(file.name) for file in files(tmp_path)] == [new]
    assert ledger.deleted == [old]
    assert first.parent.is_dir()
    guard.keep_days = 20
    await guard.sweep()
    assert (files(tmp_path), first.parent.exists()) == ([], False)


async def test_an_empty_file_of_a_killed_writer_goes(tmp_path: Path, ledger: Remembered) -> None:
    """One that has just been made is about to be locked."""
    _, part = finished(tmp_path, b"")
    clock = part.stat().st_mtime
    guard = keeper(tmp_path, FolderStore(tmp_path), ledger, now=lambda: datetime.fromtimestamp(clock, UTC))
    assert await guard.settle()
    assert files(tmp_path) == [part]
    clock += BEGUN_S + 1
    with part.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        await guard.settle()
        assert files(tmp_path) == [part]
    await guard.settle()
    assert (files(tmp_path), ledger.kept) == ([], {})


async def test_nought_days_are_for_ever(tmp_path: Path, ledger: Remembered) -> None:
    finished(tmp_path, SOUND)
    guard = keeper(tmp_path, FolderStore(tmp_path), ledger, keep_days=0)
    await guard.settle()
    os.utime(files(tmp_path)[0], (0, 0))
    await guard.sweep()
    assert len(files(tmp_path)) == 1


# ---- a bucket --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running_moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    assert importlib.util.find_spec("moto"), "moto is one of the development dependencies"
    server = Moto(tmp_path_factory.mktemp("moto") / "log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def moto(running_moto: Moto, tmp_path: Path) -> Moto:
    (tmp_path / "secret").write_text("not-a-secret\n")
    await made(running_moto)
    return running_moto


async def made(server: Moto) -> None:
    """Its bucket is there."""
    for _ in range(200):
        if await asyncio.to_thread(server.makes, "calls"):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(server.log.read_text())


def bucket(url: str, tmp_path: Path, **more: Any) -> BucketStore:
    values = {
        "s3_bucket": "calls", "s3_endpoint": url, "s3_access_key_id": "key-of-the-tests",
        "s3_secret_key_file": str(tmp_path / "secret"), "s3_prefix": "kigali/a",
    }  # fmt: skip
    return BucketStore(RecordingSettings(**values | more))


async def test_a_recording_moves_to_the_bucket_and_can_be_fetched(
    moto: Moto, tmp_path: Path, ledger: Remembered
) -> None:
    spool = tmp_path / "spool"
    recorder = Recorder(spool, Counted())
    recorder.start()
    tape = begun(recorder, [])
    talk(tape, 3)
    tape.finish(3.0)
    await recorder.stop()
    assert await keeper(spool, bucket(moto.url, tmp_path), ledger).settle()
    assert files(spool) == []
    ((consent, url),) = ledger.kept.items()
    assert url.startswith(f"{moto.url}/calls/kigali/a/2026-01-02/")
    assert url.endswith(f"_{consent}.wav")
    fetched = tmp_path / "fetched.wav"
    fetched.write_bytes(moto.get(url))
    assert len(stereo(fetched)[1]) == 24000


async def test_a_long_one_goes_up_in_parts(moto: Moto, tmp_path: Path, ledger: Remembered) -> None:
    sound = os.urandom(2 * CHUNK_BYTES + 12345)
    consent, _ = finished(tmp_path / "spool", sound)
    assert await keeper(tmp_path / "spool", bucket(moto.url, tmp_path), ledger).settle()
    assert moto.get(ledger.kept[consent]) == sound
    assert "partNumber=3" in moto.log.read_text()


async def test_old_objects_go_and_those_of_others_stay(
    moto: Moto, tmp_path: Path, ledger: Remembered
) -> None:
    spool, store = tmp_path / "spool", bucket(moto.url, tmp_path)
    consent, _ = finished(spool, SOUND)
    await store.keep(finished(tmp_path, b"x")[1], "notes.txt")
    guard = keeper(spool, store, ledger, now=lambda: datetime.now(UTC) + timedelta(days=29))
    await guard.settle()
    await guard.sweep()
    assert ledger.deleted == []
    guard.now = lambda: datetime.now(UTC) + timedelta(days=31)
    await guard.sweep()
    assert consent in ledger.deleted
    assert moto.get(f"{moto.url}/calls/kigali/a/notes.txt") == b"x"
    with pytest.raises(OSError, match="404"):
        moto.get(ledger.kept[consent])


async def test_the_recordings_of_some_calls_go_and_no_others(
    moto: Moto, tmp_path: Path, ledger: Remembered
) -> None:
    spool, store = tmp_path / "spool", bucket(moto.url, tmp_path)
    consent, part = finished(spool, SOUND)
    await keeper(spool, store, ledger).settle()
    call, days = call_of(part.name), {DAY.date()}
    assert call is not None
    assert await store.delete_of({uuid4()}, days, dry=False) == 0
    there = await store.delete_of({call}, days, dry=True)
    assert there >= 1
    moto.get(ledger.kept[consent])
    assert await store.delete_of({call}, days, dry=False) == there
    assert await store.delete_of({call}, days, dry=False) == 0
    with pytest.raises(OSError, match="404"):
        moto.get(ledger.kept[consent])


async def test_doctor_tries_the_bucket(moto: Moto, tmp_path: Path) -> None:
    assert await bucket(moto.url, tmp_path).check() == f"{moto.url}/calls/kigali/a"
    with pytest.raises(StoreRefused, match="nowhere"):
        await bucket(moto.url, tmp_path, s3_bucket="nowhere").check()


async def test_a_store_that_is_away_gets_everything_once_it_is_back(
    tmp_path: Path, ledger: Remembered
) -> None:
    (tmp_path / "secret").write_text("not-a-secret")
    server, faults = Moto(tmp_path / "log"), Counted()
    spool = tmp_path / "spool"
    wanted = {finished(spool, SOUND)[0] for _ in range(3)}
    guard = keeper(
        spool,
        bucket(server.url, tmp_path),
        ledger,
        spool_bytes=100,
        keep_days=0,
        on_refused=faults.recording_failed,
    )
    running = asyncio.create_task(guard.run())
    try:
        await until(lambda: faults.faults["recording_store"])
        assert "recording.spool_mb" in guard.refusal()
        assert len(files(spool)) == 3
        server.start()
        await made(server)
        await until(lambda: set(ledger.kept) == wanted, 20)
        await until(lambda: not guard.refusal())
        assert files(spool) == []
    finally:
        running.cancel()
        server.stop()


class OnceAway(FolderStore):
    """It refuses the first one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.refused: Path | None = None

    async def keep(self, file: Path, name: str) -> str:
        if self.refused is None:
            self.refused = file
            raise StoreRefused("away")
        return await super().keep(file, name)


async def test_what_was_refused_and_is_gone_keeps_nobody_waiting(tmp_path: Path, ledger: Remembered) -> None:
    finished(tmp_path, SOUND)
    store = OnceAway(tmp_path)
    guard = keeper(tmp_path, store, ledger)
    assert not await guard.settle()
    guard._backoff.next_s()
    assert store.refused is not None
    store.refused.unlink()
    running = asyncio.create_task(guard.run())
    await until(lambda: not guard.waiting_bytes)
    wanted, *_ = finished(tmp_path, SOUND)
    guard.woken.set()
    await until(lambda: set(ledger.kept) == {wanted})
    running.cancel()


def test_the_waits_grow_and_end_somewhere() -> None:
    backoff = Backoff()
    waits = [backoff.next_s() for _ in range(12)]
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == BACKOFF_MAX_S


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"s3_endpoint": "https://s3.example.org"}, "want s3_bucket"),
        ({"s3_bucket": "calls", "s3_access_key_id": "x"}, "both or neither"),
        ({"s3_bucket": "Calls!"}, "pattern"),
        ({"base_url": "calls.example.org"}, "pattern"),
    ],
)
def test_bad_settings_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RecordingSettings(**values)


def test_a_secret_that_cannot_be_read_is_the_operators_to_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recording\.s3_secret_key_file"):
        bucket("http://127.0.0.1:1", tmp_path)
