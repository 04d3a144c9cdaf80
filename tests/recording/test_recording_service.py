"""What a process runs for its settings: a recorder where calls are recorded, a keeper while anything is kept."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sipua.clock import SystemClock
from sipua.metrics import Metrics
from sipua.recording_service import consent_policy, recording_calls
from sipua.settings import Settings
from tests.recording.parts import Remembered, begun, files, finished, talk, until

SOUND = b"RIFF" + bytes(60)


def settings(folder: Path, transcripts: str = "always", **values: Any) -> Settings:
    recording = {"dir": str(folder), "min_free_mb": 0} | values
    return Settings.model_validate({"recording": recording, "consent": {"transcripts": transcripts}})


def metrics() -> Metrics:
    return Metrics(node="", worker=0, instance="", version="")


@pytest.mark.parametrize("format", ["wav", "flac"])
async def test_what_is_recorded_is_kept_also_at_the_very_end(format: str, tmp_path: Path) -> None:
    ledger = Remembered()
    async with recording_calls(
        settings(tmp_path, enabled=True, format=format), ledger, metrics(), SystemClock()
    ) as recorder:
        assert recorder is not None
        tape = begun(recorder, [])
        talk(tape, 3)
        tape.finish(3.0)  # and the process ends
    assert len(ledger.kept) == 1
    assert [file.suffix for file in files(tmp_path)] == [f".{format}"]


async def test_old_recordings_go_also_when_nothing_is_recorded_any_more(tmp_path: Path) -> None:
    ledger = Remembered()
    waiting, _ = finished(tmp_path, SOUND)  # of a process that was killed
    old, file = finished(tmp_path, SOUND)
    file = file.replace(file.with_suffix(""))
    ago = (datetime.now(UTC) - timedelta(days=91)).timestamp()
    os.utime(file, (ago, ago))
    async with recording_calls(settings(tmp_path), ledger, metrics(), SystemClock()) as recorder:
        assert recorder is None
        await until(lambda: ledger.deleted)
    assert (list(ledger.kept), ledger.deleted) == ([waiting], [old])


async def test_nothing_runs_and_nothing_is_made_where_nothing_is_wanted(tmp_path: Path) -> None:
    async with recording_calls(settings(tmp_path / "no"), Remembered(), metrics(), SystemClock()) as recorder:
        assert recorder is None
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("transcripts", ["always", "with_consent"])
@pytest.mark.parametrize("enabled", [False, True])
async def test_callers_are_asked_where_something_depends_on_it(
    enabled: bool, transcripts: str, tmp_path: Path
) -> None:
    chosen = settings(tmp_path, transcripts, enabled=enabled)
    async with recording_calls(chosen, Remembered(), metrics(), SystemClock()) as recorder:
        policy = consent_policy(chosen, recorder)
    assert (policy is not None) is (enabled or transcripts == "with_consent")
    if policy is not None:
        assert policy.withholds_transcripts is (transcripts == "with_consent")
        assert (policy.recorder is not None) is enabled
