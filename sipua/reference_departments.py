"""docs/departments.md: made from the keys of ``departments.toml``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from sipua.departments import DEPARTMENTS_MAX, LINES_MAX, Department
from sipua.our_lines import Line

_HEAD = f"""# Departments and opening hours

Made by `python -m sipua.reference docs`; do not edit.

`departments.toml` in the configuration folder says who callers can be transferred to and when somebody is there
(`[departments.NAME]`, at most {DEPARTMENTS_MAX}), and when numbers and trunks of yours are open (`[lines.NAME]`, at
most {LINES_MAX}). `conf/examples/departments.toml` shows all of it. An unknown key or a bad value refuses the
start, with file, key and what is allowed; SIGHUP reads the file again for the calls that begin then, and a fault
keeps the old one. `sipua doctor` shows who is there now. What becomes of a transfer and of a call-back request:
docs/tools.md.

`timezone` (such as `Africa/Kigali`) is that of all hours. `[holidays]` are days on which nobody is there and no
line is open, `2026-12-25 = "Christmas Day"`; the name is told. A list of dates, `holidays = [2026-12-31]`, has no
names.

Hours are a list such as `["Mon-Fri 08:00-17:30", "Sat 09:00-12:00"]`. A range that ends before it begins, `"Fri
22:00-02:00"`, ends on the next day; it belongs to the day on which it begins, so it runs on into a holiday and does
not begin on one.

## [departments.NAME]

| key | default | meaning |
|---|---|---|
"""
_LINES = """
## [lines.NAME]

A call that comes in belongs to the line that says most about it: the most precise number first, then the trunk; a
line without both is every other call. What belongs to none is open. Callers of a closed line are greeted with
`greeting_closed` of their language, and the instructions say when it opens (`{{opening}}`; where they do not have
that variable, a paragraph of its own does). The agent helps all the same, and offers a call-back. With `closed =
"hang_up"` the recording `closed` is played instead, and the call ends as `closed`; the voice service is not asked
for anything.

| key | default | meaning |
|---|---|---|
"""


def departments_text() -> str:
    """The whole document."""
    return "".join([_HEAD, *_keys(Department), _LINES, *_keys(Line)])


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for key, field in model.model_fields.items():
        default: Any = field.default
        shown = "[]" if default == () else f'"{default}"' if isinstance(default, str) else str(default)
        yield f"| `{key}` | `{shown}` | {field.description} |\n"
