"""Which tools a call is offered, by trunk and number of ours, and that files are read again without touching calls."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sipua.clock import SystemClock
from sipua.errors import ConfigError
from sipua.tools.builtin import control_tools
from sipua.tools.files import NO_TOOL_FILES, OWN_TOOLS
from sipua.tools.kits import ToolFolder, ToolKits, tool_kits
from sipua.tools.registry import Offer, Registry
from tests.peers.processes import until
from tests.processes import processes_with
from tests.tools.calls import Desk, context

ROOT = Path(__file__).resolve().parents[2]
MTN, TWILIO = "mtn", "twilio"
LINE, OTHER = "+250788000001", "+250788000002"
HTTP = 'kind = "http"\ndescription = "x"\nurl = "http://127.0.0.1:1"\nsecret_env = "TOOL_SECRET"\n'
OWN = {"hang_up", "set_language", "wrap_up"}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_SECRET", "x")


def write(conf: Path, **files: str) -> Path:
    """These files and no others; each begins with its name."""
    folder = conf / "tools"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(f'name = "{name}"\n{text}')
    return conf


def names(offer: Offer) -> set[str]:
    return {str(each.get("name") or each["server_label"]) for each in offer.wire()}


@asynccontextmanager
async def kits_of(folder: ToolFolder) -> AsyncIterator[ToolKits]:
    """With the files followed."""
    own = Registry()
    own.add(*control_tools({"en": "English"}))
    async with tool_kits(folder.files, own, SystemClock()) as kits:
        following = asyncio.create_task(kits.follow(folder))
        yield kits
        following.cancel()


async def read_again(folder: ToolFolder, kits: ToolKits, wanted: set[str]) -> None:
    folder.asked.set()
    async with asyncio.timeout(20):
        while True:
            with kits.of_call("", None) as offer:
                if names(offer) == wanted:
                    return
            await asyncio.sleep(0.01)


WHERE = [  # trunks, numbers of the file · trunk, number of the call · offered?
    ("[]", "[]", MTN, LINE, True),
    ("[]", "[]", "", None, True),
    ('["mtn"]', "[]", MTN, LINE, True),
    ('["mtn"]', "[]", TWILIO, LINE, False),
    ('["mtn"]', "[]", "", None, False),
    ('["mtn", "twilio"]', "[]", TWILIO, None, True),
    ("[]", f'["{LINE}"]', MTN, LINE, True),
    ("[]", f'["{LINE}"]', MTN, OTHER, False),
    ("[]", f'["{LINE}"]', MTN, None, False),
    ('["mtn"]', f'["{LINE}"]', TWILIO, LINE, False),
    ('["mtn"]', f'["{LINE}", "{OTHER}"]', MTN, OTHER, True),
]


@pytest.mark.parametrize(("trunks", "numbers", "trunk", "number", "is_offered"), WHERE)
async def test_a_tool_is_offered_where_its_file_says(
    trunks: str, numbers: str, trunk: str, number: str | None, is_offered: bool, tmp_path: Path
) -> None:
    where = f"trunks = {trunks}\nnumbers = {numbers}\n"
    remote = 'kind = "remote-mcp"\nurl = "https://crm.example.org/mcp"\napproval = "approve"\n'
    folder = ToolFolder(
        write(tmp_path, book=HTTP + where, wrap_up=f'kind = "own"\n{where}', crm=remote + where)
    )
    async with kits_of(folder) as kits:
        with kits.of_call(trunk, number) as offer:
            limited = {"book", "wrap_up", "crm"}
            assert names(offer) == (OWN | limited if is_offered else OWN - limited)
            assert [offer.find(name) is not None for name in ("book", "wrap_up")] == [is_offered] * 2
            assert ("crm" in offer.approvals) is is_offered


async def test_a_call_keeps_its_tools_when_files_are_read_again(tmp_path: Path) -> None:
    folder = ToolFolder(write(tmp_path, old=HTTP))
    async with kits_of(folder) as kits:
        with kits.of_call("", None) as before:
            write(tmp_path, new=HTTP)
            await read_again(folder, kits, OWN | {"new"})
            assert names(before) == OWN | {"old"}
            assert before.find("old") is not None
            assert before.find("new") is None


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"x": "kind = 5"}, "x.toml"),
        ({"teleport": 'kind = "own"'}, "'teleport' is no tool of ours; allowed: book_transport"),
        ({"hang_up": HTTP}, "there is one of this name already"),
        ({"x": HTTP + 'numbers = ["0788"]'}, "E.164"),
        ({"x": HTTP.replace("TOOL_SECRET", "UNSET_SECRET")}, "secret_env"),
    ],
)
async def test_a_bad_file_is_refused_and_the_former_tools_stay(
    bad: dict[str, str], told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ToolFolder(write(tmp_path, old=HTTP))
    async with kits_of(folder) as kits:
        write(tmp_path, **bad)
        with caplog.at_level(logging.ERROR, "sipua.tools.kits"):
            folder.asked.set()
            while not caplog.text:  # noqa: ASYNC110 (a log line is no event)
                await asyncio.sleep(0.01)
        assert told in caplog.text
        with kits.of_call("", None) as offer:
            assert names(offer) == OWN | {"old"}
        write(tmp_path, new=HTTP)  # mended
        await read_again(folder, kits, OWN | {"new"})


async def test_what_cannot_be_started_with_is_an_error(tmp_path: Path) -> None:
    folder = ToolFolder(write(tmp_path, hang_up=HTTP))
    with pytest.raises(ConfigError, match="hang_up"):
        async with kits_of(folder):
            pass


async def test_a_server_that_was_taken_out_serves_the_call_that_has_it_to_its_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.tools.mcp_server", str(tmp_path)]
    folder = ToolFolder(
        write(tmp_path, maps=f'kind = "mcp"\ncommand = {command}\ncwd = "{ROOT}"\nstart_timeout_s = 30\n')
    )
    mark = str(tmp_path)
    async with kits_of(folder) as kits:
        with kits.of_call("", None) as offer:
            assert len(processes_with(mark)) == 1
            write(tmp_path)
            await read_again(folder, kits, OWN)
            distance = offer.find("distance")
            assert distance is not None
            arguments = distance.check({"start": "A", "end": "B"})
            assert await distance.run(arguments, context(Desk(Registry())))
        await asyncio.to_thread(until, lambda: not processes_with(mark), "the end of the server")


async def test_what_has_not_changed_is_left_alone(tmp_path: Path) -> None:
    own = Registry()
    async with tool_kits(NO_TOOL_FILES, own, SystemClock()) as kits:
        with kits.of_call("", None) as before:
            await kits.replace(NO_TOOL_FILES)
            own.add(*control_tools({"en": "English"}))  # ours are the same for all
            assert names(before) == OWN


def test_the_list_of_our_tools_is_that_of_the_documentation() -> None:
    text = (ROOT / "docs" / "tools.md").read_text().partition("## Yours")[0]
    rows = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert rows == set(OWN_TOOLS)
