"""``sipua calls``, ``show`` and ``tail``: for people at any width, for programs, without numbers unless asked for."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from sipua.cli import app
from sipua.cli.columns import in_columns
from sipua.errors import LocalError
from sipua.masked import masked, masked_text
from storage.facts import CallChanged, CallCreated, CallEnded, Event, ToolCalled, Transcript
from storage.writer import LedgerWriter

NOW = datetime.now(UTC)
ANN, DESK = "+250788123456", "+250788000099"
OLD, LIVE = UUID("11111111-0000-4000-8000-000000000001"), UUID("22222222-0000-4000-8000-000000000002")


async def fill(dsn: str) -> None:
    """One call of an hour ago, one that goes on; Ann says her number, and what terminals should not obey."""
    began = NOW - timedelta(hours=1)
    writer = LedgerWriter(dsn, batch_ms=5)
    writer.put(
        (
            CallCreated(
                OLD, "inbound", ANN, DESK, twilio_call_sid="CA1", trunk="twilio", locale="rw", started_at=began,
                metadata={"from_uri": f"sip:{ANN}@192.0.2.1"},
            ),
            Event(UUID(int=1), OLD, "call_started", began, {"trunk": "twilio"}),
            Event(UUID(int=2), OLD, "openai_response_created", began + timedelta(seconds=1)),
            Transcript(UUID(int=3), OLD, 1, "user", f"I am\x1b[31m {ANN}", t=began + timedelta(seconds=2)),
            ToolCalled(UUID(int=4), OLD, None, "search_services", {"query": "moto"}, began + timedelta(seconds=3)),
            CallEnded(OLD, began + timedelta(seconds=61), 60, "completed", "caller_hangup",
                      {"usage": {"cost_usd": 0.0213}, "rtp": {"sent": 1, "quality": {"mos": 4.31}}}),
            CallCreated(LIVE, "outbound", DESK, ANN, trunk="mtn", started_at=NOW - timedelta(seconds=20)),
            Event(UUID(int=6), LIVE, "answered", NOW - timedelta(seconds=10)),
            CallChanged(LIVE, NOW, "in_progress"),
            Transcript(UUID(int=7), LIVE, 1, "assistant", "Muraho!", t=NOW - timedelta(seconds=9)),
        )
    )  # fmt: skip
    assert await writer.close(5)


@pytest.fixture
def sipua(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("SIPUA_TIMEZONE", "Africa/Kigali")
    asyncio.run(fill(database))

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [*arguments, "--conf", str(tmp_path)])
        if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.output if code else done.stdout

    return run


def test_a_list_and_its_filters(sipua: Callable[..., str]) -> None:
    head, newest, oldest = sipua("calls").splitlines()
    assert head.split() == ["id", "began", "call", "lang", "trunk", "status", "outcome", "s", "MOS", "cost"]
    assert newest.startswith("22222222  ")
    assert "→ +250*****3456" in newest
    when = (NOW - timedelta(hours=1) + timedelta(hours=2)).strftime("%Y-%m-%d %H:%M:%S")
    assert oldest.startswith(f"11111111  {when}  ← +250*****3456")
    assert oldest.split()[-7:] == ["twilio", "completed", "caller_hangup", "60", "4.3", "USD", "0.0213"]
    assert ANN in sipua("calls", "--full")
    for options, found in {
        ("--from", ANN): 1, ("--digits", "3456"): 2, ("--status", "busy"): 0, ("--since", "30min"): 1,
        ("--until", "30min"): 1, ("--trunk", "mtn"): 1, ("--language", "rw"): 1,
    }.items():  # fmt: skip
        assert len(json.loads(sipua("calls", *options, "--json"))["calls"]) == found, options
    assert sipua("calls", "--status", "busy") == "no such call\n"


def test_pages_for_programs(sipua: Callable[..., str]) -> None:
    first = json.loads(sipua("calls", "--limit", "1", "--json"))
    second = json.loads(sipua("calls", "--limit", "1", "--after", first["next"], "--json"))
    assert [page["calls"][0]["id"] for page in (first, second)] == [str(LIVE), str(OLD)]
    assert second["next"] is None
    assert first["calls"][0]["to_e164"] == "+250*****3456"


def test_costs_in_a_second_currency(sipua: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIPUA_CURRENCY__CODE", "RWF")
    monkeypatch.setenv("SIPUA_CURRENCY__PER_USD", "1450")
    head, newest, oldest = sipua("calls").splitlines()
    assert head.endswith("cost")
    assert oldest.endswith("  USD 0.0213 / RWF 30.88")
    assert newest.endswith("in_progress")
    assert "  cost USD 0.0213 / RWF 30.88\n" in sipua("show", str(OLD))
    told = {"cost_usd": 0.0213, "cost": 30.885, "currency": "RWF"}
    listed = json.loads(sipua("calls", "--json"))["calls"][1]
    shown = json.loads(sipua("show", str(OLD), "--json"))["call"]
    assert [{name: call[name] for name in told} for call in (listed, shown)] == [told, told]


WRONG = [
    (["--status", "done"], "status 'done': allowed are initiated, ringing"),
    (["--digits", "1"], "allowed are the last 3 to 20 digits"),
    (["--since", "yesterday"], "'yesterday': allowed are 2026-11-01"),
    (["--after", "x"], "allowed is the `next` of an earlier page"),
    (["--live", "--trunk", "a"], "allowed beside it are --full, --json"),
    (["--limit", "201"], "less than or equal to 200"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_wrong_usage_names_what_is_allowed(sipua: Callable[..., str], options: list[str], said: str) -> None:
    assert said in " ".join(sipua("calls", *options, code=2).split())


def test_what_goes_on(sipua: Callable[..., str]) -> None:
    head, line = sipua("calls", "--live").splitlines()
    assert head.split()[-2:] == ["last", "words"]
    assert line.startswith("22222222")
    assert line.endswith("assistant: Muraho!")
    (call,) = json.loads(sipua("calls", "--live", "--json"))["calls"]
    assert (call["lead_phone"], call["last_text"]) == ("+250*****3456", "Muraho!")


@pytest.mark.parametrize("key", [str(OLD), "11111111", "CA1"])
def test_a_call_is_told(sipua: Callable[..., str], key: str) -> None:
    told = sipua("show", key)
    lines = told.splitlines()
    assert lines[0] == f"{OLD}  inbound"
    assert lines[1] == "  +250*****3456 → +250*****0099 · trunk twilio · rw"
    assert "cost USD 0.0213" in told
    assert "CAT, 60 s, completed: caller_hangup" in told
    assert lines[lines.index("") + 1 :] == [
        "   +0.0  sip       started trunk twilio",
        "   +2.0  talk      user: I am [31m +250*****3456",
        "   +3.0  tool      search_services: no result",
        "  +61.0  media     summary 1 packets sent",
    ]
    assert "response created" in sipua("show", key, "--all")
    assert ANN in sipua("show", key, "--full")
    assert ANN not in sipua("show", key, "--json")
    assert json.loads(sipua("show", key, "--json"))["call"]["twilio_call_sid"] == "CA1"


def test_an_unknown_call_is_said(sipua: Callable[..., str]) -> None:
    with pytest.raises(LocalError, match="no call '33333333': allowed are an id"):
        sipua("show", "33333333")
    with pytest.raises(LocalError, match="no call"):
        sipua("tail", "33333333")


def test_a_call_that_is_over_is_told_to_its_end(sipua: Callable[..., str]) -> None:
    lines = sipua("tail", "11111111").splitlines()
    assert [line.split("  ", 2)[1:] for line in lines] == [
        ["11111111", "sip       started trunk twilio"],
        ["11111111", "talk      user: I am [31m +250*****3456"],
    ]
    (_, said) = map(json.loads, sipua("tail", "11111111", "--json", "--full").splitlines())
    assert said["content"] == f"I am\x1b[31m {ANN}"


@pytest.fixture
def follower(database: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sipua", "tail", "--json", "--conf", str(tmp_path)]
    env = {"DATABASE_URL": database, "PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        yield process
        process.kill()


async def test_all_calls_are_followed_and_ctrl_c_ends_it(
    follower: subprocess.Popen[str], database: str
) -> None:
    """Rows of a call that begins and ends while it looks, each once."""
    assert follower.stdout is not None
    writer = LedgerWriter(database, batch_ms=5)
    call = UUID(int=77)
    now = datetime.now(UTC)
    writer.put((CallCreated(call, "inbound", started_at=now), Event(UUID(int=78), call, "call_started", now)))
    first = json.loads(await asyncio.to_thread(follower.stdout.readline))
    assert (first["call"], first["what"]) == (str(call), "started")
    writer.put((Transcript(UUID(int=79), call, 1, "user", "Hello", t=now + timedelta(milliseconds=5)),))
    assert json.loads(await asyncio.to_thread(follower.stdout.readline))["content"] == "Hello"
    writer.put((Event(UUID(int=80), call, "call_ended", now), CallEnded(call, now, 0, "completed")))
    assert json.loads(await asyncio.to_thread(follower.stdout.readline))["what"] == "ended"
    assert await writer.close(5)
    follower.send_signal(signal.SIGINT)
    rest, errors = await asyncio.to_thread(follower.communicate)
    assert (rest, follower.returncode) == ("", 0), errors
    assert "Traceback" not in errors


MASKS = {
    "call me on +250 788 123 456 please": "call me on +250*****3456 please",
    "0788123456": "******3456",
    "in 2026 it cost 1500 francs": "in 2026 it cost 1500 francs",
    "at 2026-11-23 04:19:11": "at 2026-11-23 04:19:11",
    "2026-11-23T02:19:11.638488Z": "2026-11-23T02:19:11.638488Z",
    "192.0.2.100:5060": "192.0.2.100:5060",
    "sip:+250788123456@192.0.2.1": "sip:+250*****3456@192.0.2.1",
    "fa1021e7-a7e5-4874-849d-3e0db89f3324": "fa1021e7-a7e5-4874-849d-3e0db89f3324",
    "11111111-0000-4000-8000-000000000001": "11111111-0000-4000-8000-000000000001",
}


@pytest.mark.parametrize("text", MASKS)
def test_numbers_in_texts(text: str) -> None:
    assert masked_text(text) == MASKS[text]


def test_fields_that_are_numbers() -> None:
    row = {
        "from_e164": ANN,
        "id": "12345678901",
        "deep": [{"customer_msisdn": "0788123456", "from": ANN}, {"from": "2026-01-02T03:04:05.123Z"}],
        "started_at": "2026",
    }
    assert masked(row) == {
        "from_e164": "+250*****3456", "id": "12345678901", "started_at": "2026",
        "deep": [{"customer_msisdn": "******3456", "from": "+250*****3456"}, {"from": "2026-01-02T03:04:05.123Z"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("width", "expected"),
    [(99, ["a    n  why", "aaa  1  x"]), (9, ["a    n", "aaa  1"]), (5, ["a", "aaa"]), (2, ["a", "a…"])],
)
def test_columns_that_have_no_room_go_first(width: int, expected: list[str]) -> None:
    lines = in_columns(("a", "n", "why"), [("aaa", "1", "x")], width, spare=("why", "n"), right=("n",))
    assert lines == expected
    assert not [line for line in lines if re.search(r"\s$", line)]
