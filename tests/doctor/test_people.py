"""What doctor says of departments, opening hours and call-back requests."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sipua.callback_settings import CallbackSettings
from sipua.checks.people import people
from sipua.settings import Settings
from sipua.texts import load_texts
from sipua.tool_settings import TransferSettings

SUNDAY = datetime(2026, 11, 22, 10, tzinfo=UTC)
FILE = """
timezone = "Africa/Kigali"
[departments.support]
target = "+250788000001"
[lines.office]
hours = ["Mon-Fri 08:00-17:00"]
"""
STATES = "support open; line office closed, opens tomorrow at 08:00"


async def said(
    folder: Path, text: str = FILE, on_refusal: str = "", **callbacks: Any
) -> list[tuple[str, ...]]:
    (folder / "departments.toml").write_text(text)
    settings = Settings(
        transfer=TransferSettings(on_refusal=on_refusal), callbacks=CallbackSettings(**callbacks)
    )
    checks = await people(settings, load_texts(folder), SUNDAY)
    return [(check.name, check.status, check.detail) for check in checks]


async def test_who_is_there_now_and_that_nobody_is_told(tmp_path: Path) -> None:
    assert await said(tmp_path, on_refusal="support") == [
        ("departments", "ok", STATES),
        ("call-backs", "warn", "nobody is told who wants to be called back"),
    ]
    assert await said(tmp_path, text="") == []


async def test_a_setting_that_names_nobody(tmp_path: Path) -> None:
    ((name, status, detail),) = await said(tmp_path, on_refusal="sales")
    assert (name, status) == ("departments", "fail")
    assert "transfer.on_refusal = 'sales'" in detail


@pytest.mark.parametrize(
    ("program", "status"), [(sys.executable, "ok"), ("/nowhere/tell", "fail")], ids=["there", "gone"]
)
async def test_the_command_is_looked_for(tmp_path: Path, program: str, status: str) -> None:
    assert [each[:2] for each in await said(tmp_path, notify_command=[program])][1:] == [
        ("call-backs command", status)
    ]


async def test_the_url_is_connected_to_and_its_secret_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("whsec_eA==")
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for file, expected in (("secret", ["ok"]), ("gone", ["fail", "ok"])):
            checks = await said(tmp_path, notify_url=url, notify_secret_file=str(tmp_path / file))
            assert [each[1] for each in checks][1:] == expected
