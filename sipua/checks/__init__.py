"""The checks of ``sipua doctor``: values in, a verdict with what to do out. Tries real things, places no call.

A check of the database starts the embedded server if that is what is configured, as ``serve`` would.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from sipua.checks import machine, services, trunk_files, trunk_wire
from sipua.checks.report import Check
from sipua.errors import ConfigError
from sipua.pj.build import LibraryFacts, probe_library
from sipua.settings import Settings, load_settings
from sipua.trunk import Trunk, load_trunks

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
    checks += [machine.library(facts), agent]
    if not running:
        checks += _ports(settings)
    ephemeral, reserved = machine.kernel_ports()
    checks.append(machine.rtp_ports(settings, trunks, facts.max_calls, ephemeral, reserved))
    checks += [await services.database(settings), await services.voice_service(settings)]
    checks.append(trunk_files.fit(trunks, folder))
    reports = await asyncio.gather(*(_trunk(each, settings, facts, running) for each in trunks))
    for report in reports:
        checks += report.checks
    ahead = {name: seconds for report in reports for name, seconds in report.ahead.items()}
    http = await machine.http_clock(settings.openai_base_url)
    if http is not None:
        ahead["the voice service"] = http
    checks.append(machine.clock(ahead, began, machine.Instant.now()))
    return checks


def _ports(settings: Settings) -> list[Check]:
    sip, http = settings.sip, settings.http
    return [
        machine.free_port("sip port", str(sip.bind), sip.port, socket.SOCK_DGRAM, "SIPUA_SIP__PORT"),
        machine.free_port("http port", str(http.bind), http.port, socket.SOCK_STREAM, "SIPUA_HTTP__PORT"),
    ]


async def _trunk(
    trunk: Trunk, settings: Settings, facts: LibraryFacts, agent_runs: bool
) -> trunk_wire.Report:
    """What its file says; of an enabled one also what the network shows."""
    if not trunk.enabled:
        return trunk_wire.Report([trunk_files.one(trunk, facts)])
    report = await trunk_wire.examine(trunk, settings, agent_runs=agent_runs)
    report.checks[:0] = [trunk_files.one(trunk, facts), trunk_files.codecs(trunk, facts)]
    return report
