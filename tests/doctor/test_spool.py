"""doctor's row of the spool: where rows wait, what dead processes left, and what nobody can read."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from sipua.checks.spool import spool as checked
from sipua.settings import LedgerSettings, Settings
from storage import codec
from storage.spool import Spool
from storage.spool_file import header
from storage.spool_folder import segment_files
from tests.waiting import eventually


def settings(folder: Path, max_mb: int = 1) -> Settings:
    return Settings(ledger=LedgerSettings(spool_dir=str(folder), spool_max_mb=max_mb))


def test_a_spool_that_is_not_there_yet_is_fine_and_is_not_made(tmp_path: Path) -> None:
    found = checked(settings(tmp_path / "a" / "b"))
    assert (found.status, found.detail.endswith("up to 1 MB used")) == ("ok", True)
    assert list(tmp_path.iterdir()) == []


def test_without_a_spool_it_warns() -> None:
    assert checked(settings(Path("/nowhere"), 0)).status == "warn"


def test_what_a_dead_process_left_is_told_and_a_living_one_s_is_not(tmp_path: Path) -> None:
    made = Spool(tmp_path, uuid4(), max_bytes=2**20)
    made.append(1, 1, bytes(200_000))
    eventually(lambda: made.written == 1, "it is written")
    assert "dead processes" not in checked(settings(tmp_path)).detail
    made.close()
    assert "0.2 MB of 1 dead processes for the next start" in checked(settings(tmp_path)).detail


def test_a_file_of_another_version_fails_and_is_named(tmp_path: Path) -> None:
    made = Spool(tmp_path, uuid4(), max_bytes=2**20)
    made.append(1, 1, b"x")
    made.close()
    (path,) = segment_files(made.folder)
    path.write_bytes(header(made.instance, codec.VERSION + 1))
    found = checked(settings(tmp_path))
    assert found.status == "fail"
    assert f"{path} is a spool of another version of sipua" in found.detail


@pytest.mark.parametrize("max_mb", [1_000_000])
def test_a_disk_smaller_than_the_spool_warns(tmp_path: Path, max_mb: int) -> None:
    assert checked(settings(tmp_path, max_mb)).status == "warn"


def test_a_file_where_the_folder_should_be_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert checked(settings(tmp_path / "file" / "spool")).status == "fail"
