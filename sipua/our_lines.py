"""``[lines.NAME]`` of ``departments.toml``: when a number or trunk of ours is open, and what its callers hear when not.

Callers of a closed line are told so and helped all the same, or hear the phrase ``closed`` and are hung up on. A call
belongs to the line that says most about it: the most precise number first, then the trunk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import product
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from sipua.opening import Hours, parse_span
from sipua.section import Section
from sipua.trunks.numbers import NumberSet


def _dated(value: object) -> object:
    """Dates alone are holidays without names."""
    return dict.fromkeys(value, "") if isinstance(value, list | tuple) else value


def _spans(value: tuple[str, ...]) -> tuple[str, ...]:
    for each in value:
        parse_span(each)
    return value


def _patterns(value: tuple[str, ...]) -> tuple[str, ...]:
    NumberSet(value)
    return value


HolidayName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64)]
Holidays = Annotated[dict[date, HolidayName], BeforeValidator(_dated), Field(max_length=1000)]
Spans = Annotated[tuple[str, ...], Field(max_length=64), AfterValidator(_spans)]


class Line(Section):
    """A table of the file."""

    numbers: Annotated[tuple[str, ...], Field(max_length=1000), AfterValidator(_patterns)] = ()
    """Numbers of ours, as patterns (+250788123456, +25078812*, +250…00-+250…99); empty: all."""
    trunks: tuple[str, ...] = ()
    """Trunks that the call comes by; empty: all."""
    hours: Spans = ()
    """When it is open, such as "Mon-Fri 08:00-17:30"; empty: always."""
    holidays: Holidays = Field(default={})
    """Days when it is not, with their names, besides those of all."""
    closed: Literal["help", "hang_up"] = "help"
    """What callers hear then: the agent, which says so and takes call-back requests; or a recording only."""

    def fits(self, number: str | None, trunk: str) -> tuple[int, bool] | None:
        """How much it says about such a call; None: it is another line's."""
        if self.trunks and trunk not in self.trunks:
            return None
        fitting = [each for each in self.numbers if number and number in NumberSet((each,))]
        if self.numbers and not fitting:
            return None
        precise = max((len(each.partition("-")[0].rstrip("*")) for each in fitting), default=0)
        return precise, bool(self.trunks)


@dataclass(frozen=True, slots=True)
class Lines:
    """All of them, with their hours."""

    by_name: Mapping[str, Line] = field(default_factory=dict)
    hours: Mapping[str, Hours] = field(default_factory=dict)

    def of(self, number: str | None, trunk: str) -> str:
        """The name of the line that was dialled; "" if none was."""
        known = {name: fit for name, each in self.by_name.items() if (fit := each.fits(number, trunk))}
        return max(known, key=lambda name: known[name], default="")

    def state(self, number: str | None, trunk: str, now: datetime) -> str:
        """``open``, ``closed…`` with why and until when, or "" where nobody has said."""
        name = self.of(number, trunk)
        return self.hours[name].state(now) if name else ""

    def is_closed(self, number: str | None, trunk: str, now: datetime) -> bool:
        name = self.of(number, trunk)
        return bool(name) and not self.hours[name].is_open(now)

    def turns_away(self, number: str | None, trunk: str, now: datetime) -> bool:
        """Whether such a call hears a recording only."""
        return self.is_closed(number, trunk, now) and self.by_name[self.of(number, trunk)].closed == "hang_up"


NO_LINES = Lines()


def fault_of(lines: Mapping[str, Line], trunks: Collection[str] | None) -> str:
    """What is wrong with them together; ``trunks``: the names that there are."""
    claimed: dict[tuple[str, str], str] = {}
    for name, line in lines.items():
        for trunk in line.trunks:
            if trunks is not None and trunk not in trunks:
                known = ", ".join(sorted(trunks)) or "none"
                return f"lines.{name}.trunks: there is no trunk {trunk!r}; allowed: {known}"
        for number, trunk in product(line.numbers or ("",), line.trunks or ("",)):
            other = claimed.setdefault((number, trunk), name)
            if other != name:
                what = " by ".join(each for each in (number or "every call", trunk) if each)
                return f"lines.{name}: {what} belongs to lines.{other} already"
    return ""


def lines_of(lines: Mapping[str, Line], hours_of: Callable[[Line], Hours]) -> Lines:
    return Lines(lines, {name: hours_of(each) for name, each in lines.items()})
