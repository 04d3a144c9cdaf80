"""`sipua drill run --live` on configured trunks whose carriers are responders on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sipua.drills.carriers import Carrier
from sipua.drills.live import check_number
from sipua.drills.script import WELL, Script, Step, refuses
from sipua.errors import ConfigError

NUMBER = "+15005550006"  # of Twilio's magic numbers: valid, and nobody's telephone


class Trunks:
    """A configuration folder with the trunks a and b, each with a carrier of its own."""

    def __init__(self, folder: Path) -> None:
        self.conf = folder
        self.carriers = {name: Carrier(name, f"127.0.0.{41 + n}", WELL) for n, name in enumerate("ab")}

    async def start(self) -> None:
        (self.conf / "trunks").mkdir()
        for priority, (name, carrier) in enumerate(self.carriers.items()):
            await carrier.start()
            (self.conf / "trunks" / f"{name}.toml").write_text(
                f'schema = 1\nname = "{name}"\nprovider = "loopback"\ndirection = "outbound"\npriority = {priority}\n'
                f'domain = "{carrier.place}"\ncaller_id = "+12025550100"\nfirst_response_timeout_ms = 1000\n'
            )

    async def drill(self, *arguments: str, number: str = NUMBER, code: int = 0) -> dict[str, Any]:
        env = os.environ | {"SIPUA_DRILL__TEST_NUMBER": number}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sipua", "drill", "run", *arguments, "--live", "--conf", str(self.conf), "--json",
            "--no-record", env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):
            output, said = await process.communicate()
        assert process.returncode == code, (output, said)
        document: dict[str, Any] = json.loads(output)
        return document


@pytest.fixture
async def trunks(tmp_path: Path) -> AsyncIterator[Trunks]:
    found = Trunks(tmp_path)
    await found.start()
    yield found
    for carrier in found.carriers.values():
        await carrier.close()


A_TO_B = ("--trunk", "a", "--expect", "b", "--within", "2")


async def test_the_other_trunk_carries_the_call_and_the_first_hears_nothing(trunks: Trunks) -> None:
    document = await trunks.drill("all", *A_TO_B)
    assert [(each["name"], each["held"]) for each in document["drills"]] == [
        ("black-hole", True),
        ("refused", True),
    ]
    assert trunks.carriers["a"].responder.seen == []
    invites = trunks.carriers["b"].responder.requests("INVITE")
    assert [each.start_line.split("@")[0] for each in invites] == [f"INVITE sip:{NUMBER}"] * 2
    assert trunks.carriers["b"].responder.count("BYE") == 2
    assert all(1000 <= each["detect_ms"] < 3000 for each in document["drills"])


async def test_nobody_has_to_answer(trunks: Trunks) -> None:
    trunks.carriers["b"].becomes(Script(invite=(Step(180), Step(480, 0.3))))
    (drill,) = (await trunks.drill("black-hole", *A_TO_B))["drills"]
    assert (drill["held"], drill["lost"]) == (True, 0)


async def test_a_trunk_that_does_not_take_over_is_seen(trunks: Trunks) -> None:
    trunks.carriers["b"].becomes(refuses(503))
    document = await trunks.drill("black-hole", *A_TO_B, code=1)
    (drill,) = document["drills"]
    assert (drill["held"], drill["lost"]) == (False, 1)


async def test_without_failover_it_does_not_hold(trunks: Trunks) -> None:
    document = await trunks.drill("black-hole", *A_TO_B, "--mutate", "no-failover", code=1)
    assert document["drills"][0]["held"] is False
    assert trunks.carriers["b"].responder.seen == []


@pytest.mark.parametrize(
    ("arguments", "number", "words"),
    [
        (("black-hole", *A_TO_B), "", "drill.test_number"),
        (("black-hole", *A_TO_B), "+12025550123", "documentation number"),
        (("black-hole", "--trunk", "a"), NUMBER, "--expect"),
        (("black-hole", "--trunk", "a", "--expect", "c"), NUMBER, "there are: a, b"),
        (("black-hole", "--trunk", "a", "--expect", "a"), NUMBER, "is the trunk that is made unreachable"),
        (("busy", *A_TO_B), NUMBER, "on our side alone"),
        (("black-hole", *A_TO_B), "0788", "test_number"),
    ],
)
async def test_what_cannot_be_is_refused(
    trunks: Trunks, arguments: tuple[str, ...], number: str, words: str
) -> None:
    document = await trunks.drill(*arguments, number=number, code=78)
    assert words in document["error"]["message"]
    assert trunks.carriers["a"].responder.seen == trunks.carriers["b"].responder.seen == []


async def test_a_trunk_that_is_not_the_first_is_no_drill(trunks: Trunks) -> None:
    document = await trunks.drill("black-hole", "--trunk", "b", "--expect", "a", code=1)
    assert "goes to a first" in document["drills"][0]["what_happened"]


@pytest.mark.parametrize("number", ["+12025550100", "+250788123456", "+447700900123"])
def test_numbers_of_manuals_are_nobodys(number: str) -> None:
    with pytest.raises(ConfigError, match="documentation number"):
        check_number(number)
