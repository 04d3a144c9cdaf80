"""`sipua route`: the order, and a reason for everything that is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.peers.processes import run

TRUNKS = {
    "first": 'priority = 1\ndomain = "carrier.test"\n[static_hosts]\n"carrier.test" = ["192.0.2.1", "192.0.2.2"]',
    "second": 'priority = 2\ndomain = "192.0.2.9:5070"\nto_format = "national"\nfrom_format = "e164"',
    "uganda": 'priority = 3\ndomain = "192.0.2.20"\nmay_dial = ["+256*"]',
    "off": 'priority = 4\ndomain = "192.0.2.30"\nenabled = false',
    "lost": 'priority = 5\ndomain = "no.such.host.invalid"\nsrv = false',
}


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("route")
    (folder / "trunks").mkdir()
    for name, lines in TRUNKS.items():
        (folder / "trunks" / f"{name}.toml").write_text(
            f'schema = 1\nname = "{name}"\nprovider = "carrier"\ncaller_id = "+250788000001"\n{lines}\n'
        )
    return folder


def test_which_trunk_which_targets_in_which_order_and_why(conf: Path) -> None:
    done = run(["route", "0788123456", "--conf", str(conf), "--json"])
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["to"] == "+250788123456"
    assert "no agent is running" in document["basis"]
    found = [
        (each["trunk"], each["address"], each["to_user"], each["from_user"]) for each in document["targets"]
    ]
    assert found == [
        ("first", "192.0.2.1:5060;udp", "+250788123456", "+250788000001"),
        ("first", "192.0.2.2:5060;udp", "+250788123456", "+250788000001"),
        ("second", "192.0.2.9:5070;udp", "0788123456", "250788000001"),
    ]
    assert document["targets"][0]["why"].startswith("priority 1, weight 1; carrier.test")
    reasons = {each["trunk"]: each["reason"] for each in document["rejected"]}
    assert set(reasons) == {"uganda", "off", "lost"}
    assert "may not be dialled" in reasons["uganda"]
    assert "disabled" in reasons["off"]
    assert "no address" in reasons["lost"]
    assert "no.such.host.invalid" in reasons["lost"]


def test_for_people(conf: Path) -> None:
    done = run(["route", "+250788123456", "--trunk", "second", "--conf", str(conf)])
    assert done.returncode == 0, done.stderr
    assert "1. second 192.0.2.9:5070;udp: 0788123456 from 250788000001" in done.stdout
    assert "-  first: another trunk was asked for" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "is not a telephone number"),
        (["+250788123456", "--from", "+250788999999"], "may not be presented as caller id"),
    ],
)
def test_nobody_may_carry_it(conf: Path, arguments: list[str], words: str) -> None:
    done = run(["route", *arguments, "--conf", str(conf), "--json"])
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["targets"] == []
    assert words in document["rejected"][0]["reason"]
    reasons = {each["trunk"]: each["reason"] for each in document["rejected"]}
    assert "no.such.host" not in reasons["lost"]  # it is about the number
