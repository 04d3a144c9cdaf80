"""Who can be reached and when we are open, and whether anybody is told of call-back requests."""

from __future__ import annotations

import shutil
from datetime import datetime

from sipua.checks.reached import reached
from sipua.checks.report import Check
from sipua.config_file import read_secret
from sipua.errors import ConfigError
from sipua.settings import Settings
from sipua.texts import Texts

UNTOLD = "set callbacks.notify_url or notify_command, or look at `sipua callbacks --open` yourself"


async def people(settings: Settings, texts: Texts, now: datetime) -> list[Check]:
    """None where departments.toml names nobody."""
    departments, lines = texts.departments, texts.departments.our_lines
    try:
        departments.check(settings.transfer.on_refusal, "transfer.on_refusal")
    except ConfigError as error:
        return [Check("departments", "fail", str(error), "mend the setting, or name the department", True)]
    if not departments.by_name and not lines.by_name:
        return []
    states = {f"line {name}": hours for name, hours in lines.hours.items()}
    shown = "; ".join(f"{name} {hours.state(now)}" for name, hours in {**departments.hours, **states}.items())
    return [Check("departments", "ok", shown), *await _callbacks(settings)]


async def _callbacks(settings: Settings) -> list[Check]:
    chosen, checks = settings.callbacks, list[Check]()
    if chosen.notify_url:
        try:
            read_secret("callbacks.notify_secret_file", "", chosen.notify_secret_file)
        except ConfigError as error:
            checks.append(Check("call-backs", "fail", str(error), "mend the setting", True))
        checks.append(await reached("call-backs url", chosen.notify_url))
    if chosen.notify_command:
        program = chosen.notify_command[0]
        is_there = shutil.which(program) is not None
        detail = f"{program}: {'is there' if is_there else 'there is no such program'}"
        checks.append(
            Check("call-backs command", "ok" if is_there else "fail", detail, "" if is_there else UNTOLD)
        )
    return checks or [Check("call-backs", "warn", "nobody is told who wants to be called back", UNTOLD)]
