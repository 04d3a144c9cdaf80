"""``departments.toml``: what is read, and how faults are told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sipua.departments import NO_DEPARTMENTS, Department, load_departments
from sipua.errors import ConfigError
from sipua.resources import shipped_conf

GOOD = """
timezone = "Africa/Kigali"
holidays = [2026-12-25]
[departments.support]
about = "orders and complaints"
target = "+250788000001"
targets = { desk = "sip:support@pbx.example.org" }
hours = ["Mon-Fri 08:00-17:00"]
[departments.night]
targets = { mtn = "tel:+250788000002" }
"""
MONDAY_NOON, SUNDAY = datetime(2026, 11, 23, 10, tzinfo=UTC), datetime(2026, 11, 22, 10, tzinfo=UTC)


def load(folder: Path, text: str) -> str:
    (folder / "departments.toml").write_text(text)
    try:
        load_departments(folder, ["desk", "mtn"])
    except ConfigError as error:
        return str(error)
    return ""


def test_who_is_told_of_and_where_they_are(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD) == ""
    found = load_departments(tmp_path)
    support = found.by_name["support"]
    assert [support.target_of(trunk) for trunk in ("desk", "mtn")] == [
        "sip:support@pbx.example.org", "+250788000001",
    ]  # fmt: skip
    assert found.by_name["night"].target_of("desk") == ""
    assert found.about() == {"support": "orders and complaints", "night": ""}
    assert found.lines(MONDAY_NOON, "mtn") == "support: orders and complaints (open)\nnight (open)"
    told = "support: orders and complaints (closed, opens tomorrow at 08:00)"
    assert found.lines(SUNDAY, "desk") == told


CHRISTMAS = datetime(2026, 12, 25, 10, tzinfo=UTC)
LINES = """
timezone = "Africa/Kigali"
[holidays]
2026-12-25 = "Christmas Day"
[lines.office]
numbers = ["+2507880000*"]
hours = ["Mon-Fri 08:00-17:00"]
[lines.night]
numbers = ["+250788000009"]
hours = ["Mon-Sun 20:00-06:00"]
closed = "hang_up"
[lines.mtn]
trunks = ["mtn"]
hours = ["Sun 08:00-17:00"]
[lines.shop]
numbers = ["+250788000009"]
trunks = ["desk"]
"""


@pytest.mark.parametrize(
    ("number", "trunk", "line", "state"),
    [
        ("+250788000001", "x", "office", "closed, opens tomorrow at 08:00"),
        (
            "+250788000001",
            "mtn",
            "office",
            "closed, opens tomorrow at 08:00",
        ),  # a number says more than a trunk
        ("+250788000009", "mtn", "night", "closed, opens today at 20:00"),
        ("+250788000009", "desk", "shop", "open"),
        ("+250722000000", "mtn", "mtn", "open"),
        (None, "mtn", "mtn", "open"),
        (None, "desk", "", ""),
    ],
)
def test_the_most_precise_line_counts(
    tmp_path: Path, number: str | None, trunk: str, line: str, state: str
) -> None:
    assert load(tmp_path, LINES) == ""
    lines = load_departments(tmp_path).our_lines
    assert (lines.of(number, trunk), lines.state(number, trunk, SUNDAY)) == (line, state)
    assert lines.turns_away(number, trunk, SUNDAY) is (line == "night")


def test_a_holiday_is_told_by_its_name(tmp_path: Path) -> None:
    load(tmp_path, LINES)
    told = load_departments(tmp_path).our_lines.state("+250788000001", "x", CHRISTMAS)
    assert told == "closed today (Christmas Day), opens on Monday at 08:00"


def test_the_shipped_example_is_good(tmp_path: Path) -> None:
    assert load(tmp_path, (shipped_conf() / "examples" / "departments.toml").read_text()) == ""
    assert set(load_departments(tmp_path).about()) == {"support", "sales"}


def test_a_setting_that_names_nobody_is_refused(tmp_path: Path) -> None:
    load(tmp_path, GOOD)
    load_departments(tmp_path).check("night", "transfer.on_refusal")
    NO_DEPARTMENTS.check("", "transfer.on_refusal")
    with pytest.raises(ConfigError, match=r"^transfer.on_refusal = 'day': .* allowed: support, night$"):
        load_departments(tmp_path).check("day", "transfer.on_refusal")


def test_no_file_is_nobody(tmp_path: Path) -> None:
    assert load_departments(tmp_path) is NO_DEPARTMENTS


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[departments.a]\ntarget = "0788"', "departments.a.target = '0788': allowed: a number such as +250"),
        ('[departments.a]\ntarget = "sip:a@b>,<sip:c@d"', "departments.a.target"),
        ("[departments.a]\nabout = 'x'", "departments.a: needs target or targets"),
        ("[departments.a]\ntargets = { desk = '1' }", "desk = '1': allowed: a number"),
        (
            "[departments.a]\ntargets = { no = '+250788000001' }",
            "targets.no: there is no such trunk; allowed: desk, mtn",
        ),
        ("[departments.a]\ntarget = '+250788000001'\nhours = ['daily']", "'daily': allowed: such as"),
        (
            "[departments.a]\ntarget = '+250788000001'\nhours = ['Mon 08:00-17:00']",
            "the key 'timezone' is missing",
        ),
        (
            "[departments.a]\ntarget = '+250788000001'\ndial_by = 'no'",
            "departments.a.dial_by = 'no': there is no such trunk; allowed: desk, mtn",
        ),
        (
            "[departments.a]\ntarget = 'sip:desk@pbx.example.org'\ntransfer_by = 'bridge'",
            "departments.a.transfer_by = 'bridge': sip:desk@pbx.example.org has no number that we could dial",
        ),
        ("[departments.a]\ntarget = '+250788000001'\ntransfer_by = 'call'", "transfer_by = 'call'"),
        ("[departments.A]\ntarget = '+250788000001'", "departments.A"),
        ("timezone = 'Mars/Base'", "timezone = 'Mars/Base': there is no such time zone"),
        ("zone = 'x'", "unknown key 'zone'; allowed: timezone, "),
        ("[departments.desk]\ntargt = 'x'", "unknown key 'departments.desk.targt'; allowed: about, target, "),
        ("[lines.a]\nhours = ['Mon 08:00-17:00']", "the key 'timezone' is missing"),
        ("[lines.a]\nhours = ['always']", "'always'"),
        ("[lines.a]\nnumbers = ['0788']", "lines.a.numbers"),
        ("[lines.a]\ntrunks = ['no']", "lines.a.trunks: there is no trunk 'no'; allowed: desk, mtn"),
        ("[lines.a]\nclosed = 'wait'", "lines.a.closed = 'wait'"),
        ("[lines.a]\n[lines.b]", "lines.b: every call belongs to lines.a already"),
        (
            "[lines.a]\nnumbers = ['+250788000001']\n[lines.b]\nnumbers = ['+250788000001']",
            "lines.b: +250788000001 belongs to lines.a already",
        ),
        ("[holidays]\n25-12 = 'x'", "holidays"),
        ("[departments.a", "not valid TOML"),
    ],
)
def test_a_fault_names_file_key_and_what_is_allowed(tmp_path: Path, text: str, told: str) -> None:
    said = load(tmp_path, text)
    assert str(tmp_path / "departments.toml") in said
    assert told in said


@pytest.mark.parametrize(
    ("target", "number"),
    [
        ("+250788000001", "+250788000001"),
        ("tel:+250788000001", "+250788000001"),
        ("sip:+250788000001@carrier.test", "+250788000001"),
        ("sip:desk@pbx.example.org", ""),
        ("sip:0788000001@pbx.example.org", ""),
    ],
)
def test_what_can_be_dialled_of_a_target(target: str, number: str) -> None:
    assert Department(target=target).number_of("any") == number
