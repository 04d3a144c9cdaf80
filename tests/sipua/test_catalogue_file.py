"""``sipua catalog``: every bad row is named, nothing is half imported, and the shipped examples are good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sipua.catalogue_file import COLUMNS, Fault, parse_catalogue
from sipua.cli.catalog import app
from sipua.resources import shipped_conf
from storage.catalogue import TABLES

HEAD = "key,name,category,phone\n"
FAULTS: list[Any] = [
    pytest.param("", [(1, "key"), (1, "name"), (1, "category")], id="an empty file"),
    pytest.param(HEAD, [(1, "")], id="no rows"),
    pytest.param("key;name;category\na;A;food\n", [(1, "key;name;category")], id="semicolons"),
    pytest.param("key,name,category,colour\na,A,food,red\n", [(1, "colour")], id="an unknown column"),
    pytest.param("key,key,name,category\na,a,A,food\n", [(1, "key")], id="a column twice"),
    pytest.param("key,question_en\na,b\n", [(1, "answer_en")], id="a question without an answer"),
    pytest.param(HEAD + "a,A,food\n", [(2, "")], id="too few cells"),
    pytest.param(HEAD + "a,A, and B,food,\n", [(2, "")], id="too many cells"),
    pytest.param(HEAD + "a,A,fish,\nb,,food,\n", [(2, "category"), (3, "name")], id="two rows"),
    pytest.param(HEAD + "a,A,food,0788 000\n", [(2, "phone")], id="a national number"),
    pytest.param(HEAD + "a b,A,food,\n", [(2, "key")], id="a key with a blank"),
    pytest.param(HEAD + "a,A,food,\n\na,B,food,\n", [(4, "key")], id="a key twice, and an empty line"),
    pytest.param(HEAD + 'a,"A\nB",food,\nb,B,fish,\n', [(4, "category")], id="after a cell of two lines"),
    pytest.param(HEAD + f"a,{'x' * 81},food,\n", [(2, "name")], id="too long to be read out"),
    pytest.param(HEAD + 'a,"A,food,\n', [(2, "")], id="a quote that never ends"),
    pytest.param(HEAD + "a,A\0,food,\n", [(2, "name")], id="NUL"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "places"), FAULTS)
def test_every_fault_has_its_place(text: str, places: list[tuple[int, str]]) -> None:
    assert [(fault.line, fault.column) for fault in parse_catalogue(text).faults] == places


def test_cells_are_trimmed_and_empty_ones_are_none() -> None:
    read = parse_catalogue("\ufeffname, key ,category,location\r\n Cafe\u0301 ,a,food,  \r\n")
    assert read.faults == ()
    assert [(row["name"], row["key"], row["location"], row["phone"]) for row in read.rows] == [
        ("Café", "a", None, None)
    ]


@given(st.text())
def test_no_text_raises(text: str) -> None:
    parse_catalogue(text)
    assert all(isinstance(fault, Fault) for fault in parse_catalogue(HEAD + text).faults)


def test_the_columns_are_those_of_the_tables() -> None:
    assert {table: tuple(columns) for table, columns in COLUMNS.items()} == TABLES


@pytest.fixture
def sipua(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATABASE_URL", database)

    def run(*arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, [*arguments, "--conf", str(tmp_path), "--json"])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    return run


def test_the_shipped_examples_are_imported_and_found(sipua: Any) -> None:
    examples = shipped_conf() / "examples"
    catalogue = str(examples / "catalogue.csv")
    assert sipua("import", catalogue, "--dry-run")["added"] == 6
    assert sipua("import", catalogue)["added"] == 6
    again = sipua("import", catalogue, "--replace")
    assert (again["added"], again["changed"], again["same"], again["removed"]) == (0, 0, 6, 0)
    assert sipua("import", str(examples / "faq.csv"))["table"] == "faq"
    found = sipua("search", "umuyagankuba", "--locale", "rw")
    assert [row["name"] for row in found["services"]] == ["Fundi Bora"]
    assert sipua("search", "annuler", "--locale", "fr")["answers"][0]["answer"].startswith("Rappelez-nous")


def test_a_bad_row_imports_nothing(sipua: Any, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(HEAD + "a,A,food,\nb,B,fish,\n")
    assert [(each["line"], each["column"]) for each in sipua("import", str(file), code=1)["faults"]] == [
        (3, "category")
    ]
    assert sipua("search", "A", "--category", "food")["services"] == []


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    file = tmp_path / "latin.csv"
    file.write_bytes(b"key,name\na,Caf\xe9\n")
    done = CliRunner().invoke(app, ["import", str(file), "--conf", str(tmp_path)])
    assert "not UTF-8: byte 14" in str(done.exception)
