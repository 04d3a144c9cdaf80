"""What doctor says of the rules for calls that we place, and of a departments.toml that cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sipua.checks.languages import texts
from sipua.checks.outbound import outbound
from sipua.outbound_settings import OutboundSettings
from sipua.settings import Settings

SUNDAY = datetime(2026, 11, 22, 10, tzinfo=UTC)


def said(**values: object) -> list[tuple[str, str]]:
    settings = Settings(timezone="Africa/Kigali", outbound=OutboundSettings.model_validate(values))
    return [(check.status, check.detail) for check in outbound(settings, SUNDAY)]


def test_the_rules_and_what_holds_now(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("+250788000001\n+88*\n")
    ((status, detail),) = said(
        do_not_call=str(tmp_path / "list"), calling_hours=["Mon-Fri 08:00-18:00"], attempts_per_day=2
    )
    assert status == "ok"
    assert detail.startswith(
        "2 numbers and patterns are not called; calling hours Mon-Fri 08:00-18:00, 0 holidays; "
    )
    assert detail.endswith("open again on Monday, 23 November, 08:00; 2 attempts a day")
    assert said() == []


def test_a_list_that_cannot_be_read_stops_all_calls(tmp_path: Path) -> None:
    ((status, detail),) = said(do_not_call=str(tmp_path / "gone"))
    assert (status, "cannot be read" in detail) == ("fail", True)


def test_a_fault_of_departments_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "departments.toml").write_text("[departments.support]\ntarget = 5\n")
    check, found = texts(tmp_path, Settings(), [])
    assert (check.name, check.status, found) == ("departments", "fail", None)
