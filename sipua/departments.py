"""``departments.toml`` of the configuration folder: who callers can be transferred to, where they are, and when.

A file of its own, as it names people's numbers and is edited more often than the settings are. None: nobody can be
reached, and the model is offered no transfer. The opening hours of our own lines stand there too (``our_lines``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints, ValidationError, field_validator

from sipua.config_file import describe, read_toml
from sipua.errors import ConfigError
from sipua.opening import Hours, parse_span
from sipua.our_lines import NO_LINES, Holidays, Line, Lines, Spans, fault_of, lines_of
from sipua.section import Section, ZoneName
from sipua.sip_message import parse_uri

FILE = "departments.toml"
DEPARTMENTS_MAX = 32
LINES_MAX = 256
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_URI = re.compile(r"sips?:[^@\s<>]+@[^@\s<>]+|tel:\+\d{7,15}")  # no bracket: it stands in Refer-To

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


def _checked_target(value: str) -> str:
    if value and not _E164.fullmatch(value) and not _URI.fullmatch(value):
        raise ValueError("allowed: a number such as +250788123456, or a URI such as sip:desk@pbx.example.org")
    return value


def _dialled(target: str) -> str:
    """The number that a call of ours to a target goes to; "" if it names none."""
    uri = parse_uri(target)
    number = target if uri is None else uri.user
    return number if _E164.fullmatch(number) else ""


class Department(Section):
    """A table of the file."""

    about: str = Field(default="", max_length=120)
    """For the model: what they are for."""
    target: str = ""
    """A number (E.164), or a SIP URI."""
    targets: dict[str, str] = Field(default={})
    """Another one for calls by a trunk: its name = the target."""
    transfer_by: Literal["auto", "refer", "bridge"] = "auto"
    """How they are reached, where the trunk of the call says auto; see there."""
    dial_by: str = ""
    """The trunk that a call of ours to them goes by; empty = as routing has it."""
    hours: Spans = ()
    """When somebody is there, such as "Mon-Fri 08:00-17:30"; empty: always."""
    holidays: Holidays = Field(default={})
    """Days when nobody is, with their names, besides those of all."""

    @field_validator("target")
    @classmethod
    def _target(cls, value: str) -> str:
        return _checked_target(value)

    @field_validator("targets")
    @classmethod
    def _targets(cls, value: dict[str, str]) -> dict[str, str]:
        for trunk, target in value.items():
            try:
                _checked_target(target)
            except ValueError as error:
                raise ValueError(f"{trunk} = {target!r}: {error}") from None
        return value

    def target_of(self, trunk: str) -> str:
        """ "" if a call by this trunk reaches nobody there."""
        return self.targets.get(trunk, self.target)

    def number_of(self, trunk: str) -> str:
        """The same as a number that can be dialled; "" if it is none."""
        return _dialled(self.target_of(trunk))


class _File(Section):
    timezone: ZoneName = ""
    holidays: Holidays = Field(default={})
    lines: dict[Name, Line] = Field(default={}, max_length=LINES_MAX)
    departments: dict[Name, Department] = Field(default={}, max_length=DEPARTMENTS_MAX)

    def hours_of(self, each: Department | Line) -> Hours:
        zone = ZoneInfo(self.timezone) if self.timezone else None
        return Hours(tuple(map(parse_span, each.hours)), zone, {**self.holidays, **each.holidays})


@dataclass(frozen=True, slots=True)
class Departments:
    """All of them, with their hours, and the lines of ours that have any."""

    by_name: Mapping[str, Department]
    hours: Mapping[str, Hours]
    our_lines: Lines = NO_LINES

    def check(self, name: str, key: str) -> None:
        """ConfigError if the setting ``key`` names a department that there is not."""
        if name and name not in self.by_name:
            known = ", ".join(self.by_name) or f"none, as {FILE} names nobody"
            raise ConfigError(f"{key} = {name!r}: there is no such department; allowed: {known}")

    def about(self) -> dict[str, str]:
        """For the tool's description."""
        return {name: each.about for name, each in self.by_name.items()}

    def lines(self, now: datetime, trunk: str) -> str:
        """For the instructions: what this call can be transferred to, one a line."""
        return "\n".join(
            f"{name}{f': {each.about}' if each.about else ''} ({self.hours[name].state(now)})"
            for name, each in self.by_name.items()
            if each.target_of(trunk)
        )


NO_DEPARTMENTS = Departments({}, {})


def load_departments(conf_dir: Path, trunks: Collection[str] | None = None) -> Departments:
    """Raises ConfigError naming file, key, value and what is allowed. ``trunks``: the names that there are."""
    path = conf_dir / FILE
    if not path.exists():
        return NO_DEPARTMENTS
    try:
        file = _File.model_validate(read_toml(path))
    except ValidationError as error:
        raise ConfigError(describe(error, file=path, model=_File)) from None
    for name, each in file.departments.items():
        key = f"departments.{name}"
        if not each.target and not each.targets:
            raise ConfigError(f"{path}: {key}: needs target or targets")
        unreadable = [
            target for target in (each.target, *each.targets.values()) if target and not _dialled(target)
        ]
        if each.transfer_by == "bridge" and unreadable:
            raise ConfigError(
                f"{path}: {key}.transfer_by = 'bridge': {unreadable[0]} has no number that we could dial; allowed: a "
                "number such as +250788123456, sip:+250788123456@…, or transfer_by = 'refer'"
            )
        named = {f"targets.{trunk}": trunk for trunk in each.targets}
        if each.dial_by:
            named["dial_by"] = each.dial_by
        for where, trunk in named.items():
            if trunks is not None and trunk not in trunks:
                known = ", ".join(sorted(trunks)) or "none"
                shown = where if where.endswith(trunk) else f"{where} = {trunk!r}"
                raise ConfigError(f"{path}: {key}.{shown}: there is no such trunk; allowed: {known}")
    if fault := fault_of(file.lines, trunks):
        raise ConfigError(f"{path}: {fault}")
    timed: list[Department | Line] = [*file.departments.values(), *file.lines.values()]
    if not file.timezone and (file.holidays or any(each.hours or each.holidays for each in timed)):
        raise ConfigError(
            f"{path}: the key 'timezone' is missing: hours and holidays need it, such as Africa/Kigali"
        )
    return Departments(
        file.departments,
        {name: file.hours_of(each) for name, each in file.departments.items()},
        lines_of(file.lines, file.hours_of),
    )
