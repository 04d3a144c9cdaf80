"""What doctor says of where recordings go. A bucket is tried in tests/recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sipua.checks.recordings import recordings
from sipua.settings import Settings
from tests.ports import free_port


def settings(folder: Path, **values: Any) -> Settings:
    return Settings.model_validate(
        {"recording": {"enabled": True, "dir": str(folder), "min_free_mb": 0} | values}
    )


async def test_nothing_is_said_where_nothing_is_recorded(tmp_path: Path) -> None:
    assert await recordings(settings(tmp_path, enabled=False)) is None


async def test_a_folder_is_made_and_tried(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "recordings"
    check = await recordings(settings(folder, keep_days=30))
    assert check is not None
    assert (check.status, check.detail) == ("ok", f"{folder}, kept for 30 days")
    assert list(folder.iterdir()) == []


async def test_a_folder_that_cannot_be_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = await recordings(settings(tmp_path / "file"))
    assert check is not None
    assert check.status == "fail"
    assert "recording.dir" in check.todo


async def test_too_little_room_is_to_be_looked_at(tmp_path: Path) -> None:
    check = await recordings(settings(tmp_path, min_free_mb=1 << 40))
    assert check is not None
    assert check.status == "warn"
    assert "nothing is recorded" in check.detail


@pytest.mark.parametrize(
    ("secret", "is_configuration"), [(True, False), (False, True)], ids=["away", "no key"]
)
async def test_a_bucket_that_cannot_be_used(tmp_path: Path, secret: bool, is_configuration: bool) -> None:
    key = tmp_path / "key"
    if secret:
        key.write_text("not-a-secret")
    check = await recordings(
        settings(
            tmp_path / "spool",
            s3_bucket="calls", s3_endpoint=f"http://127.0.0.1:{free_port()}", s3_access_key_id="k",
            s3_secret_key_file=str(key),
        )
    )  # fmt: skip
    assert check is not None
    assert (check.status, check.is_configuration) == ("fail", is_configuration)
    assert "not-a-secret" not in check.detail
    assert "s3" in check.todo
