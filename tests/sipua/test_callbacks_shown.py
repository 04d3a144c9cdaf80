"""``sipua callbacks``: who wants to be called back, for people and for programs, and ticking off."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from sipua.cli.callbacks import app
from sipua.errors import LocalError
from storage.desk_facts import CallbackNotified, CallbackRequested
from storage.writer import LedgerWriter

T0 = datetime(2026, 11, 22, 9, tzinfo=UTC)


async def fill(database: str) -> None:
    """Ann and Ben want to be called; of Ben nobody has been told."""
    writer, ann = LedgerWriter(database, batch_ms=5), uuid4()
    writer.put(
        (
            CallbackRequested(ann, "+250788000001", uuid4(), T0, "Ann", "support", reference="K7M2QX"),
            CallbackRequested(uuid4(), "+250788000002", uuid4(), T0, wanted_at="tonight", reference="B4N5P6"),
            CallbackNotified(ann, T0),
        )
    )
    assert await writer.close(5)


@pytest.fixture
def sipua(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATABASE_URL", database)
    asyncio.run(fill(database))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--conf", str(tmp_path)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_they_are_listed_and_ticked_off(sipua: Any) -> None:
    lines = sipua("--open").splitlines()
    assert len(lines) == 2
    (ann,) = (line for line in lines if line.startswith("K7M2QX new "))
    (ben,) = (line for line in lines if line.startswith("B4N5P6 new "))
    assert ann.endswith(" +250788000001 · Ann · support")
    assert ben.endswith(" +250788000002 · tonight · nobody told")
    assert json.loads(sipua("done", "k7m 2qx", "--json"))["status"] == "done"
    assert sipua("done", "K7M2QX").startswith("K7M2QX done ")
    assert [row["reference"] for row in json.loads(sipua("--open", "--json"))["callbacks"]] == ["B4N5P6"]
    assert len(json.loads(sipua("--json"))["callbacks"]) == 2
    assert len(sipua("--limit", "1").splitlines()) == 1


def test_a_reference_that_nobody_was_given_is_said(sipua: Any) -> None:
    with pytest.raises(LocalError, match="'ABCDEF': nobody was given this reference"):
        sipua("done", "ABCDEF")
