"""The CSV files of ``sipua catalog import``: their columns and rows checked, every fault with its line and column.

No I/O. A file with the column ``question_en`` holds answers, any other the catalogue.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

LANGUAGES = ("en", "sw", "fr", "rw")
CATEGORIES = ("transport", "marketplace", "food", "shopping", "services")

ROWS_MAX = 50_000
FAULTS_MAX = 200  # that are told
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")

Table = Literal["catalogue", "faq"]
Row = dict[str, str | None]

# Column → its greatest length: a model reads several rows out of one answer.
COLUMNS: Mapping[Table, Mapping[str, int]] = {
    "catalogue": {"key": 64, "name": 80, "category": 16, "location": 80}
    | {f"text_{code}": 400 for code in LANGUAGES}
    | {"phone": 16, "hours": 80, "price_note": 120},
    "faq": {"key": 64}
    | {f"{what}_{code}": most for code in LANGUAGES for what, most in (("question", 200), ("answer", 600))},
}
REQUIRED: Mapping[Table, tuple[str, ...]] = {
    "catalogue": ("key", "name", "category"),
    "faq": ("key", "question_en", "answer_en"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """``line`` as an editor counts; ``column`` "" is the whole line."""

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}{f', {self.column}' if self.column else ''}: {self.message}"


@dataclass(frozen=True, slots=True)
class CatalogueFile:
    """What a file says; with any fault nothing of it counts."""

    table: Table
    rows: tuple[Row, ...]
    faults: tuple[Fault, ...]


def parse_catalogue(text: str) -> CatalogueFile:
    """Cells are trimmed, empty ones are None, columns may stand in any order and the optional ones be missing."""
    lines = _Lines(text.removeprefix("\ufeff"))
    reader = csv.reader(lines, strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
    except csv.Error as error:
        return CatalogueFile("catalogue", (), (Fault(1, "", f"not CSV: {error}"),))
    table: Table = "faq" if "question_en" in header else "catalogue"
    faults = list(_header_faults(table, header))
    if faults:
        return CatalogueFile(table, (), tuple(faults))
    rows: list[Row] = []
    seen: dict[str, int] = {}
    began = lines.count + 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                row, wrong = _row(table, header, cells, began)
                faults += wrong
                key = row["key"] or ""
                if key in seen:
                    faults.append(Fault(began, "key", f"{key!r} stands in line {seen[key]} already"))
                elif key:
                    seen[key] = began
                rows.append(row)
            began = lines.count + 1
            if len(faults) >= FAULTS_MAX or len(rows) > ROWS_MAX:
                break
    except csv.Error as error:
        faults.append(Fault(began, "", f"not CSV: {error}"))
    if len(rows) > ROWS_MAX:
        faults.append(Fault(began, "", f"more than {ROWS_MAX} rows"))
    if not rows and not faults:
        faults.append(Fault(1, "", "there is no row below the header"))
    return CatalogueFile(table, tuple(rows), tuple(faults))


class _Lines:
    """The lines of a text, counted: a quoted cell may hold several."""

    def __init__(self, text: str) -> None:
        self._lines = io.StringIO(text, newline="")
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.count += 1
            yield line


def _header_faults(table: Table, header: list[str]) -> Iterator[Fault]:
    known = COLUMNS[table]
    if len(header) == 1 and set(header[0]) & set(";\t"):
        yield Fault(
            1, header[0][:64], "separated by semicolons or tabs; save it with commas between the columns"
        )
        return
    for column in dict.fromkeys(header):
        if header.count(column) > 1:
            yield Fault(1, column, "stands twice in the header")
        if column not in known:
            yield Fault(1, column[:64], f"unknown column; allowed: {', '.join(known)}")
    for column in REQUIRED[table]:
        if column not in header:
            yield Fault(1, column, "is missing from the header")


def _row(table: Table, header: list[str], cells: list[str], line: int) -> tuple[Row, list[Fault]]:
    row: Row = dict.fromkeys(COLUMNS[table])
    if len(cells) != len(header):
        fault = f"{len(cells)} cells, the header has {len(header)}: a comma too many, or quotes are missing"
        return row, [Fault(line, "", fault)]
    row |= {
        column: unicodedata.normalize("NFC", cell.strip()) or None
        for column, cell in zip(header, cells, strict=True)
    }
    faults = [
        Fault(line, column, message)
        for column, cell in row.items()
        if (message := _fault(table, column, cell))
    ]
    return row, faults


def _fault(table: Table, column: str, cell: str | None) -> str:
    if cell is None:
        return "is empty" if column in REQUIRED[table] else ""
    most = COLUMNS[table][column]
    if len(cell) > most:
        return f"{len(cell)} characters; at most {most}, it is read out"
    if "\0" in cell:
        return "holds a NUL character"
    if column == "key" and not _KEY.fullmatch(cell):
        return f"{cell!r}: allowed are letters, digits, '.', '_' and '-'"
    if column == "category" and cell not in CATEGORIES:
        return f"{cell!r}; allowed: {', '.join(CATEGORIES)}"
    if column == "phone" and not _PHONE.fullmatch(cell):
        return f"{cell!r}: not an E.164 number, such as +12025550101"
    return ""
