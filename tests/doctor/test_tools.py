"""What doctor says of tools that are others'."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from sipua.checks.tools import tools
from sipua.settings_file import load_settings

ROOT = Path(__file__).resolve().parents[2]


def configured(folder: Path, **files: str) -> Path:
    (folder / "tools").mkdir()
    for name, text in files.items():
        (folder / "tools" / f"{name}.toml").write_text(text)
    return folder


async def said(folder: Path) -> list[tuple[str, str]]:
    return [(check.name, check.status) for check in await tools(folder, load_settings(folder), ["mtn"])]


async def test_without_files_nothing_is_said(tmp_path: Path) -> None:
    assert await said(tmp_path) == []


async def test_a_bad_file_is_a_fault_of_configuration(tmp_path: Path) -> None:
    (check,) = await tools(configured(tmp_path, x="kind = 5"), load_settings(tmp_path), [])
    assert (check.status, check.is_configuration) == ("fail", True)


async def test_services_are_connected_to_and_servers_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOL_SECRET", "x")
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        http = 'kind = "http"\ndescription = "x"\nsecret_env = "TOOL_SECRET"\n'
        mcp = f'kind = "mcp"\ncwd = "{ROOT}"\ncommand = {[sys.executable, "-m", "tests.tools.mcp_server"]}\n'
        folder = configured(
            tmp_path,
            there=f'{http}name = "there"\nurl = "http://127.0.0.1:{port}/"',
            gone=f'{http}name = "gone"\nurl = "http://127.0.0.1:1/"',
            maps=f'{mcp}name = "maps"\nstart_timeout_s = 30',
            dead='kind = "mcp"\nname = "dead"\ncommand = ["/does/not/exist"]\nstart_timeout_s = 0.5',
        )
        assert sorted(await said(folder)) == [
            ("tools", "ok"),
            ("tools dead", "fail"),
            ("tools gone", "fail"),
            ("tools maps", "ok"),
            ("tools there", "ok"),
        ]
