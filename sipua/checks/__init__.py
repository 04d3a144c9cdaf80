"""The checks of ``sipua doctor``: values in, a verdict with what to do out. Tries real things, places no call.

A check of the database starts the embedded server if that is what is configured, as ``serve`` would.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from sipua.checks import languages, machine, registration, services, trunk_files, trunk_wire
from sipua.checks.outbound import outbound
from sipua.checks.own_certificate import own_certificate
from sipua.checks.people import people
from sipua.checks.recordings import recordings
from sipua.checks.report import Check
from sipua.checks.spool import spool
from sipua.checks.told import told
from sipua.checks.tools import tools
from sipua.checks.whatsapp import whatsapp
from sipua.errors import ConfigError
from sipua.pj.build import LibraryFacts, probe_library
from sipua.settings import Settings
from sipua.settings_file import load_settings
from sipua.trunk import Trunk
from sipua.trunk_files import load_trunks

__all__ = ["Check", "run_checks"]


async def run_checks(folder: Path) -> list[Check]:
    """All checks in the order in which faults hide each other; stops early where the rest makes no sense."""
    began = machine.Instant.now()
    try:
        settings = load_settings(folder)
        trunks = load_trunks(folder)
    except ConfigError as error:
        todo = "mend the file or name above; `sipua init DIR` writes a fresh one"
        return [Check("configuration", "fail", str(error), todo, True)]
    found = "read" if (folder / "sipua.toml").exists() else "no sipua.toml there: defaults"
    checks = [Check("configuration", "ok", f"{folder}: {found}")]
    facts = probe_library()
    running, agent = await machine.agent(settings)
    checks += [machine.pjsua(facts), agent]
    if not running:
        checks += machine.free_ports(settings, trunks)
    ephemeral, reserved = machine.kernel_ports()
    checks.append(machine.rtp_ports(settings, trunks, ephemeral, reserved))
    checks += own_certificate(settings.sip, trunks, datetime.now(UTC))
    spoken, texts = languages.texts(folder, settings, [trunk.name for trunk in trunks])
    checks += [spoken, await services.database(settings), spool(settings)]
    checks.append(await services.voice_service(settings))
    if texts is not None and checks[-1].status != "fail":
        checks += [tried for tried in [await languages.transcription(settings, texts)] if tried is not None]
    checks += await tools(folder, settings, [trunk.name for trunk in trunks])
    checks += await whatsapp(settings.whatsapp)
    if (hook := await services.openai_webhook(settings)) is not None:
        checks.append(hook)
    if texts is not None:
        checks += await people(settings, texts, datetime.now(UTC))
    checks += outbound(settings, datetime.now(UTC))
    checks += await told(settings.alerts)
    if (kept := await recordings(settings)) is not None:
        checks.append(kept)
    checks.append(trunk_files.fit(trunks, folder, facts))
    reports = await asyncio.gather(*(_trunk(each, settings, facts, running) for each in trunks))
    bindings = await _registrations(registration.registering(trunks), settings, running)
    for trunk, report in zip(trunks, reports, strict=True):
        checks += [
            *report.checks,
            *(each for each in bindings if each.name.startswith(f"trunk {trunk.name} ")),
        ]
    ahead = {name: seconds for report in reports for name, seconds in report.ahead.items()}
    http = await machine.http_clock(settings.openai_base_url)
    if http is not None:
        ahead["the voice service"] = http
    checks.append(machine.clock(ahead, began, machine.Instant.now()))
    return checks


async def _registrations(trunks: list[Trunk], settings: Settings, agent_runs: bool) -> list[Check]:
    if not trunks:
        return []
    if agent_runs:
        return await registration.told_by_agent(trunks, settings)
    return await registration.tried(trunks, settings)


async def _trunk(
    trunk: Trunk, settings: Settings, facts: LibraryFacts, agent_runs: bool
) -> trunk_wire.Report:
    """What its file says; of an enabled one also what the network shows."""
    if not trunk.enabled:
        return trunk_wire.Report([trunk_files.one(trunk, facts)])
    report = await trunk_wire.examine(trunk, settings, agent_runs=agent_runs)
    report.checks[:0] = [trunk_files.one(trunk, facts), trunk_files.codecs(trunk, facts)]
    return report
