"""The rules for calls that we place: hours, days, the do-not-call list; read as `serve` reads them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sipua.calling_hours import CallingHours
from sipua.checks.report import Check
from sipua.dial_rules import DoNotCall
from sipua.errors import ConfigError
from sipua.settings import Settings

NAME = "outbound"


def outbound(settings: Settings, now: datetime) -> list[Check]:
    """Nothing where no rule is set."""
    chosen = settings.outbound
    told = []
    if chosen.do_not_call:
        try:
            count = DoNotCall(chosen.do_not_call).count
        except ConfigError as error:
            todo = "mend the file or outbound.do_not_call; until then nobody is called"
            return [Check(NAME, "fail", str(error), todo, True)]
        told.append(f"{count} numbers and patterns are not called")
    if chosen.calling_hours or chosen.holidays:
        zone = ZoneInfo(chosen.timezone) if chosen.timezone else settings.zone
        hours = CallingHours.of(chosen.calling_hours, chosen.holidays, zone)
        told.append(
            f"calling hours {', '.join(chosen.calling_hours) or 'always'}, {len(chosen.holidays)} holidays"
        )
        if why := hours.why_not("", now):
            told.append(f"now {why}")
    if chosen.attempts_per_day:
        told.append(f"{chosen.attempts_per_day} attempts a day")
    return [Check(NAME, "ok", "; ".join(told))] if told else []
