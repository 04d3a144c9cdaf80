"""The documents that are made from the code: ``python -m sipua.reference docs`` writes them, a test compares them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sipua.config_file import UNPREFIXED
from sipua.metrics import Metrics
from sipua.reference_departments import departments_text
from sipua.reference_tools import tools_text
from sipua.reference_voice import languages_text, service_text
from sipua.settings import PREFIX, Settings
from sipua.trunk import Trunk
from sipua.trunk_rules import NOT_YET

_SETTINGS = """# Settings

Made by `python -m sipua.reference docs`; do not edit.

Order: environment, then `sipua.toml` in the folder of `--conf` (else `SIPUA_CONF`, else `conf`), then the default.
In the environment a list is JSON: `["one", "two"]`. An unknown key or name, or a bad value, refuses the
start (exit code 78).

| key | environment | default | meaning |
|---|---|---|---|
"""
_TRUNKS = """
## Trunk files

`trunks/NAME.toml` in the same folder, one trunk each; an unknown key refuses the start, as do keys that contradict
each other. Not by environment. † not in this version: an enabled trunk may only have the default. A value that only
the carrier can tell is `"ask MTN"` (`ask` and a name) while the trunk is disabled. How to set one up: `trunks.md`.

| key | default | meaning |
|---|---|---|
"""
_NOT_YET = """
### Not in this version

An enabled trunk with another value than the default is refused at the start, so that nobody believes in what is not
there.

| what | keys |
|---|---|
"""
_METRICS = """# Metrics

Made by `python -m sipua.reference docs`; do not edit. `GET /metrics` of `serve`, Prometheus' text format.

| name | type | labels | meaning |
|---|---|---|---|
"""


def documents() -> dict[str, str]:
    """File name → text."""
    return {
        "settings.md": settings_text(),
        "metrics.md": metrics_text(),
        "languages.md": languages_text(),
        "voice-service.md": service_text(),
        "tools.md": tools_text(),
        "departments.md": departments_text(),
    }


def settings_text() -> str:
    """Every key of the settings and of a trunk file."""
    trunk = [
        _row(f"`{field.alias or key}`" + " †" * (key in NOT_YET), _default(field), field.description)
        for key, field in Trunk.model_fields.items()
    ]
    whats: dict[str, list[str]] = {}
    for key, what in NOT_YET.items():
        whats.setdefault(what, []).append(f"`{key}`")
    missing = [_row(what, ", ".join(keys)) for what, keys in whats.items()]
    settings = "".join(_settings_rows(Settings, ""))
    return _SETTINGS + settings + _TRUNKS + "".join(trunk) + _NOT_YET + "".join(missing)


def metrics_text() -> str:
    """Every metric with its labels."""
    metrics = Metrics(node="", worker=0, instance="", version="")
    rows = [
        _row(f"`{each.name}`", each.kind, ", ".join(f"`{label}`" for label in each.labels), each.help)
        for each in (*metrics.described, *metrics.process_rows())
    ]
    return _METRICS + "".join(rows)


def _settings_rows(model: type[BaseModel], table: str) -> Iterator[str]:
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings_rows(field.annotation, f"{table}{key}.")
            continue
        outside = key.upper() in UNPREFIXED
        name = key.upper() if outside else PREFIX + f"{table}{key}".replace(".", "__").upper()
        yield _row("" if outside else f"`{table}{key}`", f"`{name}`", _default(field), field.description)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if field.default_factory is not None or value is None:
        return ""
    if isinstance(value, tuple | frozenset):
        items = sorted(value) if isinstance(value, frozenset) else list(value)
        return f"`{items}`".replace("'", '"')
    return f'`"{value}"`' if isinstance(value, str) else f"`{str(value).lower()}`"


def _row(*cells: str | None) -> str:
    return f"| {' | '.join(cell or '' for cell in cells)} |\n"


if __name__ == "__main__":
    for name, text in documents().items():
        (Path(sys.argv[1]) / name).write_text(text, "utf-8")
